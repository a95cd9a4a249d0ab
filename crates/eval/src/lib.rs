//! How good is a policy, and how good is a reward?
//!
//! [`accuracy`] samples a policy on examples and lets reward tools judge, per kind of task.
//! [`rewardbench2`] scores a reward tool on RewardBench 2: its formulas are pure functions there.

mod accuracy;
mod prompt;
pub mod rewardbench2;
pub mod table;

pub use accuracy::{Accuracy, Answer, Protocol, accuracy};
pub use prompt::{PromptFormat, encode_prompt, prompt_tokens};

use std::path::PathBuf;

/// What can go wrong in an evaluation.
#[derive(Debug, thiserror::Error)]
pub enum EvalError {
    /// The model.
    #[error(transparent)]
    Policy(#[from] rlar_policy::PolicyError),
    /// A reward tool.
    #[error(transparent)]
    Reward(#[from] rlar_rewards::RewardError),
    /// The data.
    #[error(transparent)]
    Data(#[from] rlar_data::DataError),
    /// A row of a benchmark.
    #[error("{}:{line}: {message}", path.display())]
    Row {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// What is wrong.
        message: String,
    },
}
