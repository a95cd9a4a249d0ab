//! How good is a policy, and how good is a reward?
//!
//! [`accuracy`] samples a policy on examples and lets reward tools judge, per kind of task. A [`suite`] is a published or
//! private benchmark of policies, and [`datasets`] fetches what it reads.
//!
//! Benchmarks of rewards are data, and their metrics pure functions of scores: [`item`] is the one form that every benchmark
//! takes, [`formats`] reads the published files into it, [`ask`] asks tools, [`scores`] holds what they said (and reads and
//! writes it), [`metric`] and [`ties`] turn one item's scores into a number, [`report`] adds them up with [`bootstrap`]
//! intervals, and [`reference`](mod@reference) writes the files that the community's scripts read. [`judge`] has the prompts
//! and parsers of generative judges, whose verdicts become scores like any other. [`routing`] asks whether choosing a tool per
//! prompt beats the best single one.

mod accuracy;
pub mod ask;
pub mod bootstrap;
pub mod datasets;
pub mod formats;
pub mod item;
pub mod judge;
pub mod metric;
mod parquet_rows;
mod prompt_encoding;
mod python_json;
pub mod reference;
pub mod report;
pub mod routing;
mod rows;
pub mod scores;
pub mod suite;
pub mod table;
pub mod ties;
pub mod win_rate;

pub use accuracy::{Accuracy, Answer, Protocol, accuracy};
pub use item::{Average, Benchmark, Item, Kind};
pub use prompt_encoding::{PromptFormat, check_prompt_fits, encode_fitting_prompt, encode_prompt};
pub use report::Report;
pub use scores::{Cost, Scores};
pub use win_rate::WinRate;

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
    /// A YAML.
    #[error(transparent)]
    Config(#[from] rlar_data::ConfigError),
    /// A download.
    #[error(transparent)]
    Net(#[from] rlar_net::NetError),
    /// A row of a benchmark or of a file of scores.
    #[error("{}:{line}: {message}", path.display())]
    Row {
        /// The file.
        path: PathBuf,
        /// Line of a text, row of a Parquet file; from 1.
        line: usize,
        /// What is wrong and what to do.
        message: String,
    },
    /// A whole file.
    #[error("{}: {message}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong and what to do.
        message: String,
    },
    /// Things that do not belong together, none of them in a file.
    #[error("{0}")]
    Mismatch(String),
}
