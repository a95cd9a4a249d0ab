//! The journal: what entered a step and cannot be computed again, written down before it is used.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::disk::Disk;
use crate::{RunError, write_atomic};

/// An append-only file of entries, each with its step and kind; a resumed run takes them back.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
    disk: Disk,
    /// Entries of an earlier process, by step and kind, as they were written.
    entries: BTreeMap<(u64, String), Box<RawValue>>,
}

/// The kind of the entry that says before which step entries were forgotten.
const FORGOTTEN: &str = "forgotten";

impl Journal {
    /// Opens or creates the journal of a run that has `done` steps behind it. A line that a kill cut short is dropped:
    /// what it recorded was not used. Where steps after `done` were forgotten, the others belong to a history that is
    /// lost, and go.
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

    /// What was recorded for a step, if anything was.
    pub fn recall<T: DeserializeOwned>(&mut self, step: u64, kind: &str) -> Result<Option<T>, RunError> {
        let Some(value) = self.entries.remove(&(step, kind.to_owned())) else { return Ok(None) };
        let unclear = |e| RunError::state(&self.path, format!("the entry `{kind}` of step {step} is not clear: {e}"));
        serde_json::from_str(value.get()).map(Some).map_err(unclear)
    }

    /// Whether entries of earlier steps than these were forgotten.
    pub(crate) fn forgot(path: &Path) -> Result<bool, RunError> {
        let is_remark = |l: &[u8]| l.ends_with(REMARK) && step_of(l).is_some_and(|s| s > 0);
        Ok(read(path)?.split_inclusive(|b| *b == b'\n').any(is_remark))
    }

    /// Whether something of a kind was recorded for a step and not yet recalled.
    pub fn holds(&self, step: u64, kind: &str) -> bool {
        self.entries.contains_key(&(step, kind.to_owned()))
    }

    /// Whether anything was recorded for a step or a later one and not yet recalled.
    pub fn reaches(&self, step: u64) -> bool {
        self.entries.range((step, String::new())..).next().is_some()
    }

    /// Records something and makes it survive a crash of the machine.
    pub fn record(&mut self, step: u64, kind: &str, value: &impl Serialize) -> Result<(), RunError> {
        let mut line =
            serde_json::to_vec(&(step, kind, value)).map_err(|e| RunError::state(&self.path, e.to_string()))?;
        line.push(b'\n');
        append_then(&mut self.file, &self.path, self.disk, &line, File::sync_data)
    }

    /// What was recorded for a step, or what is made now and recorded before it is given.
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

    /// Forgets the entries of steps before `done`: no checkpoint needs them any more.
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

/// How the line ends that says before which step entries were forgotten.
const REMARK: &[u8] = b",\"forgotten\",null]\n";

fn remark(done: u64) -> Vec<u8> {
    [format!("[{done}").as_bytes(), REMARK].concat()
}

/// The step of a line.
fn step_of(line: &[u8]) -> Option<u64> {
    let step = line.strip_prefix(b"[")?.split(|b| *b == b',').next()?;
    std::str::from_utf8(step).ok()?.parse().ok()
}

/// Whether a journal holds anything of a step that was taken.
pub(crate) fn has_steps(path: &Path) -> Result<bool, RunError> {
    Ok(read(path)?.split(|b| *b == b'\n').any(|line| step_of(line).is_some_and(|s| s > 0)))
}

/// A journal's bytes; none where there is no journal.
fn read(path: &Path) -> Result<Vec<u8>, RunError> {
    match fs::read(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        read => read.map_err(RunError::io(path, "cannot read")),
    }
}

pub(crate) fn append(path: &Path) -> Result<File, RunError> {
    OpenOptions::new().create(true).append(true).open(path).map_err(RunError::io(path, "cannot open"))
}

/// Appends all of a line or nothing of it.
pub(crate) fn append_whole(file: &mut File, path: &Path, disk: Disk, line: &[u8]) -> Result<(), RunError> {
    append_then(file, path, disk, line, |_| Ok(()))
}

/// The same, and `then` something that is part of it: some systems notice a full disk only when they sync.
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
            // What did fit must not stand before the next try.
            let _ = file.set_len(before);
            RunError::io(path, "cannot write")(e)
        })
    })
}
