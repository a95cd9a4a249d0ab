//! The engine: where replies are sampled and the policy is trained.

pub mod local;
