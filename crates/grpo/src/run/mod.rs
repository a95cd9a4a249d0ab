//! A job from its start to its report: setup, resume, warm-up, the train loop, the final model.

pub mod dry_run;
pub mod inputs;
pub mod job;
pub mod policy;
pub mod resume;
pub mod reward_model;
pub mod setup;
pub mod train;
pub mod warmup;
