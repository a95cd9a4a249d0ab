//! The agent reward orchestrator: which tool scores which prompt, and what it says.
//!
//! A [`ToolCard`] describes a tool; a [`Library`] is a folder of them that a person can read; before a tool is trusted the
//! court [`examine`]s it. The
//! [`BuiltinAgent`] chooses tools for an example, with a reason: an [`Assignment`]. The [`Orchestrator`]
//! assigns and scores; every score is an [`Outcome`], and a failure is never a number.
//! [`fetch_rewards`] fills a library for the tasks of a data set.

mod admission;
pub mod agents;
mod asks;
mod builtin;
mod builtin_agent;
mod calibration;
mod card;
mod code;
mod composite;
mod court;
mod differences;
mod fetch;
mod hacks;
pub mod ifeval;
mod judge;
mod library;
mod llm;
mod local;
pub mod math;
mod memory;
pub mod metrics;
pub mod monitor;
mod new_tool;
mod orchestrator;
mod outcome;
mod ranking;
mod reward_model;
mod scores;
mod sentences;
mod store;
mod tasks;
mod tool;
pub mod worker;

pub use admission::{Admission, Probe, Status};
pub use builtin_agent::{Assignment, BuiltinAgent, Choice};
pub use calibration::{CALIBRATION, Calibration, Spread, ToolStatistics, statistics};
pub use card::{Case, Kind, Role, ToolCard};
pub use composite::{Member, Part};
pub use court::{examine, probes_for};
pub use fetch::{Fetched, Report, Wanted, fetch_rewards};
pub use judge::{Criterion, Mode, Rubric};
pub use library::{ADMISSION, Library};
pub use llm::{Exchanges, LlmConfig};
pub use local::Local;
pub use new_tool::NewTool;
pub use orchestrator::Orchestrator;
pub use outcome::{Failure, Outcome};
pub use reward_model::ModelPointer;
pub use scores::Scores;
pub use store::{STORE, Store};
pub use tasks::domain;
pub use tool::{Means, Told, Tool};

use std::path::{Path, PathBuf};

/// What can go wrong with rewards as a whole; what goes wrong with one score is an [`Outcome`].
#[derive(Debug, thiserror::Error)]
pub enum RewardError {
    /// A library file could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A card is wrong.
    #[error("{0}")]
    Card(#[from] rlar_data::ConfigError),
    /// A tool cannot be used.
    #[error("tool `{tool}`: {message}")]
    Tool {
        /// The tool.
        tool: String,
        /// Why, and what to do.
        message: String,
    },
    /// A tool may not score: the court did not admit it.
    #[error("tool `{tool}` {message}")]
    NotAdmitted {
        /// The tool.
        tool: String,
        /// Why, and what to do.
        message: String,
    },
    /// A file of scores and calls cannot be read.
    #[error("{}: {message}", path.display())]
    Store {
        /// The file.
        path: PathBuf,
        /// Why.
        message: String,
    },
    /// No tool fits an example.
    #[error("example `{example}`: {message}")]
    Unassigned {
        /// The example's id.
        example: String,
        /// What was missing.
        message: String,
    },
    /// A language model cannot be asked.
    #[error(transparent)]
    Llm(#[from] rlar_net::llm::LlmError),
    /// A download failed.
    #[error(transparent)]
    Net(#[from] rlar_net::NetError),
}

impl RewardError {
    fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self + '_ {
        move |source| Self::Io { path: path.to_owned(), source }
    }

    fn tool(tool: &str, message: impl Into<String>) -> Self {
        Self::Tool { tool: tool.to_owned(), message: message.into() }
    }
}
