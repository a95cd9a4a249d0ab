//! Why a training job ended without a result.

use std::path::PathBuf;

/// Why a job ended without a result.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// The model.
    #[error(transparent)]
    Policy(#[from] rlar_policy::PolicyError),
    /// Data that the model cannot read.
    #[error("`{key}`: {source}")]
    Data {
        /// The key of the file in the config.
        key: &'static str,
        /// Why.
        source: rlar_policy::PolicyError,
    },
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
        "step {step}: tool `{tool}` failed on {failed} of {asked} replies, more than `rewards.failure_limit` allows; last: \
         {last}; and nothing can take its place: {left}"
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
        /// Why no other tool scores its examples.
        left: String,
    },
    /// No group tells its replies apart any more.
    #[error("the rewards taught nothing for {steps} steps in a row (`train.flat_steps`): {why}")]
    Flat {
        /// Steps in a row.
        steps: u64,
        /// What the rewards look like.
        why: String,
    },
    /// A file of rollouts could not be made.
    #[error("step {step}: the rollouts cannot be written as Parquet: {message}")]
    Rollouts {
        /// The step.
        step: u64,
        /// Why.
        message: String,
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

impl TrainError {
    /// Whether the request was wrong, rather than the job failed.
    pub fn is_request(&self) -> bool {
        use rlar_run::RunError;
        matches!(
            self,
            Self::Changed { .. } | Self::Data { .. } | Self::Run(RunError::Locked { .. } | RunError::State { .. })
        )
    }
}
