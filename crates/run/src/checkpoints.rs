//! Checkpoints: folders that appear complete or not at all.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::atomic::{sync_folder, write_synced};
use crate::{RunError, sha256};

/// The checkpoints of a run.
#[derive(Clone, Debug)]
pub struct Checkpoints {
    folder: PathBuf,
}

/// One checkpoint, its hashes verified.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// The step after which it was taken.
    pub step: u64,
    /// Its folder.
    pub path: PathBuf,
}

const MANIFEST: &str = "sha256.json";

impl Checkpoints {
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// Whether there are any, damaged ones included.
    pub fn any(&self) -> Result<bool, RunError> {
        Ok(!self.steps()?.is_empty())
    }

    /// Writes a checkpoint, then removes all but the newest `keep` up to it, and any damaged one after it. A
    /// whole checkpoint of the same step is kept as it is.
    pub fn save(&self, step: u64, files: &[(&str, Vec<u8>)], keep: usize) -> Result<Checkpoint, RunError> {
        let path = self.folder.join(format!("step-{step:06}"));
        if verify(&path).is_ok() {
            return Ok(Checkpoint { step, path });
        }
        let temporary = self.folder.join(format!("step-{step:06}.tmp"));
        let _ = fs::remove_dir_all(&temporary);
        fs::create_dir_all(&temporary).map_err(RunError::io(&temporary, "cannot create"))?;
        let mut manifest = BTreeMap::new();
        for (name, bytes) in files {
            write_synced(&temporary.join(name), bytes)?;
            manifest.insert(*name, sha256(bytes));
        }
        let manifest = serde_json::to_vec_pretty(&manifest).map_err(|e| RunError::state(&path, e.to_string()))?;
        write_synced(&temporary.join(MANIFEST), &manifest)?;
        sync_folder(&temporary)?;
        if path.exists() {
            fs::remove_dir_all(&path).map_err(RunError::io(&path, "cannot replace"))?;
        }
        fs::rename(&temporary, &path).map_err(RunError::io(&path, "cannot rename into place"))?;
        sync_folder(&self.folder)?;
        let (kept, later): (Vec<u64>, Vec<u64>) = self.steps()?.into_iter().partition(|s| *s <= step);
        for old in kept.into_iter().rev().skip(keep.max(1)).chain(later) {
            let old = self.folder.join(format!("step-{old:06}"));
            fs::remove_dir_all(&old).map_err(RunError::io(&old, "cannot remove"))?;
        }
        Ok(Checkpoint { step, path })
    }

    /// Steps with a checkpoint, ascending.
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

    /// The newest checkpoint whose files are whole, and what was wrong with newer ones.
    pub fn newest(&self) -> Result<(Option<Checkpoint>, Vec<String>), RunError> {
        let mut damaged = Vec::new();
        for step in self.steps()?.into_iter().rev() {
            let path = self.folder.join(format!("step-{step:06}"));
            match verify(&path) {
                Ok(()) => return Ok((Some(Checkpoint { step, path }), damaged)),
                Err(why) => damaged.push(format!("{}: {why}", path.display())),
            }
        }
        Ok((None, damaged))
    }
}

fn verify(path: &Path) -> Result<(), String> {
    let read = |name: &str| fs::read(path.join(name)).map_err(|e| format!("{name}: {e}"));
    let manifest: BTreeMap<String, String> =
        serde_json::from_slice(&read(MANIFEST)?).map_err(|e| format!("{MANIFEST}: {e}"))?;
    for (name, want) in manifest {
        if sha256(&read(&name)?) != want {
            return Err(format!("{name}: its contents do not have the recorded hash"));
        }
    }
    Ok(())
}

impl Checkpoint {
    /// Reads a file of the checkpoint.
    pub fn read(&self, name: &str) -> Result<Vec<u8>, RunError> {
        let path = self.path.join(name);
        fs::read(&path).map_err(RunError::io(&path, "cannot read"))
    }
}
