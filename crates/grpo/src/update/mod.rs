//! The policy update (from advantages to new weights), and the state of training that a checkpoint holds.

pub mod policy_update;
pub mod train_state;
