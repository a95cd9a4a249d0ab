//! Writes that wait for room on a full disk, for a bounded time.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use crate::RunError;

/// How long writes wait for room on a full disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Disk {
    /// Maximum time that one write waits; with zero, a write to a full disk fails at once.
    pub wait: Duration,
}

/// Time between two attempts to write to a full disk.
const PAUSE: Duration = Duration::from_millis(500);

impl Disk {
    /// Calls `write`, and calls it again while the disk is full, for at most [`Disk::wait`]; after that the error is
    /// [`RunError::Full`]. `write` must start from the beginning each time. Logs a warning when the wait begins and
    /// ends.
    pub fn write<T>(self, mut write: impl FnMut() -> Result<T, RunError>) -> Result<T, RunError> {
        let mut began = None;
        loop {
            match write() {
                Err(RunError::Io { path, source, .. }) if is_full(source.kind()) => {
                    let started = *began.get_or_insert_with(|| {
                        let (path, wait) = (path.display(), self.wait.as_secs());
                        tracing::warn!("{path}: the disk is full; waiting for room for at most {wait} s");
                        Instant::now()
                    });
                    if started.elapsed() + PAUSE > self.wait {
                        return Err(RunError::Full { path, waited: self.wait });
                    }
                    std::thread::sleep(PAUSE);
                }
                Ok(written) => {
                    if began.is_some() {
                        tracing::warn!("the disk has room again; going on");
                    }
                    return Ok(written);
                }
                Err(other) => return Err(other),
            }
        }
    }
}

/// Whether an error means that the disk, or the user's quota of it, is full.
fn is_full(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}
