//! The policy update (from advantages to new weights), and the state of training that a checkpoint holds.

pub mod policy_update;
pub mod micro_batches;
pub mod reference;
pub mod train_state;
pub mod trainable;
pub(crate) mod memory_plan;
