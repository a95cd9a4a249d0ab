//! The folder of a run and its lock.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use crate::journal::has_steps;
use crate::{Checkpoints, Disk, Events, Journal, Records, RunError, write_atomic};

/// The name of the journal's file in a run's folder.
pub const JOURNAL: &str = "journal.jsonl";

/// A run's folder, locked for as long as this value lives.
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    disk: Disk,
    _lock: File,
}

impl RunFolder {
    /// Creates and locks a folder for a new run, or, with `resume`, locks the folder of an earlier run.
    ///
    /// Without `resume`, a folder with a checkpoint or a finished step is refused; the remains of a run that ended
    /// before its first step are no obstacle. Fails with [`RunError::Locked`] while another process uses the folder.
    pub fn open(path: &Path, resume: bool, disk: Disk) -> Result<Self, RunError> {
        if resume && !path.join("config.yaml").exists() {
            return Err(RunError::state(path, "holds no run to resume; start one without `--resume`"));
        }
        fs::create_dir_all(path).map_err(RunError::io(path, "cannot create the run folder"))?;
        let lock_path = path.join("lock");
        let lock = File::create(&lock_path).map_err(RunError::io(&lock_path, "cannot create"))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(RunError::Locked { path: path.to_owned() }),
            Err(TryLockError::Error(e)) => return Err(RunError::io(&lock_path, "cannot lock")(e)),
        }
        if !resume && (Checkpoints::new(path.join("checkpoints"), disk).any()? || has_steps(&path.join(JOURNAL))?) {
            let message = "holds an earlier run; continue it with `--resume`, or choose another `run.folder`";
            return Err(RunError::state(path, message));
        }
        Ok(Self { path: path.to_owned(), disk, _lock: lock })
    }

    /// The folder's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a file of the folder atomically; `name` is relative to the folder.
    pub fn write(&self, name: &str, contents: &[u8]) -> Result<(), RunError> {
        self.disk.write(|| write_atomic(&self.path.join(name), contents))
    }

    /// Writes files into the subfolder `name`, each atomically.
    pub fn write_folder<N: AsRef<str>, C: AsRef<[u8]>>(&self, name: &str, files: &[(N, C)]) -> Result<(), RunError> {
        let folder = self.path.join(name);
        self.disk.write(|| {
            fs::create_dir_all(&folder).map_err(RunError::io(&folder, "cannot create"))?;
            files.iter().try_for_each(|(file, contents)| {
                let path = folder.join(file.as_ref());
                let inner = path.parent().unwrap_or(&folder);
                fs::create_dir_all(inner).map_err(RunError::io(inner, "cannot create"))?;
                write_atomic(&path, contents.as_ref())
            })
        })
    }

    /// Reads a file of the folder; `name` is relative to the folder.
    pub fn read(&self, name: &str) -> Result<Vec<u8>, RunError> {
        let path = self.path.join(name);
        fs::read(&path).map_err(RunError::io(&path, "cannot read"))
    }

    /// Opens an append-only JSONL file of the folder and drops its records of steps after `last_step`.
    pub fn records(&self, name: &str, last_step: u64) -> Result<Records, RunError> {
        Records::open(&self.path.join(name), last_step, self.disk)
    }

    /// Whether the folder has a file or subfolder of this name.
    pub fn has(&self, name: &str) -> bool {
        self.path.join(name).exists()
    }

    /// Removes files and subfolders that an earlier run left behind; names that do not exist are ignored.
    pub fn clear(&self, names: &[&str]) -> Result<(), RunError> {
        for name in names {
            let path = self.path.join(name);
            let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            match removed {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                    return Err(RunError::io(&path, "cannot remove")(e));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Whether the run can only be resumed from a checkpoint, because the journal no longer has the entries of its
    /// first steps.
    pub fn needs_checkpoint(&self) -> Result<bool, RunError> {
        Journal::forgot(&self.path.join(JOURNAL))
    }

    /// Opens the journal of a run that continues after `done` finished steps.
    pub fn journal(&self, done: u64) -> Result<Journal, RunError> {
        Journal::open(&self.path.join(JOURNAL), done, self.disk)
    }

    /// Creates an event file for TensorBoard, replacing an existing one; `time` is in seconds since 1970.
    pub fn events(&self, time: f64) -> Result<Events, RunError> {
        let folder = self.path.join("tensorboard");
        self.disk.write(|| fs::create_dir_all(&folder).map_err(RunError::io(&folder, "cannot create")))?;
        Events::create(&folder.join("events.out.tfevents.rlar"), time, self.disk)
    }

    /// The checkpoints of the folder.
    pub fn checkpoints(&self) -> Checkpoints {
        Checkpoints::new(self.path.join("checkpoints"), self.disk)
    }
}
