//! A run is a folder, and a kill at any instant loses nothing already in it.
//!
//! [`RunFolder`] holds the lock and the paths; [`write_atomic`] writes whole files or nothing;
//! [`Records`] are append-only JSONL files that a resume cuts back to its checkpoint; the [`Journal`] holds what entered a
//! step before it is used, so that a resume repeats it; [`Checkpoints`] are folders that appear complete, with a hash of
//! every file; a [`Disk`] that is full is waited for. [`Events`] are what TensorBoard reads, [`Progress`] is the live line
//! for people.

mod atomic;
mod checkpoints;
mod disk;
mod events;
mod fingerprint;
mod folder;
mod journal;
mod progress;
mod records;

pub use atomic::{sync_or_rewrite, write_atomic};
pub use checkpoints::{Checkpoint, Checkpoints, Files};
pub use disk::Disk;
pub use events::Events;
pub use fingerprint::{fingerprint, hash_files};
pub use folder::{JOURNAL, RunFolder};
pub use journal::Journal;
pub use progress::Progress;
pub use records::Records;

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// The SHA-256 of some bytes, in hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Bytes in hexadecimal.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |hex, b| hex + &format!("{b:02x}"))
}

/// What can go wrong with a run's folder.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The system refused a read or a write.
    #[error("{}: {action}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// The disk was full for as long as a write may wait.
    #[error("{}: the disk is full and stayed so for {} s (`run.disk_wait`); make room, then continue with `--resume`", path.display(), waited.as_secs())]
    Full {
        /// The file.
        path: PathBuf,
        /// How long was waited.
        waited: std::time::Duration,
    },
    /// Another process uses the folder.
    #[error("{} is in use by another run; wait for it or choose another `run.folder`", path.display())]
    Locked {
        /// The folder.
        path: PathBuf,
    },
    /// The folder's state does not allow what was asked.
    #[error("{}: {message}", path.display())]
    State {
        /// The folder or file.
        path: PathBuf,
        /// Why, and what to do.
        message: String,
    },
}

impl RunError {
    fn io<'a>(path: &'a Path, action: &'static str) -> impl FnOnce(std::io::Error) -> Self + 'a {
        move |source| Self::Io { path: path.to_owned(), action, source }
    }

    fn state(path: &Path, message: impl Into<String>) -> Self {
        Self::State { path: path.to_owned(), message: message.into() }
    }
}
