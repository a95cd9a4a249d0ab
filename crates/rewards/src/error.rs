//! What can go wrong with rewards as a whole.

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
    pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self + '_ {
        move |source| Self::Io { path: path.to_owned(), source }
    }

    pub(crate) fn tool(tool: &str, message: impl Into<String>) -> Self {
        Self::Tool { tool: tool.to_owned(), message: message.into() }
    }
}
