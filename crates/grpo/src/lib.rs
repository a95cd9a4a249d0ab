//! Group relative policy optimisation, from a config to a better policy.
//!
//! [`Config`] is the YAML of a job. [`train`] warms the policy up on demonstrations ([`sft`]), then
//! repeats: draw groups of [`rollout`]s, let reward tools score them, turn scores into [`advantage`]s,
//! descend the [`loss`]. The [`state`] between two steps is the checkpoint; data order, seeds and learning
//! rate are functions of the step ([`schedule`]), so a resumed run repeats an unbroken one bit for bit.

pub mod advantage;
mod config;
mod job;
pub mod loss;
mod report;
pub mod rollout;
pub mod schedule;
mod setup;
pub mod sft;
pub mod state;
mod step;
mod trainer;
pub mod update;

pub use config::{
    Agent, Config, DataConfig, EvalConfig, Method, ModelChoice, OptimizerConfig, RewardsConfig, RunConfig,
    SamplingConfig, Scratch, TrainConfig, VERSION, WarmupConfig,
};
pub use job::Job;
pub use report::{Measured, Report};
pub use schedule::Decay;
pub use trainer::train;

use std::path::PathBuf;

/// Why a job ended without a result.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// The model.
    #[error(transparent)]
    Policy(#[from] rlar_policy::PolicyError),
    /// Rewards.
    #[error(transparent)]
    Reward(#[from] rlar_rewards::RewardError),
    /// Measuring.
    #[error(transparent)]
    Eval(#[from] rlar_eval::EvalError),
    /// The run's folder.
    #[error(transparent)]
    Run(#[from] rlar_run::RunError),
    /// A file of the run that is not what this build writes.
    #[error("a file of the run cannot be understood: {0}")]
    Format(#[from] serde_json::Error),
    /// A checkpoint of another kind.
    #[error("{}: {message}", path.display())]
    Checkpoint {
        /// Its folder.
        path: PathBuf,
        /// Why it cannot be used.
        message: String,
    },
    /// A reward tool fails too often to train on.
    #[error(
        "step {step}: tool `{tool}` failed on {failed} of {asked} replies, more than `rewards.failure_limit` allows; last: {last}"
    )]
    ToolFails {
        /// The step.
        step: u64,
        /// The tool.
        tool: String,
        /// Failed scores.
        failed: usize,
        /// Asked scores.
        asked: usize,
        /// The last failure.
        last: String,
    },
    /// Mathematics gone wrong.
    #[error("step {step}: the gradient is not finite; start again with a lower learning rate")]
    Diverged {
        /// The step.
        step: u64,
    },
    /// The run's config, data or tools are not those it was started with.
    #[error("{}: the run was started with other inputs: {what}; change it back or start a new run{hint}", path.display())]
    Changed {
        /// The run's folder.
        path: PathBuf,
        /// The first part that differs.
        what: String,
        /// How to keep some of it.
        hint: String,
    },
    /// Ctrl-C.
    #[error("interrupted after {warmup} warm-up steps and {step} steps; continue with `--resume`")]
    Interrupted {
        /// Warm-up steps done and saved.
        warmup: u64,
        /// Steps done and saved.
        step: u64,
    },
}
