//! File locks that the official Python client respects as well (`filelock`'s `UnixFileLock`).

use std::fs::{self, File, OpenOptions, Permissions, TryLockError};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::hub::HubError;

/// How long to wait between two attempts to lock.
const PAUSE: Duration = Duration::from_millis(50);

/// Permissions of a lock file: writable by the group, so that users who share a cache can wait for each other.
const MODE: u32 = 0o664;

/// Acquires the lock of a lock file, which is created if missing and never deleted. The lock is released when the
/// returned file is dropped or the process ends. [`HubError::Locked`] if another process or thread holds the lock until
/// the deadline.
pub(crate) async fn acquire(path: &Path, deadline: Instant) -> Result<File, HubError> {
    let began = Instant::now();
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(HubError::io(folder))?;
    }
    loop {
        let is_new = !path.exists();
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(MODE).open(path);
        let file = file.map_err(HubError::io(path))?;
        if is_new {
            // Sets the permissions despite the process's umask. This fails if another user has just created the file;
            // that user's process sets them.
            let _ = file.set_permissions(Permissions::from_mode(MODE));
        }
        match file.try_lock() {
            // A lock file that was deleted after it was opened excludes no one; so the path is opened again.
            Ok(()) if file.metadata().map_err(HubError::io(path))?.nlink() > 0 => return Ok(file),
            Ok(()) | Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(e)) => return Err(HubError::io(path)(e)),
        }
        if Instant::now() >= deadline {
            return Err(HubError::Locked { path: path.to_owned(), seconds: began.elapsed().as_secs() });
        }
        tokio::time::sleep(PAUSE).await;
    }
}
