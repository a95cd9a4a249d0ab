//! The error of a training job.

use std::path::PathBuf;

use rlar_run::RunError;

/// Why a training job ended without a result.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// The model cannot be loaded, trained or sampled from.
    #[error(transparent)]
    Policy(#[from] rlar_policy::PolicyError),
    /// Replies could not be sampled, or cannot be trained on, for instance because other weights sampled them.
    #[error("step {step}: sampling replies to example `{example}`: {message}")]
    Sampling {
        /// Number of the training step, from 1.
        step: u64,
        /// The id of the example whose request failed.
        example: String,
        /// What went wrong, with the name of the server if there is one.
        message: String,
    },
    /// The servers of `sampling.vllm` cannot be used, or none of them has the current weights.
    #[error("`sampling.vllm`: {message}")]
    Vllm {
        /// What is wrong with which server, and what to do.
        message: String,
    },
    /// The server of `train.tinker` cannot be used, or failed.
    #[error("`train.tinker`: {message}")]
    Tinker {
        /// What is wrong, with the server's address, and what to do.
        message: String,
    },
    /// The engine gave what the algorithm cannot compute with.
    #[error("step {step}: {message}")]
    Engine {
        /// Number of the training step, from 1.
        step: u64,
        /// What is wrong with it.
        message: String,
    },
    /// A data file cannot be used with this model, for instance because a prompt is longer than the model's context.
    #[error("`{key}`: {source}")]
    Data {
        /// The config key of the file, such as `data.train`.
        key: &'static str,
        /// What is wrong with the data.
        source: rlar_policy::PolicyError,
    },
    /// The examples to train on cannot be read back from where they are kept.
    #[error(transparent)]
    Examples(#[from] rlar_data::DataError),
    /// A reward tool cannot be opened, or no tool can score a prompt. A tool that fails on single replies is
    /// [`Self::ToolFails`].
    #[error(transparent)]
    Reward(#[from] rlar_rewards::RewardError),
    /// Replies to held-out prompts could not be sampled by another process.
    #[error("evaluation: {message}")]
    Evaluation {
        /// What went wrong, with the name of the server.
        message: String,
    },
    /// An evaluation on held-out prompts or a suite failed.
    #[error(transparent)]
    Eval(#[from] rlar_eval::EvalError),
    /// The run's folder cannot be read or written.
    #[error(transparent)]
    Run(#[from] RunError),
    /// A JSON file of the run cannot be parsed or written; another version of rlar may have written it.
    #[error("a file of the run cannot be understood: {0}")]
    Format(#[from] serde_json::Error),
    /// The run cannot be started or continued with what is in its folder.
    #[error("{}: {message}", path.display())]
    Checkpoint {
        /// Path of the checkpoint, or of another part of the run's folder, that is the obstacle.
        path: PathBuf,
        /// Why the run cannot continue, and what the user can do.
        message: String,
    },
    /// A reward tool fails too often to train on, and no other tool can replace it.
    #[error(
        "step {step}: tool `{tool}` failed on {failed} of {requested} replies, more than `rewards.failure_limit` allows; \
         last: {last}; and no other tool can replace it: {left}"
    )]
    ToolFails {
        /// Number of the training step, from 1.
        step: u64,
        /// Name of the failing tool.
        tool: String,
        /// Number of scores that failed in the last `rewards.failure_window` steps.
        failed: usize,
        /// Number of scores that were requested from the tool in the last `rewards.failure_window` steps.
        requested: usize,
        /// Text of the tool's last failure.
        last: String,
        /// Why no other tool can score the prompts of the failing tool.
        left: String,
    },
    /// In each of the last `train.flat_steps` steps, all replies of every group had the same reward, so that nothing
    /// was learned.
    #[error("no group's rewards differed for {steps} steps in a row (`train.flat_steps`): {why}")]
    Flat {
        /// Number of steps in a row in which all replies of every group had the same reward.
        steps: u64,
        /// Range of the rewards in the last step, why they are equal within groups, and what the user can change.
        why: String,
    },
    /// The rollouts of a step cannot be encoded as a Parquet file.
    #[error("step {step}: the rollouts cannot be written as Parquet: {message}")]
    Rollouts {
        /// Number of the training step, from 1.
        step: u64,
        /// Message of the Parquet encoder, or of the chat template that renders the prompts.
        message: String,
    },
    /// A log-prob of the trainer or the gradient contains NaN or infinity; the weights were not changed by it.
    #[error("step {step}: the gradient or a log-prob is not finite; start again with a lower learning rate")]
    Diverged {
        /// Number of the step, from 1.
        step: u64,
    },
    /// Config, data, model or tools are not those that the run was started with.
    #[error("{}: the run was started with other inputs: {what}; change it back or start a new run{hint}", path.display())]
    Changed {
        /// Path of the run's folder.
        path: PathBuf,
        /// The first difference between the inputs that the run was started with and those given now.
        what: String,
        /// How to start a new run from the policy after this run's supervised warm-up; empty if that is not possible.
        hint: String,
    },
    /// The user stopped the job (Ctrl-C or SIGTERM), and its state was saved.
    #[error("interrupted after {warmup} warm-up steps and {step} steps; continue with `--resume`")]
    Interrupted {
        /// Number of supervised warm-up steps done and saved.
        warmup: u64,
        /// Number of training steps done and saved; steps of the supervised warm-up are not counted.
        step: u64,
    },
}

impl TrainError {
    /// Whether the user's request was wrong (exit code 2); otherwise the job itself failed (exit code 1).
    pub fn is_request(&self) -> bool {
        matches!(
            self,
            Self::Changed { .. } | Self::Data { .. } | Self::Run(RunError::Locked { .. } | RunError::State { .. })
        )
    }
}
