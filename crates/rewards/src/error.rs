//! The error type of this crate.

use std::path::{Path, PathBuf};

/// Why tools cannot be loaded, assigned or run. That a tool gives no score for one reply is no error but a
/// [`Failure`](crate::Failure).
#[derive(Debug, thiserror::Error)]
pub enum RewardError {
    /// A file of a library cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// A card is wrong; the message has the file and the lines.
    #[error("{0}")]
    Card(#[from] rlar_data::ConfigError),
    /// A tool cannot be opened or run.
    #[error("tool `{tool}`: {message}")]
    Tool {
        /// The tool's name.
        tool: String,
        /// The reason, and what to do about it.
        message: String,
    },
    /// A tool may not score, because it is not admitted.
    #[error("tool `{tool}` {message}")]
    NotAdmitted {
        /// The tool's name.
        tool: String,
        /// The reason, and what to do about it.
        message: String,
    },
    /// A file of scores and calls (`scores.sqlite`) cannot be read.
    #[error("{}: {message}", path.display())]
    Store {
        /// The file.
        path: PathBuf,
        /// The reason.
        message: String,
    },
    /// No tool fits an example.
    #[error("example `{example}`: {message}")]
    Unassigned {
        /// The example's id.
        example: String,
        /// What the example or the library lacks.
        message: String,
    },
    /// A language model cannot be opened or asked.
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
