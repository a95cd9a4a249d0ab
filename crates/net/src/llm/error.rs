//! Errors of a chat.

use std::path::{Path, PathBuf};

/// An error of a chat.
#[derive(Debug, thiserror::Error)]
pub enum LlmError {
    /// The request failed, after all retries.
    #[error("{address}: {message}")]
    Request {
        /// The address, without user, password and query.
        address: String,
        /// The last error and the number of tries.
        message: String,
    },
    /// The deadline of the chat passed, or would pass before another try.
    #[error("{address}: {message}")]
    Deadline {
        /// The address, without user, password and query.
        address: String,
        /// The deadline, the number of tries and the last error.
        message: String,
    },
    /// The server's response does not follow the chat protocol.
    #[error("the server's response does not follow the chat protocol: {0}")]
    Reply(String),
    /// A budget is used up. The message names the limit, the usage and the setting that raises the limit.
    #[error("{0}")]
    Budget(String),
    /// A recording has no reply to a request, or a file of recordings is invalid.
    #[error("{message}")]
    Replay {
        /// The request and its difference from the nearest recorded one, or the invalid line and what is wrong with it.
        message: String,
    },
    /// The batch was cancelled before this request was sent.
    #[error("the request was not sent: its batch had already been cancelled")]
    Cancelled,
    /// A file of recordings could not be read or written, or a log could not be opened.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
}

impl LlmError {
    pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self + '_ {
        move |source| Self::Io { path: path.to_owned(), source }
    }
}
