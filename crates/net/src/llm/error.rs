//! The error type of chats with language models.

use std::path::{Path, PathBuf};

/// An error of a chat with a language model, or of its recordings and logs.
#[derive(Debug, thiserror::Error)]
pub enum LlmError {
    /// A request failed, after all retries, or the settings are invalid.
    #[error("{address}: {message}")]
    Request {
        /// The address of the server, without user, password and query.
        address: String,
        /// What went wrong in the last try, with the number of tries.
        message: String,
    },
    /// A request was not answered before the deadline, or its next try would begin after the deadline.
    #[error("{address}: {message}")]
    Deadline {
        /// The address of the server, without user, password and query.
        address: String,
        /// The deadline, the number of tries, and what went wrong in the last try.
        message: String,
    },
    /// The prompt does not fit into the model's context, or leaves no room for a reply.
    #[error("{message}")]
    ContextTooLong {
        /// The address of the server, without user, password and query, or the model's name; what the server said, and
        /// what to do.
        message: String,
        /// Number of tokens in the prompt; `None` if unknown.
        prompt_tokens: Option<u64>,
        /// Number of tokens that prompt and reply share; `None` if unknown.
        context: Option<u64>,
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
        /// The request and how it differs from the most similar recorded one, or the invalid line and what is wrong
        /// with the line.
        message: String,
    },
    /// The request was not sent, because the batch that it belongs to had already been cancelled.
    #[error("the request was not sent: its batch had already been cancelled")]
    Cancelled,
    /// A file of recordings could not be read or written, or a log could not be opened.
    #[error("{}: {source}", path.display())]
    Io {
        /// The path of the file.
        path: PathBuf,
        /// The error of the operating system.
        source: std::io::Error,
    },
}

impl LlmError {
    pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self + '_ {
        move |source| Self::Io { path: path.to_owned(), source }
    }
}
