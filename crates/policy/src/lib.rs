//! Language models and reward models on burn: load what people have, sample from it, differentiate it, score with it.
//!
//! A model is declared once: its [`ModelConfig`] (a `config.json`) gives a [`layout`] of named tensors, and
//! loading, checking, gradients, moments, LoRA and saving all walk that list. Two architectures compute: the
//! [`Decoder`] (Llama, Mistral, Qwen, Gemma, GPT-2) and the [`Encoder`] (BERT, RoBERTa, DeBERTa).
//!
//! A [`Policy`] is a decoder with its [`Tokenizer`], from a Hugging Face folder or a GGUF file.
//! [`Engine`] samples from it over a [`KvCache`]; [`Decoder::log_probs`] gives log-probs of given tokens,
//! [`Gradients::add`] the gradient of a loss of them, and [`AdamW`] takes the step. A [`RewardModel`] gives a
//! conversation its score. The [`ops`] underneath are fused on the CPU and plain tensor code elsewhere.
//!
//! This crate takes paths, never addresses, and does not know why it is asked.

mod active;
pub mod architecture;
mod cache;
pub mod chat;
mod checkpoint;
mod config;
mod decoder;
mod device;
mod encoder;
mod engine;
mod error;
mod families;
mod fields;
mod forward;
pub mod gguf;
pub mod layout;
mod log_probs;
mod memory;
mod model;
pub mod ops;
mod optim;
mod policy;
mod reward;
mod sampling;
mod save;
mod tokenizer;
mod vocabulary;
pub mod weights;

pub use cache::KvCache;
pub use chat::{Conversation, Turn};
pub use config::ModelConfig;
pub use decoder::Decoder;
pub use device::{ComputeDevice, Precision};
pub use encoder::Encoder;
pub use engine::{Engine, Finish, GenerationRequest, Sample, StreamControl, TokenEvent};
pub use error::PolicyError;
pub use layout::Lora;
pub use log_probs::{SavedActivations, Sequence, TokenLogProbs, floats, micro_batches};
pub use memory::{MemoryPlan, free_memory};
pub use optim::{AdamW, Gradients, Moments};
pub use policy::Policy;
pub use reward::{RewardInput, RewardModel};
pub use sampling::{SampledToken, Sampling, sample_token};
pub use save::File;
pub use tokenizer::{TextStream, Tokenizer};
