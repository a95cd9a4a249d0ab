//! A job from its start to its report: resume point, setup, warm-up, train loop, final model.

pub mod assign_tools;
pub mod dry_run;
pub mod inputs;
pub mod job;
pub mod policy;
pub mod resume;
pub mod reward_model;
pub mod setup;
pub mod train;
pub mod warmup;
