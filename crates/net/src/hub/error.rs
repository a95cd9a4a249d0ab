//! Errors of the Hub.

use std::path::{Path, PathBuf};

/// An error of the Hub. Messages say what to do next; none contains a token.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// The settings cannot work.
    #[error("the Hub's settings: {0}")]
    Settings(String),
    /// A model id, a revision or a file name that the Hub does not allow.
    #[error("{0}")]
    Name(String),
    /// The model does not exist, or is private and invisible to this user.
    #[error("{id}: no such model at {address}; check the id, or set HF_TOKEN if the model is private")]
    NotFound {
        /// The model's id.
        id: String,
        /// The Hub's address.
        address: String,
    },
    /// The model has no such revision.
    #[error("{id}: no revision `{revision}`; check the name of the branch, tag or commit")]
    Revision {
        /// The model's id.
        id: String,
        /// The branch, tag or commit.
        revision: String,
    },
    /// The model has no such file.
    #[error("{id}: no file `{name}` in this revision; `info` lists the files")]
    File {
        /// The model's id.
        id: String,
        /// The file's path in the model.
        name: String,
    },
    /// The Hub rejects the token.
    #[error("{address}: the Hub does not accept the token; set HF_TOKEN to one that is valid, or unset it")]
    Token {
        /// The address, without user, password and query.
        address: String,
    },
    /// The token's owner has no access.
    #[error("{address}: access is forbidden{reason}; set HF_TOKEN to a token that may read this model")]
    Forbidden {
        /// The address, without user, password and query.
        address: String,
        /// The Hub's message after a colon and a space, or an empty text.
        reason: String,
    },
    /// The model is gated: its owner gives access to users who accept terms.
    #[error("{id}: access is restricted; accept the terms at {address}, then set HF_TOKEN to your token")]
    Gated {
        /// The model's id.
        id: String,
        /// The model's page.
        address: String,
    },
    /// The Hub has disabled the model for all users.
    #[error("{id}: the Hub has disabled access to this model; choose another one")]
    Disabled {
        /// The model's id.
        id: String,
    },
    /// The Hub limits the rate of requests (status 429).
    #[error("{address}: {message}; try again later, or set HF_TOKEN for a higher limit")]
    Busy {
        /// The address, without user, password and query.
        address: String,
        /// The last error and the number of tries.
        message: String,
    },
    /// A request failed, after all retries.
    #[error("{address}: {message}")]
    Request {
        /// The address, without user, password and query.
        address: String,
        /// The last error and the number of tries.
        message: String,
    },
    /// The deadline passed, or would pass before another try.
    #[error("{address}: {message}; try again: a download continues from the bytes that it has")]
    Deadline {
        /// The address, without user, password and query.
        address: String,
        /// The deadline, the number of tries and the last error.
        message: String,
    },
    /// The response does not follow the Hub's protocol.
    #[error("{address}: the response does not follow the Hub's protocol: {message}")]
    Reply {
        /// The address, without user, password and query.
        address: String,
        /// What is wrong with the response.
        message: String,
    },
    /// The download is larger than its limit.
    #[error("{what} has {bytes} bytes, more than the limit of {limit}; raise the limit or choose another model")]
    TooLarge {
        /// The file, or all files of a model.
        what: String,
        /// The announced size, in bytes.
        bytes: u64,
        /// The limit, in bytes.
        limit: u64,
    },
    /// The disk has too little space.
    #[error("{}: {need} bytes are needed and {free} are free; make room or set HF_HUB_CACHE", path.display())]
    Disk {
        /// The cache's folder.
        path: PathBuf,
        /// Bytes still to download.
        need: u64,
        /// Free bytes.
        free: u64,
    },
    /// A downloaded file has another hash than announced. The file is deleted.
    #[error("{id}: {name} is damaged: its hash is {found}, not {expected}; try again, or ask the model's owner")]
    Damaged {
        /// The model's id.
        id: String,
        /// The file's path in the model.
        name: String,
        /// The announced hash, in hexadecimal.
        expected: String,
        /// The hash of the downloaded bytes, in hexadecimal.
        found: String,
    },
    /// In offline mode, something is not in the cache.
    #[error(
        "{what} is not in the cache at {}, and HF_HUB_OFFLINE forbids requests to the Hub; unset it to download",
        path.display()
    )]
    Offline {
        /// What is missing.
        what: String,
        /// The cache's folder.
        path: PathBuf,
    },
    /// Another download held the lock of a file until the deadline.
    #[error(
        "{}: another process or thread has held this lock for {seconds} s; wait for the other download or end it",
        path.display()
    )]
    Locked {
        /// The lock file.
        path: PathBuf,
        /// The time waited, in seconds.
        seconds: u64,
    },
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
}

impl HubError {
    pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self + '_ {
        move |source| Self::Io { path: path.to_owned(), source }
    }
}
