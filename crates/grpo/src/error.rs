//! Why a training job ended without a result.

use std::path::PathBuf;

use rlar_run::RunError;

/// Why a training job ended without a result.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// The model cannot be loaded, trained or sampled from.
    #[error(transparent)]
    Policy(#[from] rlar_policy::PolicyError),
    /// The data does not fit the model.
    #[error("`{key}`: {source}")]
    Data {
        /// The key of the file in the config.
        key: &'static str,
        /// Why.
        source: rlar_policy::PolicyError,
    },
    /// A reward tool cannot be used at all.
    #[error(transparent)]
    Reward(#[from] rlar_rewards::RewardError),
    /// An evaluation failed.
    #[error(transparent)]
    Eval(#[from] rlar_eval::EvalError),
    /// The run's folder cannot be read or written.
    #[error(transparent)]
    Run(#[from] RunError),
    /// A file of the run has another form than this build writes.
    #[error("a file of the run cannot be understood: {0}")]
    Format(#[from] serde_json::Error),
    /// The run cannot be continued.
    #[error("{}: {message}", path.display())]
    Checkpoint {
        /// The checkpoint, or another part of the run's folder.
        path: PathBuf,
        /// Why it cannot be continued, and what to do.
        message: String,
    },
    /// A reward tool fails too often to train on, and no other tool can replace it.
    #[error(
        "step {step}: tool `{tool}` failed on {failed} of {requested} replies, more than `rewards.failure_limit` allows; \
         last: {last}; and no other tool can replace it: {left}"
    )]
    ToolFails {
        /// The step, from 1.
        step: u64,
        /// The tool.
        tool: String,
        /// Failed scores.
        failed: usize,
        /// Requested scores.
        requested: usize,
        /// The last failure.
        last: String,
        /// Why no other tool can score its prompts.
        left: String,
    },
    /// No group has had spread for too long, so that nothing is learned.
    #[error("no group's rewards differed for {steps} steps in a row (`train.flat_steps`): {why}")]
    Flat {
        /// Steps in a row.
        steps: u64,
        /// What the rewards look like, and what to do.
        why: String,
    },
    /// The rollouts of a step cannot be encoded.
    #[error("step {step}: the rollouts cannot be written as Parquet: {message}")]
    Rollouts {
        /// The step, from 1.
        step: u64,
        /// Why.
        message: String,
    },
    /// The gradient contains NaN or infinity.
    #[error("step {step}: the gradient is not finite; start again with a lower learning rate")]
    Diverged {
        /// The step, from 1.
        step: u64,
    },
    /// Config, data or tools are not those that the run was started with.
    #[error("{}: the run was started with other inputs: {what}; change it back or start a new run{hint}", path.display())]
    Changed {
        /// The run's folder.
        path: PathBuf,
        /// The first difference.
        what: String,
        /// How to start a new run from this one's warm-up; empty where that is not possible.
        hint: String,
    },
    /// The user pressed Ctrl-C.
    #[error("interrupted after {warmup} warm-up steps and {step} steps; continue with `--resume`")]
    Interrupted {
        /// Warm-up steps done and saved.
        warmup: u64,
        /// Steps done and saved.
        step: u64,
    },
}

impl TrainError {
    /// Whether the request was wrong (exit code 2), rather than the job failed (exit code 1).
    pub fn is_request(&self) -> bool {
        matches!(
            self,
            Self::Changed { .. } | Self::Data { .. } | Self::Run(RunError::Locked { .. } | RunError::State { .. })
        )
    }
}
