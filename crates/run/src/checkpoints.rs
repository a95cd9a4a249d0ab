//! Checkpoints: folders that appear complete or not at all.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::atomic::{sync_folder, write_synced};
use crate::{Disk, RunError, sha256};

/// The checkpoints of a run: one folder `step-NNNNNN` each.
#[derive(Clone, Debug)]
pub struct Checkpoints {
    folder: PathBuf,
    disk: Disk,
}

/// One checkpoint whose files match their recorded hashes.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// Number of steps that were finished when the checkpoint was taken.
    pub step: u64,
    /// Folder of the checkpoint.
    pub path: PathBuf,
}

/// Files of a checkpoint: names, relative to the checkpoint's folder, and contents.
pub type Files = Vec<(String, Vec<u8>)>;

/// Name of the file in a checkpoint that holds the SHA-256 of every other file, by name.
const MANIFEST: &str = "sha256.json";

impl Checkpoints {
    pub(crate) fn new(folder: PathBuf, disk: Disk) -> Self {
        Self { folder, disk }
    }

    /// Whether the run has a checkpoint, damaged ones included.
    pub fn any(&self) -> Result<bool, RunError> {
        Ok(!self.steps()?.is_empty())
    }

    /// Writes the checkpoint of step `step`. Each function in `parts` makes some of its files, and is called only when
    /// the files of the part before are written, so that one part at a time is in memory; a file's name may contain a
    /// folder. An intact checkpoint of the same step is kept as it is. Checkpoints of later steps are removed, because
    /// the run has gone back to an earlier step.
    pub fn save<E: From<RunError>>(&self, step: u64, parts: &[&dyn Fn() -> Result<Files, E>]) -> Result<Checkpoint, E> {
        let path = self.path(step);
        if verify(&path).is_err() {
            self.sweep();
            let temporary = temporary(&path);
            if let Err(e) = self.write(&temporary, parts) {
                self.sweep();
                return Err(e);
            }
            if path.exists() {
                fs::remove_dir_all(&path).map_err(RunError::io(&path, "cannot replace"))?;
            }
            self.disk
                .write(|| fs::rename(&temporary, &path).map_err(RunError::io(&path, "cannot rename into place")))?;
            self.disk.write(|| sync_folder(&self.folder))?;
        }
        for later in self.steps()?.into_iter().filter(|s| *s > step) {
            self.remove(later)?;
        }
        Ok(Checkpoint { step, path })
    }

    /// Writes the files of all parts into `folder`, hashing each while it is written, and then the manifest, which
    /// lists the hashes.
    fn write<E: From<RunError>>(&self, folder: &Path, parts: &[&dyn Fn() -> Result<Files, E>]) -> Result<(), E> {
        let mut manifest = BTreeMap::new();
        for part in parts {
            for (name, bytes) in part()? {
                let (written, hash) = std::thread::scope(|scope| {
                    let hash = scope.spawn(|| sha256(&bytes));
                    let written = self.disk.write(|| write(&folder.join(&name), &bytes));
                    (written, hash.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
                });
                written?;
                manifest.insert(name, hash);
            }
        }
        let manifest = serde_json::to_vec_pretty(&manifest).map_err(|e| RunError::state(folder, e.to_string()))?;
        Ok(self.disk.write(|| write(&folder.join(MANIFEST), &manifest))?)
    }

    /// Removes the temporary folders that killed processes left while they wrote or removed a checkpoint.
    fn sweep(&self) {
        for entry in fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            let path = entry.path();
            let is_temporary = path.extension().is_some_and(|e| e == "tmp");
            if is_temporary && entry.file_name().to_str().is_some_and(|n| n.starts_with("step-")) {
                let _ = fs::remove_dir_all(path);
            }
        }
    }

    /// Removes all checkpoints except the newest `last` (at least one) and those of the steps in `best`. Returns the
    /// oldest step among the newest `last` checkpoints; `None` while there are fewer than `last`.
    pub fn keep(&self, last: usize, best: &[u64]) -> Result<Option<u64>, RunError> {
        let steps = self.steps()?;
        let (old, newest) = steps.split_at(steps.len().saturating_sub(last.max(1)));
        old.iter().filter(|s| !best.contains(s)).try_for_each(|s| self.remove(*s))?;
        Ok(newest.first().copied().filter(|_| newest.len() >= last))
    }

    /// The folder of a step's checkpoint, whether or not it exists.
    pub fn path(&self, step: u64) -> PathBuf {
        self.folder.join(format!("step-{step:06}"))
    }

    fn remove(&self, step: u64) -> Result<(), RunError> {
        // Renamed first: a kill during the removal must not leave a checkpoint that looks damaged.
        let (path, doomed) = (self.path(step), temporary(&self.path(step)));
        let _ = fs::remove_dir_all(&doomed);
        fs::rename(&path, &doomed).map_err(RunError::io(&path, "cannot remove"))?;
        fs::remove_dir_all(&doomed).map_err(RunError::io(&doomed, "cannot remove"))
    }

    /// The steps that have a checkpoint, damaged ones included, ascending.
    fn steps(&self) -> Result<Vec<u64>, RunError> {
        let entries = match fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(RunError::io(&self.folder, "cannot read")(e)),
        };
        let step = |e: fs::DirEntry| e.file_name().to_str()?.strip_prefix("step-")?.parse().ok();
        let mut steps: Vec<u64> = entries.filter_map(Result::ok).filter_map(step).collect();
        steps.sort_unstable();
        Ok(steps)
    }

    /// The newest intact checkpoint, `None` if there is none, and a description of each newer one that is damaged.
    pub fn newest(&self) -> Result<(Option<Checkpoint>, Vec<String>), RunError> {
        let mut damaged = Vec::new();
        for step in self.steps()?.into_iter().rev() {
            let path = self.path(step);
            match verify(&path) {
                Ok(()) => return Ok((Some(Checkpoint { step, path }), damaged)),
                Err(why) => damaged.push(format!("{}: {why}", path.display())),
            }
        }
        Ok((None, damaged))
    }
}

/// Writes a file and syncs it and its folder, which is created if it is missing.
fn write(file: &Path, bytes: &[u8]) -> Result<(), RunError> {
    let folder = file.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(RunError::io(folder, "cannot create"))?;
    write_synced(file, bytes)?;
    sync_folder(folder)
}

/// The path of a checkpoint's folder while it is written or removed: `path` with the extension `.tmp`.
fn temporary(path: &Path) -> PathBuf {
    path.with_extension("tmp")
}

/// Compares the files of the checkpoint in the folder `path` with the hashes in its manifest; the error says which file
/// is missing or differs.
fn verify(path: &Path) -> Result<(), String> {
    let read = |name: &str| fs::read(path.join(name)).map_err(|e| format!("{name}: {e}"));
    let manifest: BTreeMap<String, String> =
        serde_json::from_slice(&read(MANIFEST)?).map_err(|e| format!("{MANIFEST}: {e}"))?;
    for (name, recorded) in manifest {
        if sha256(&read(&name)?) != recorded {
            return Err(format!("{name}: its contents do not have the recorded hash"));
        }
    }
    Ok(())
}

impl Checkpoint {
    /// Reads a file of the checkpoint; `name` is relative to the checkpoint's folder.
    pub fn read(&self, name: &str) -> Result<Vec<u8>, RunError> {
        let path = self.path.join(name);
        fs::read(&path).map_err(RunError::io(&path, "cannot read"))
    }
}
