//! The errors of this crate.

use std::path::PathBuf;

/// Everything that can go wrong in an evaluation.
#[derive(Debug, thiserror::Error)]
pub enum EvalError {
    /// The model could not be loaded or run.
    #[error(transparent)]
    Policy(#[from] rlar_policy::PolicyError),
    /// A reward tool could not be opened or run.
    #[error(transparent)]
    Reward(#[from] rlar_rewards::RewardError),
    /// A data file could not be read.
    #[error(transparent)]
    Data(#[from] rlar_data::DataError),
    /// A YAML file has unknown keys or impossible values.
    #[error(transparent)]
    Config(#[from] rlar_data::ConfigError),
    /// A download failed.
    #[error(transparent)]
    Net(#[from] rlar_net::NetError),
    /// A row of a benchmark, of another data file or of a file of scores has a wrong or missing value.
    #[error("{}:{line}: {message}", path.display())]
    Row {
        /// The file that holds the row.
        path: PathBuf,
        /// Number of the line in a text file, or of the row in a Parquet file; counted from 1.
        line: usize,
        /// What is wrong with the row, and how to repair it.
        message: String,
    },
    /// A file as a whole is wrong, or could not be read or written.
    #[error("{}: {message}", path.display())]
    File {
        /// The file that is wrong.
        path: PathBuf,
        /// What is wrong with the file, and how to repair it.
        message: String,
    },
    /// Inputs do not fit together, such as a suite and a model that cannot answer its prompts. The text says why.
    #[error("{0}")]
    Mismatch(String),
}
