//! Whole files or nothing.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use crate::{Disk, RunError};

/// Writes a file so that a reader or a crash sees the old contents or the new, never a part: temporary
/// name, sync, rename, sync of the folder.
pub fn write_atomic(path: &Path, contents: &[u8]) -> Result<(), RunError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".tmp");
    let temporary = path.with_file_name(name);
    write_synced(&temporary, contents)?;
    fs::rename(&temporary, path).map_err(RunError::io(path, "cannot rename into place"))?;
    sync_folder(path.parent().unwrap_or(Path::new(".")))
}

/// Makes a file survive a crash of the machine. After a sync that failed for want of room, the system takes what was not
/// written for written: the file is written anew then.
pub fn sync_or_rewrite(path: &Path, disk: Disk) -> Result<(), RunError> {
    let io = |e| RunError::io(path, "cannot write")(e);
    let mut failed = false;
    disk.write(|| {
        if !failed {
            let synced = File::open(path).and_then(|f| f.sync_all()).map_err(io);
            failed = synced.is_err();
            return synced.and_then(|()| sync_folder(path.parent().unwrap_or(Path::new("."))));
        }
        write_atomic(path, &fs::read(path).map_err(io)?)
    })
}

pub(crate) fn write_synced(path: &Path, contents: &[u8]) -> Result<(), RunError> {
    let mut file = File::create(path).map_err(RunError::io(path, "cannot create"))?;
    file.write_all(contents).map_err(RunError::io(path, "cannot write"))?;
    file.sync_all().map_err(RunError::io(path, "cannot write"))
}

pub(crate) fn sync_folder(folder: &Path) -> Result<(), RunError> {
    let synced = File::open(folder).and_then(|f| f.sync_all());
    synced.map_err(RunError::io(folder, "cannot sync"))
}
