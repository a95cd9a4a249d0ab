//! Append-only JSONL files whose records have a `step`.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;

use crate::disk::Disk;
use crate::journal::{append, append_whole};
use crate::{RunError, sync_or_rewrite, write_atomic};

/// A JSONL file of records that have a `step`, open for appending.
#[derive(Debug)]
pub struct Records {
    path: PathBuf,
    file: File,
    disk: Disk,
}

impl Records {
    /// Opens or creates a file and drops its records of steps after `last_step`, and a last line that a kill cut short.
    pub fn open(path: &Path, last_step: u64, disk: Disk) -> Result<Self, RunError> {
        // Lossy: a kill can cut the last line in the middle of a UTF-8 character.
        let text = match fs::read(path) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(e) => return Err(RunError::io(path, "cannot read")(e)),
        };
        let keep = |line: &&str| {
            serde_json::from_str::<Value>(line).ok().and_then(|v| v["step"].as_u64()).is_some_and(|s| s <= last_step)
        };
        let kept: String = text.lines().filter(keep).flat_map(|l| [l, "\n"]).collect();
        if kept != text {
            disk.write(|| write_atomic(path, kept.as_bytes()))?;
        }
        Ok(Self { path: path.to_owned(), file: disk.write(|| append(path))?, disk })
    }

    /// Reads all records of the file. Fails if a line is not JSON.
    pub fn read(&self) -> Result<Vec<Value>, RunError> {
        let text = fs::read_to_string(&self.path).map_err(RunError::io(&self.path, "cannot read"))?;
        let record = |line| serde_json::from_str(line).map_err(|e| RunError::state(&self.path, e.to_string()));
        text.lines().map(record).collect()
    }

    /// Appends one record, which must serialise to an object with `step`.
    pub fn append(&mut self, record: &impl Serialize) -> Result<(), RunError> {
        let mut line = serde_json::to_vec(record).map_err(|e| RunError::state(&self.path, e.to_string()))?;
        line.push(b'\n');
        append_whole(&mut self.file, &self.path, self.disk, &line)
    }

    /// Syncs the file, so that all records appended so far survive a crash of the machine.
    pub fn sync(&self) -> Result<(), RunError> {
        sync_or_rewrite(&self.path, self.disk)
    }
}
