//! What can go wrong with the Hub.

use std::path::{Path, PathBuf};

/// What can go wrong with the Hub. Every message says what to do next, and none holds a token.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// The settings cannot work.
    #[error("the Hub's settings: {0}")]
    Settings(String),
    /// An id, a revision or a file's name is not one that the Hub has.
    #[error("{0}")]
    Name(String),
    /// No such model is shown to this user.
    #[error("{id}: no such model at {address}; check the id, or set HF_TOKEN if the model is private")]
    NotFound {
        /// The model.
        id: String,
        /// The Hub's address.
        address: String,
    },
    /// The model has no such revision.
    #[error("{id}: no revision `{revision}`; check the name of the branch, tag or commit")]
    Revision {
        /// The model.
        id: String,
        /// The branch, tag or commit.
        revision: String,
    },
    /// The model has no such file.
    #[error("{id}: no file `{name}` in this revision; `info` lists what there is")]
    File {
        /// The model.
        id: String,
        /// The file.
        name: String,
    },
    /// The Hub does not accept the token.
    #[error("{address}: the Hub does not accept the token; set HF_TOKEN to one that is valid, or unset it")]
    Token {
        /// The address, without user, password and query.
        address: String,
    },
    /// The token's owner may not see this.
    #[error("{address}: access is forbidden{said}; set HF_TOKEN to a token that may read this model")]
    Forbidden {
        /// The address, without user, password and query.
        address: String,
        /// What the Hub said, after a colon, or nothing.
        said: String,
    },
    /// The model's owner gives access to those who accept terms.
    #[error("{id}: access is restricted; accept the terms at {address}, then set HF_TOKEN to your token")]
    Gated {
        /// The model.
        id: String,
        /// The model's page.
        address: String,
    },
    /// The Hub no longer gives the model to anybody.
    #[error("{id}: the Hub has disabled access to this model; choose another one")]
    Disabled {
        /// The model.
        id: String,
    },
    /// The Hub wants fewer requests.
    #[error("{address}: {message}; try again later, or set HF_TOKEN for a higher limit")]
    Busy {
        /// The address, without user, password and query.
        address: String,
        /// What happened, after how many tries.
        message: String,
    },
    /// A request failed for good.
    #[error("{address}: {message}")]
    Request {
        /// The address, without user, password and query.
        address: String,
        /// What happened, after how many tries.
        message: String,
    },
    /// The time is over, or would be before another try.
    #[error("{address}: {message}; try again: a download continues where it ended")]
    Deadline {
        /// The address, without user, password and query.
        address: String,
        /// How long was waited, after how many tries, and what happened last.
        message: String,
    },
    /// The answer is not what the Hub's protocol says.
    #[error("{address}: the answer is not what the Hub's protocol says: {message}")]
    Reply {
        /// The address, without user, password and query.
        address: String,
        /// What is wrong with it.
        message: String,
    },
    /// More bytes than may be downloaded.
    #[error(
        "{what} has {bytes} bytes, which is more than the limit of {limit}; raise the limit or choose another model"
    )]
    TooLarge {
        /// The file, or all files of a model.
        what: String,
        /// Its size as announced, or how much came at least.
        bytes: u64,
        /// What is allowed.
        limit: u64,
    },
    /// Too little room on a disk.
    #[error("{}: {need} bytes are needed and {free} are free; make room or set HF_HUB_CACHE", path.display())]
    Disk {
        /// Where the cache is.
        path: PathBuf,
        /// Bytes still to download.
        need: u64,
        /// Bytes that may be used.
        free: u64,
    },
    /// A file's bytes are not those that the Hub announced. They are deleted.
    #[error("{id}: {name} is damaged: its hash is {found}, not {expected}; try again, or ask the model's owner")]
    Damaged {
        /// The model.
        id: String,
        /// The file.
        name: String,
        /// The announced hash, in hexadecimal.
        expected: String,
        /// The hash of what came, in hexadecimal.
        found: String,
    },
    /// The network may not be used and the cache does not have it.
    #[error("{what} is not in the cache at {}, and HF_HUB_OFFLINE forbids to ask the Hub; unset it once", path.display())]
    Offline {
        /// What is missing.
        what: String,
        /// Where the cache is.
        path: PathBuf,
    },
    /// Somebody else works on a file for too long.
    #[error("{}: somebody else has held this lock for {seconds} s; wait for the other download or end it", path.display())]
    Locked {
        /// The lock's file.
        path: PathBuf,
        /// How long was waited, in seconds.
        seconds: u64,
    },
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

impl HubError {
    pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self + '_ {
        move |source| Self::Io { path: path.to_owned(), source }
    }
}
