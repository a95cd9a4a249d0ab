//! Sampling by vLLM servers, while this process trains.
//!
//! [`VllmEngine::publish`] writes the weights of a step into a folder, has every server load them, and lets only servers
//! sample whose log-probs on a fixed prompt (the [`canary`]) are those of the trainer. [`sampler`] sends every reply to the
//! server with the fewest in progress, and to another one if that fails. [`started`] are servers that the run itself starts.

pub mod canary;
pub mod sampler;
mod admission;
mod publish;
mod servers;
mod started;
mod weights_folder;

pub use publish::{VllmEngine, VllmSetup};
