//! Writing to a disk that may be full: wait for room, for a while.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use crate::RunError;

/// How long a write waits for room on a full disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Disk {
    /// Longest wait; zero fails at once.
    pub wait: Duration,
}

/// Time between two looks at a full disk.
const PAUSE: Duration = Duration::from_millis(500);

impl Disk {
    /// Does a write again and again while the disk is full, with a message, for at most the longest wait. A write
    /// that failed is begun again from its start.
    pub fn write<T>(self, mut write: impl FnMut() -> Result<T, RunError>) -> Result<T, RunError> {
        let mut began = None;
        loop {
            match write() {
                Err(RunError::Io { path, source, .. }) if full(source.kind()) => {
                    let since = *began.get_or_insert_with(|| {
                        let (path, wait) = (path.display(), self.wait.as_secs());
                        tracing::warn!("{path}: the disk is full; waiting for room for at most {wait} s");
                        Instant::now()
                    });
                    if since.elapsed() + PAUSE > self.wait {
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

fn full(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}
