//! The error type of this crate.

use std::path::{Path, PathBuf};

/// An error that keeps tools from being loaded, assigned to examples, or run. A tool that only gives no score for one
/// reply is not an error: the reply's [`Outcome`](crate::Outcome) says so.
#[derive(Debug, thiserror::Error)]
pub enum RewardError {
    /// A file or folder of a library of tools cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The path of the file or folder.
        path: PathBuf,
        /// The error that the operating system reported.
        source: std::io::Error,
    },
    /// A tool card (`tool.yaml`) is wrong; the message names the file and the lines.
    #[error("{0}")]
    Card(#[from] rlar_data::ConfigError),
    /// A tool cannot be opened or run.
    #[error("tool `{tool}`: {message}")]
    Tool {
        /// The tool's name.
        tool: String,
        /// What is wrong with the tool, and how to fix it where that is known.
        message: String,
    },
    /// A tool may not score: it has not passed the admission checks, was changed since, or was retired.
    #[error("tool `{tool}` {message}")]
    NotAdmitted {
        /// The tool's name.
        tool: String,
        /// Why the tool may not score, and which command or config key changes that.
        message: String,
    },
    /// A file of cached scores and logged calls of tools (`scores.sqlite`) cannot be read.
    #[error("{}: {message}", path.display())]
    Store {
        /// The path of the file.
        path: PathBuf,
        /// Why the file cannot be read.
        message: String,
    },
    /// No tool of the library can score the replies to an example.
    #[error("example `{example}`: {message}")]
    Unassigned {
        /// The example's id.
        example: String,
        /// Why no tool can score the replies: what the example or the library lacks.
        message: String,
    },
    /// A language model that judges or agents use cannot be opened, or gave no answer.
    #[error(transparent)]
    Llm(#[from] rlar_net::llm::LlmError),
    /// A download from the network failed, after all retries.
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
