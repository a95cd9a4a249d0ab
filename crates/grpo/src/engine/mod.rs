//! The engine, behind two traits: the [`Sampler`](sampler::Sampler) samples replies, the [`Trainer`](trainer::Trainer)
//! holds the policy and changes it. The GRPO loop knows only these traits. It draws prompts, scores replies, computes
//! advantages and keeps journal and counters; the engine keeps weights, gradients and optimizer.
//!
//! [`local`] is the engine in this process: models on burn. [`vllm`] samples by servers, while [`local`] trains. [`tinker`]
//! trains and samples by a server.

pub mod sampler;
pub mod trainer;
pub mod local;
pub mod vllm;
pub mod tinker;

/// What to do after an engine's failure in the middle of a run.
const AGAIN: &str = "`--resume` continues the run from its last checkpoint";
