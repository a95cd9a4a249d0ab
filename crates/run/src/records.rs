//! Append-only JSONL files whose records carry a `step`.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;

use crate::disk::Disk;
use crate::journal::{append, append_whole};
use crate::{RunError, sync_or_rewrite, write_atomic};

/// An open JSONL file.
#[derive(Debug)]
pub struct Records {
    path: PathBuf,
    file: File,
    disk: Disk,
}

impl Records {
    /// Opens or creates a file and drops every record after `last_step`, and a line that a kill cut short.
    pub fn open(path: &Path, last_step: u64, disk: Disk) -> Result<Self, RunError> {
        // A line that a kill cut in the middle of a character is no reason to refuse the rest.
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

    /// The records that the file holds.
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

    /// Makes everything appended so far survive a crash of the machine.
    pub fn sync(&self) -> Result<(), RunError> {
        sync_or_rewrite(&self.path, self.disk)
    }
}
