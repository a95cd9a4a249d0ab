//! The error type of the Hub's client.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// An error of a request to a Hub, or of its cache. Messages say what to do next; none contains a token.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// The settings of the client are invalid.
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
        /// The address of the Hub.
        address: String,
    },
    /// The model has no such branch, tag or commit.
    #[error("{id}: no revision `{revision}`; check the name of the branch, tag or commit")]
    Revision {
        /// The model's id.
        id: String,
        /// The branch, tag or commit that was requested.
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
    /// The model's repository has no files that rlar loads as a model, or several models.
    #[error("{id} at `{revision}`: {message}")]
    Model {
        /// The model's id.
        id: String,
        /// The branch, tag or commit.
        revision: String,
        /// What is missing, or what the user has to choose from.
        message: String,
    },
    /// The Hub rejects the access token.
    #[error("{address}: the Hub does not accept the token; set HF_TOKEN to one that is valid, or unset it")]
    Token {
        /// The address of the Hub, without user, password and query.
        address: String,
    },
    /// The Hub forbids this request to the token's owner, or to a user without a token (status 403).
    #[error("{address}: access is forbidden{reason}; set HF_TOKEN to a token that may read this model")]
    Forbidden {
        /// The requested address, without user, password and query.
        address: String,
        /// `: ` and the reason in the Hub's answer, to be appended to a message; empty if the Hub gives no reason.
        reason: String,
    },
    /// The model is gated: the model's owner gives access only to users who accept terms.
    #[error("{id}: access is restricted; accept the terms at {address}, then set HF_TOKEN to your token")]
    Gated {
        /// The model's id.
        id: String,
        /// The address of the model's page, where a user can ask for access.
        address: String,
    },
    /// The Hub has disabled the model for all users.
    #[error("{id}: the Hub has disabled access to this model; choose another one")]
    Disabled {
        /// The model's id.
        id: String,
    },
    /// The Hub answers that too many requests were sent (status 429), also after retries.
    #[error("{address}: {message}; try again later, or set HF_TOKEN for a higher limit")]
    Busy {
        /// The requested address, without user, password and query.
        address: String,
        /// What went wrong in the last try, with the number of tries.
        message: String,
    },
    /// A request failed, after all retries.
    #[error("{address}: {message}")]
    Request {
        /// The requested address, without user, password and query.
        address: String,
        /// What went wrong in the last try, with the number of tries.
        message: String,
    },
    /// The request was not answered before the deadline, or its next try would begin after the deadline.
    #[error("{address}: {message}; try again: a download continues from the bytes that it has")]
    Deadline {
        /// The requested address, without user, password and query.
        address: String,
        /// The deadline, the number of tries, and what went wrong in the last try.
        message: String,
    },
    /// The response does not follow the Hub's protocol.
    #[error("{address}: the response does not follow the Hub's protocol: {message}")]
    Reply {
        /// The requested address, without user, password and query.
        address: String,
        /// What is wrong with the response.
        message: String,
    },
    /// A download is larger than its limit.
    #[error("{what} has {bytes} bytes, more than the limit of {limit}; raise the limit or choose another model")]
    TooLarge {
        /// What is too large: one file, or all files of a model together.
        what: String,
        /// The size that the Hub announced, in bytes.
        bytes: u64,
        /// The limit that the size exceeds, in bytes.
        limit: u64,
    },
    /// The disk has too little space for a download.
    #[error("{}: {need} bytes are needed and {free} are free; make room or set HF_HUB_CACHE", path.display())]
    Disk {
        /// The folder of the cache.
        path: PathBuf,
        /// Number of bytes that are still to be downloaded.
        need: u64,
        /// Number of bytes that are free on the disk.
        free: u64,
    },
    /// The disk became full while a file was written, or the file reached a limit of this process or user. The bytes
    /// that were downloaded so far are kept.
    #[error(
        "{}: {source}; make room or set HF_HUB_CACHE, and try again: a download continues from the bytes that it has",
        path.display()
    )]
    DiskFull {
        /// The path of the file.
        path: PathBuf,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// A downloaded file has another hash than the Hub announced. The file is deleted.
    #[error("{id}: {name} is damaged: its hash is {found}, not {expected}; try again, or ask the model's owner")]
    Damaged {
        /// The model's id.
        id: String,
        /// The file's path in the model.
        name: String,
        /// The hash that the Hub announced, in hexadecimal.
        expected: String,
        /// The hash of the downloaded bytes, in hexadecimal.
        found: String,
    },
    /// Something is not in the cache and cannot be requested in offline mode.
    #[error(
        "{what} is not in the cache at {}, and HF_HUB_OFFLINE forbids requests to the Hub; unset it",
        path.display()
    )]
    Offline {
        /// What is missing in the cache, such as a file of a model.
        what: String,
        /// The folder of the cache.
        path: PathBuf,
    },
    /// Another process or thread held the lock of a file, in order to download that file, until the deadline.
    #[error(
        "{}: another process or thread has held this lock for {seconds} s; wait for the other download or end it",
        path.display()
    )]
    Locked {
        /// The path of the lock file.
        path: PathBuf,
        /// How long the lock was waited for, in seconds.
        seconds: u64,
    },
    /// A file of the cache, or a token file, could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The path of the file or folder.
        path: PathBuf,
        /// The error of the operating system.
        source: std::io::Error,
    },
}

impl HubError {
    pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self + '_ {
        move |source| match source.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
                Self::DiskFull { path: path.to_owned(), source }
            }
            _ => Self::Io { path: path.to_owned(), source },
        }
    }
}
