//! Runs a job from start to report: resume point, setup, supervised warm-up, train loop, final model.

pub mod job;
pub mod train;
pub mod resume;
pub mod inputs;
pub mod setup;
pub mod lengths;
pub mod reply_lengths;
pub mod assign_tools;
pub mod prepare;
pub mod policy;
pub mod tinker;
pub mod warmup;
pub mod reward_model;
pub mod dry_run;
