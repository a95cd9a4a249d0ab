//! The agent reward orchestrator: which tool scores which prompt, and what it says.
//!
//! A [`ToolCard`] describes a tool; a [`Library`] is a folder of them that a person can read; before a tool is trusted the
//! court [`examine`]s it. The
//! [`BuiltinAgent`] chooses tools for an example, with a reason: an [`Assignment`]. The [`Orchestrator`]
//! assigns and scores; every score is an [`Outcome`], and a failure is never a number.
//! [`fetch_rewards`] fills a library for the tasks of a data set.

mod admission;
mod agent;
mod asks;
mod builtin;
mod card;
mod court;
mod fetch;
mod hacks;
pub mod ifeval;
mod library;
pub mod math;
pub mod metrics;
mod orchestrator;
mod outcome;
mod ranking;
mod sentences;

pub use admission::{Admission, Probe, Status};
pub use agent::{Assignment, BuiltinAgent, Choice};
pub use card::{Case, Kind, Role, ToolCard};
pub use court::{examine, probes_for};
pub use fetch::{Fetched, fetch_rewards};
pub use library::{ADMISSION, Library, Tool};
pub use orchestrator::{Orchestrator, Scores};
pub use outcome::{Failure, Outcome};

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
    /// No tool fits an example.
    #[error("example `{example}`: {message}")]
    Unassigned {
        /// The example's id.
        example: String,
        /// What was missing.
        message: String,
    },
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
