//! The policy update (from advantages to optimizer steps), and the state of training that a checkpoint holds.

pub mod policy_update;
pub mod train_state;
