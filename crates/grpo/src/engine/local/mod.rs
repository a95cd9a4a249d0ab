//! The engine in this process: models on burn, trained in micro-batches by AdamW.

pub mod sampler;
pub mod trainer;
pub mod trainable;
pub mod micro_batches;
pub mod reference;
pub mod memory_plan;
