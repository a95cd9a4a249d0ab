//! The engine in this process: models on burn.

pub mod trainable;
pub mod micro_batches;
pub mod reference;
pub(crate) mod memory_plan;
