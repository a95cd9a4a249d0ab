//! Locks that the official client takes as well (`filelock`'s `UnixFileLock`).

use std::fs::{self, File, OpenOptions, Permissions, TryLockError};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::hub::HubError;

/// The pause between two tries.
const PAUSE: Duration = Duration::from_millis(50);

/// Group-writable, so that users who share a cache can wait for each other.
const MODE: u32 = 0o664;

/// Takes the lock of a file, which is made if it is not there and stays. Dropping what comes back gives it up, and so
/// does the end of the process. [`HubError::Locked`] if somebody else has it until the deadline.
pub(crate) async fn take(path: &Path, deadline: Instant) -> Result<File, HubError> {
    let began = Instant::now();
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(HubError::io(folder))?;
    }
    loop {
        let is_new = !path.exists();
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(MODE).open(path);
        let file = file.map_err(HubError::io(path))?;
        if is_new {
            // Beyond the process's mask; the file may be somebody else's already, and then theirs to set.
            let _ = file.set_permissions(Permissions::from_mode(MODE));
        }
        match file.try_lock() {
            // A file that was deleted meanwhile is nobody's lock any more.
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
