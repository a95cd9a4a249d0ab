//! The journal of a run: inputs of a step that cannot be computed again, such as sampled replies, recorded before they
//! are used.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::disk::Disk;
use crate::{RunError, write_atomic};

/// An append-only JSONL file of entries `[step, kind, value]`, which a resumed run reads back instead of computing the
/// values anew.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
    disk: Disk,
    /// Values that an earlier process recorded and that were not recalled (taken back) yet, by step and kind.
    entries: BTreeMap<(u64, String), Box<RawValue>>,
}

/// Kind of the entry `[step, "forgotten", null]`, which says that the entries of earlier steps were removed from the
/// file.
const FORGOTTEN: &str = "forgotten";

impl Journal {
    /// Opens or creates the journal of a run that continues after `done` finished steps.
    ///
    /// A last line that a kill cut short is dropped: its value was not used yet. If entries of step `done` or of later
    /// steps have been removed already, the remaining ones cannot be replayed, and all are dropped.
    pub(crate) fn open(path: &Path, done: u64, disk: Disk) -> Result<Self, RunError> {
        let bytes = read(path)?;
        let (mut entries, mut forgotten, mut whole) = (BTreeMap::new(), 0, 0);
        for line in bytes.split_inclusive(|b| *b == b'\n') {
            let entry =
                line.ends_with(b"\n").then(|| serde_json::from_slice::<(u64, String, Box<RawValue>)>(line).ok());
            let Some((step, kind, value)) = entry.flatten() else { break };
            whole += line.len();
            if kind == FORGOTTEN {
                forgotten = step;
            } else if step >= done {
                entries.insert((step, kind), value);
            }
        }
        if forgotten > done {
            entries.clear();
            disk.write(|| write_atomic(path, &remark(done)))?;
        } else if whole < bytes.len() {
            disk.write(|| write_atomic(path, &bytes[..whole]))?;
        }
        Ok(Self { path: path.to_owned(), file: disk.write(|| append(path))?, disk, entries })
    }

    /// Takes the recorded value of a step and kind; `None` if none was recorded, or if it was recalled before.
    pub fn recall<T: DeserializeOwned>(&mut self, step: u64, kind: &str) -> Result<Option<T>, RunError> {
        let Some(value) = self.entries.remove(&(step, kind.to_owned())) else { return Ok(None) };
        let invalid = |e| RunError::state(&self.path, format!("the entry `{kind}` of step {step} cannot be read: {e}"));
        serde_json::from_str(value.get()).map(Some).map_err(invalid)
    }

    /// Whether entries of the first steps were removed from the journal at `path`.
    pub(crate) fn forgot(path: &Path) -> Result<bool, RunError> {
        let is_remark = |l: &[u8]| l.ends_with(REMARK) && step_of(l).is_some_and(|s| s > 0);
        Ok(read(path)?.split_inclusive(|b| *b == b'\n').any(is_remark))
    }

    /// Whether there is an entry of this step and kind that was not recalled yet.
    pub fn holds(&self, step: u64, kind: &str) -> bool {
        self.entries.contains_key(&(step, kind.to_owned()))
    }

    /// Whether there is an entry of this or a later step that was not recalled yet.
    pub fn reaches(&self, step: u64) -> bool {
        self.entries.range((step, String::new())..).next().is_some()
    }

    /// Appends an entry and syncs it, so that it survives a crash of the machine.
    pub fn record(&mut self, step: u64, kind: &str, value: &impl Serialize) -> Result<(), RunError> {
        let mut line =
            serde_json::to_vec(&(step, kind, value)).map_err(|e| RunError::state(&self.path, e.to_string()))?;
        line.push(b'\n');
        append_then(&mut self.file, &self.path, self.disk, &line, File::sync_data)
    }

    /// Recalls the entry of a step and kind; if there is none, calls `make` and records the value before returning it.
    pub fn once<T: Serialize + DeserializeOwned, E: From<RunError>>(
        &mut self,
        step: u64,
        kind: &str,
        make: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        if let Some(recorded) = self.recall(step, kind)? {
            return Ok(recorded);
        }
        let made = make()?;
        self.record(step, kind, &made)?;
        Ok(made)
    }

    /// Removes the entries of steps before `done`, which no checkpoint needs any more.
    pub fn forget(&mut self, done: u64) -> Result<(), RunError> {
        let bytes = fs::read(&self.path).map_err(RunError::io(&self.path, "cannot read"))?;
        let mut kept = remark(done);
        let needed = |line: &&[u8]| step_of(line).is_none_or(|s| s >= done) && !line.ends_with(REMARK);
        kept.extend(bytes.split_inclusive(|b| *b == b'\n').filter(needed).flatten());
        self.entries.retain(|(step, _), _| *step >= done);
        if kept != bytes {
            self.disk.write(|| write_atomic(&self.path, &kept))?;
            self.file = append(&self.path)?;
        }
        Ok(())
    }
}

/// How the line of a [`FORGOTTEN`] entry ends, after the step.
const REMARK: &[u8] = b",\"forgotten\",null]\n";

/// The line that says that the entries of steps before `done` were removed.
fn remark(done: u64) -> Vec<u8> {
    [format!("[{done}").as_bytes(), REMARK].concat()
}

/// The step of a line of a journal; `None` if the line does not start like an entry.
fn step_of(line: &[u8]) -> Option<u64> {
    let step = line.strip_prefix(b"[")?.split(|b| *b == b',').next()?;
    std::str::from_utf8(step).ok()?.parse().ok()
}

/// Whether the journal at `path` has an entry of step 1 or later.
pub(crate) fn has_steps(path: &Path) -> Result<bool, RunError> {
    Ok(read(path)?.split(|b| *b == b'\n').any(|line| step_of(line).is_some_and(|s| s > 0)))
}

/// Reads a file's bytes; empty if there is no file.
fn read(path: &Path) -> Result<Vec<u8>, RunError> {
    match fs::read(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        read => read.map_err(RunError::io(path, "cannot read")),
    }
}

/// Opens or creates a file for appending.
pub(crate) fn append(path: &Path) -> Result<File, RunError> {
    OpenOptions::new().create(true).append(true).open(path).map_err(RunError::io(path, "cannot open"))
}

/// Appends bytes completely or not at all.
pub(crate) fn append_whole(file: &mut File, path: &Path, disk: Disk, line: &[u8]) -> Result<(), RunError> {
    append_then(file, path, disk, line, |_| Ok(()))
}

/// Appends bytes and calls `then`, such as a sync; if either fails, the file is cut back to its old length. Some
/// systems report a full disk only when they sync.
fn append_then(
    file: &mut File,
    path: &Path,
    disk: Disk,
    line: &[u8],
    then: fn(&File) -> io::Result<()>,
) -> Result<(), RunError> {
    let before = file.metadata().map_err(RunError::io(path, "cannot write"))?.len();
    disk.write(|| {
        file.write_all(line).and_then(|()| then(file)).map_err(|e| {
            // The part that did fit must not precede the next attempt.
            let _ = file.set_len(before);
            RunError::io(path, "cannot write")(e)
        })
    })
}
