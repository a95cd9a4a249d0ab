//! What can go wrong with a chat.

use std::path::{Path, PathBuf};

/// What can go wrong with a chat.
#[derive(Debug, thiserror::Error)]
pub enum LlmError {
    /// The request failed for good.
    #[error("{address}: {message}")]
    Request {
        /// The address, without user, password and query.
        address: String,
        /// What happened, after how many tries.
        message: String,
    },
    /// The time for the chat is over, or would be before another try.
    #[error("{address}: {message}")]
    Deadline {
        /// The address, without user, password and query.
        address: String,
        /// How long was waited, after how many tries, and what happened last.
        message: String,
    },
    /// The server's answer is not what the protocol says.
    #[error("the server's answer is not what the chat protocol says: {0}")]
    Reply(String),
    /// A budget is used up: which, how much, and which setting raises it.
    #[error("{0}")]
    Budget(String),
    /// No reply was recorded for a request, or recordings are not clear.
    #[error("{message}")]
    Replay {
        /// What was asked and how the nearest recorded request differs; or which line is wrong, and how.
        message: String,
    },
    /// Nobody wanted the answer any more when it was the request's turn.
    #[error("was not asked: no more answers were wanted")]
    NotAsked,
    /// A file of recordings could not be read or written, or a log could not be opened.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

impl LlmError {
    pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self + '_ {
        move |source| Self::Io { path: path.to_owned(), source }
    }
}
