//! Language models and reward models on [burn](https://burn.dev): loading, sampling, log-probs, gradients, scoring.
//!
//! A [`ModelConfig`] (a checked `config.json`) declares a model as a [`layout`] of named tensors. Loading, checking,
//! gradients, optimizer moments, LoRA and saving read these declarations. There are two architectures: the [`Decoder`]
//! (Llama, Mistral, Qwen, Gemma, GPT-2) and the [`Encoder`] (BERT, RoBERTa, DeBERTa).
//!
//! A [`Policy`] is a decoder with its [`Tokenizer`], from a Hugging Face folder or a GGUF file. Its [`Engine`] samples
//! continuations with a [`KvCache`]. [`Decoder::log_probs`] computes log-probs of given tokens, [`Gradients::add`] the
//! gradient of a loss over these log-probs, and [`AdamW`] takes the optimizer's step. A [`RewardModel`] scores
//! conversations. The [`ops`] run as fused kernels on the CPU and as burn's tensor code on other devices.
//!
//! Weights are [`Weight`]s: dense tensors, or frozen matrices that stay in the quantised blocks of a GGUF file
//! ([`Policy::load_frozen`]).
//!
//! Models are read from paths only; this crate has no network access.
//!
//! ```
//! use rlar_policy::{ComputeDevice, GenerationRequest, ModelConfig, Policy, Sampling, Sequence, Tokenizer};
//!
//! let tokenizer = Tokenizer::train(["one two three", "two three four"], 280)?;
//! let config = r#"{ "model_type": "llama", "vocab_size": 280, "hidden_size": 16, "intermediate_size": 32,
//!     "num_hidden_layers": 1, "num_attention_heads": 2, "max_position_embeddings": 64 }"#;
//! let device = ComputeDevice::new("cpu")?;
//! let policy = Policy::random(ModelConfig::parse(config)?, tokenizer, 0, &device)?;
//!
//! let prompt = policy.tokenizer.encode("one two")?;
//! let request = GenerationRequest { prompt: prompt.clone(), seeds: vec![1, 2] };
//! let sampling = Sampling { max_tokens: 8, ..Sampling::default() };
//! let samples = policy.engine(2).generate(&[request], &sampling)?.remove(0);
//! assert_eq!(samples.len(), 2);
//!
//! let sequence = Sequence { prompt: &prompt, completion: &samples[0].tokens };
//! let log_probs = rlar_policy::floats(&policy.decoder.log_probs(&[sequence], 1.0).log_probs);
//! assert!((log_probs[0] - samples[0].log_probs[0]).abs() < 1e-4);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

// Reading models.
pub mod architecture;
mod config;
mod device;
mod error;
mod families;
mod fields;
pub mod gguf;
pub mod layout;

// Text.
pub mod chat;
mod pre_tokenizer;
mod tokenizer;
mod turns;
mod vocabulary;

// Weights and computation.
mod cache;
mod checkpoint;
mod decoder;
mod encoder;
mod forward;
mod float_type;
mod hub_cache;
mod model;
pub mod ops;
mod padded_cache;
mod prefix_cache;
mod peft;
mod source;
mod weight;
pub mod weights;

// Generation.
mod active;
mod engine;
mod generation;
mod memory;
mod sampling;

// Training.
mod log_probs;
mod optim;

// Models with their tokenizers.
mod policy;
mod reward;
mod save;

pub use cache::KvCache;
pub use chat::{Conversation, Turn};
pub use config::ModelConfig;
pub use decoder::Decoder;
pub use device::{ComputeDevice, Precision};
pub use encoder::Encoder;
pub use engine::Engine;
pub use error::PolicyError;
pub use float_type::FloatType;
pub use generation::{Finish, GenerationRequest, Sample, StreamControl, TokenEvent};
pub use layout::Lora;
pub use log_probs::{SavedActivations, Sequence, TokenLogProbs, floats, micro_batches};
pub use memory::{MemoryPlan, free_memory};
pub use model::load_tokenizer;
pub use optim::{AdamW, Gradients, Moments};
pub use peft::{AbsentBase, absent_base};
pub use policy::Policy;
pub use prefix_cache::PrefixCache;
pub use reward::{RewardInput, RewardModel};
pub use sampling::{SampledToken, Sampling, sample_token};
pub use save::File;
pub use source::{ModelSource, Repository};
pub use tokenizer::{TextStream, Tokenizer};
pub use turns::{TurnTokens, with_prefill};
pub use weight::Weight;
