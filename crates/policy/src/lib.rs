//! Language models on burn: load what people have, sample from it, differentiate it.
//!
//! A [`Policy`] is a [`Decoder`] and its [`Tokenizer`], loaded from a Hugging Face folder or a GGUF file
//! or started from nothing. [`generate`] samples from it over a [`KvCache`]; [`Decoder::hidden`] and
//! [`Decoder::token_log_probs`] score given tokens, with gradients on a [`Decoder::tracked`] view; [`AdamW`]
//! takes the step. The [`ops`] underneath are fused on the CPU and plain tensor code elsewhere.
//!
//! This crate takes paths, never addresses, and does not know why it is asked.

mod cache;
pub mod checkpoint;
mod config;
mod decoder;
mod device;
mod error;
pub mod gguf;
pub mod ops;
mod optim;
mod policy;
mod quants;
mod sample;
mod tokenizer;
pub mod weights;

pub use cache::KvCache;
pub use config::ModelConfig;
pub use decoder::Decoder;
pub use device::device;
pub use error::PolicyError;
pub use optim::{AdamW, Gradients, Moments};
pub use policy::{Policy, Scored, Sequence};
pub use sample::{Finish, Request, Sample, Sampling, generate};
pub use tokenizer::{Tokenizer, Turn};
