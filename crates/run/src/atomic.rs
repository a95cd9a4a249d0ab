//! Atomic writes: a reader, or a restart after a crash, finds the old file or the whole new one, never a part.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use crate::{Disk, RunError};

/// Replaces a file so that a reader or a crash sees the old contents or the new ones, never a part of either: writes to
/// a temporary name (`NAME.tmp`), syncs, renames, and syncs the folder.
pub fn write_atomic(path: &Path, contents: &[u8]) -> Result<(), RunError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".tmp");
    let temporary = path.with_file_name(name);
    write_synced(&temporary, contents)?;
    fs::rename(&temporary, path).map_err(RunError::io(path, "cannot rename into place"))?;
    sync_folder(folder_of(path))
}

/// Syncs a file and its folder, so that the file survives a crash of the machine. Where a sync fails on a full disk,
/// the file is written again: the kernel marks pages clean after a failed sync, so that a second sync would succeed
/// without writing them.
pub fn sync_or_rewrite(path: &Path, disk: Disk) -> Result<(), RunError> {
    let cannot_write = |e| RunError::io(path, "cannot write")(e);
    let mut sync_failed = false;
    disk.write(|| {
        if !sync_failed {
            let synced = File::open(path).and_then(|f| f.sync_all()).map_err(cannot_write);
            sync_failed = synced.is_err();
            return synced.and_then(|()| sync_folder(folder_of(path)));
        }
        write_atomic(path, &fs::read(path).map_err(cannot_write)?)
    })
}

/// Writes and syncs a file, not atomically: a crash can leave a part of it.
pub(crate) fn write_synced(path: &Path, contents: &[u8]) -> Result<(), RunError> {
    let mut file = File::create(path).map_err(RunError::io(path, "cannot create"))?;
    file.write_all(contents).map_err(RunError::io(path, "cannot write"))?;
    file.sync_all().map_err(RunError::io(path, "cannot write"))
}

/// The folder that a file is in: the current one, `.`, for a bare file name, whose parent is the empty path.
fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Syncs a folder, so that names created in it or renamed into it survive a crash of the machine.
pub(crate) fn sync_folder(folder: &Path) -> Result<(), RunError> {
    let synced = File::open(folder).and_then(|f| f.sync_all());
    synced.map_err(RunError::io(folder, "cannot sync"))
}
