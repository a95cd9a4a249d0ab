//! Training and sampling by a server of the Tinker API, which holds the base model, trains a LoRA adapter of it, and keeps the
//! optimizer and the checkpoints.
//!
//! [`TinkerEngine::start`] reaches the server and finds out on a model of its own, which it unloads again, whether the server has
//! the policy's tokenizer ([`TokenizerCheck`]) and how it averages losses ([`MeasuredLoss`]). [`TinkerTrainer`] sends samples with
//! advantages that are scaled for that average, so that a step is the one that the training in this process takes.

mod connect;
mod sampler;
mod served_policy;
mod server_loss;
mod tokenizer_probe;
mod trainer;

pub use connect::{TinkerEngine, TinkerRecord};
pub use served_policy::ServedPolicy;
pub use server_loss::{MeasuredLoss, PassTotals, ServerLoss};
pub use tokenizer_probe::TokenizerCheck;
pub use trainer::TinkerTrainer;
