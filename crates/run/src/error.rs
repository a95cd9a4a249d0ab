//! What can go wrong with a run's folder.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Why a file or folder of a run cannot be read, written or used.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The operating system refused an operation on a file or folder, such as a read or a write.
    #[error("{}: {action}: {source}", path.display())]
    Io {
        /// The file or folder that the operation was meant for.
        path: PathBuf,
        /// The operation that failed, such as `cannot read`.
        action: &'static str,
        /// The error that the operating system reported.
        source: io::Error,
    },
    /// The disk stayed full for as long as a write may wait.
    #[error("{}: the disk is full and stayed so for {} s (`run.disk_wait`); make room, then continue with `--resume`", path.display(), waited.as_secs())]
    Full {
        /// The file that could not be written.
        path: PathBuf,
        /// How long the write waited.
        waited: Duration,
    },
    /// Another process uses the run's folder.
    #[error("{} is in use by another run; wait for it or choose another `run.folder`", path.display())]
    Locked {
        /// The run's folder.
        path: PathBuf,
    },
    /// The contents of the run's folder do not allow the operation, or a file of the folder is damaged.
    #[error("{}: {message}", path.display())]
    State {
        /// The folder or the damaged file.
        path: PathBuf,
        /// Text for the user: what is wrong with the folder or file, and how to continue.
        message: String,
    },
}

impl RunError {
    /// Makes a function for `map_err` that turns an I/O error into a [`RunError::Io`].
    pub(crate) fn io<'a>(path: &'a Path, action: &'static str) -> impl FnOnce(io::Error) -> Self + 'a {
        move |source| Self::Io { path: path.to_owned(), action, source }
    }

    /// Makes a [`RunError::State`].
    pub(crate) fn state(path: &Path, message: impl Into<String>) -> Self {
        Self::State { path: path.to_owned(), message: message.into() }
    }
}
