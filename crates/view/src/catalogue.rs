//! Finds runs below a folder, and gives the folder of a run by its name.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use axum::http::StatusCode;

use crate::answer::NoAnswer;
use crate::config_values::{CONFIG, read_config};

/// The version of runs that this program reads: `version` in their config.
pub const RUN_VERSION: u64 = 1;

/// How deep below the folder a run may lie.
const MAX_DEPTH: usize = 4;
/// Largest number of runs, and of folders that are looked into.
const MAX_RUNS: usize = 500;
const MAX_FOLDERS: usize = 5000;

/// The runs at or below a folder.
#[derive(Debug)]
pub struct RunCatalogue {
    root: PathBuf,
    known: Mutex<BTreeMap<String, PathBuf>>,
}

/// A run's name in the page, and its folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundRun {
    /// The path below the folder that is viewed; for the folder itself, its name.
    pub name: String,
    /// The run's folder.
    pub path: PathBuf,
}

impl RunCatalogue {
    /// The catalogue of a folder, which is a run or has runs below it. The error says what is wrong with the folder.
    pub fn open(root: &Path) -> Result<Self, String> {
        let root = root.canonicalize().map_err(|error| format!("{}: {error}", root.display()))?;
        if !root.is_dir() {
            return Err(format!("{} is a file; name the folder of a run, or a folder of runs", root.display()));
        }
        let catalogue = Self { root, known: Mutex::default() };
        let runs = catalogue.runs();
        let root = catalogue.root.display();
        match &runs[..] {
            [] => Err(format!(
                "{root} is no run and holds none; a run's folder has `{CONFIG}` and, from its first step on, `metrics.jsonl`"
            )),
            [only] if only.path == catalogue.root => match other_version(&only.path) {
                Some(why) => Err(format!("{root} {why}")),
                None => Ok(catalogue),
            },
            _ => Ok(catalogue),
        }
    }

    /// The folder that is viewed.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Looks for runs anew; they are sorted by name.
    pub fn runs(&self) -> Vec<FoundRun> {
        let mut found = Vec::new();
        if is_run(&self.root) {
            let name = self.root.file_name().map_or_else(|| "run".into(), |name| name.to_string_lossy());
            found.push(FoundRun { name: name.into_owned(), path: self.root.clone() });
        } else {
            let mut left = MAX_FOLDERS;
            look_into(&self.root, "", MAX_DEPTH, &mut left, &mut found);
        }
        found.sort_by(|a, b| a.name.cmp(&b.name));
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.extend(found.iter().map(|run| (run.name.clone(), run.path.clone())));
        found
    }

    /// The folder of a run, which exists and has a version that this program reads.
    pub fn folder(&self, name: &str) -> Result<PathBuf, NoAnswer> {
        let known = || self.known.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned();
        let folder = known().or_else(|| {
            self.runs();
            known()
        });
        let Some(folder) = folder else {
            let message = format!("{} has no run called `{name}`", self.root.display());
            return Err(NoAnswer::not_found("no_run", message));
        };
        if !folder.is_dir() {
            let message = format!("the run `{name}` was deleted while it was viewed: {} is gone", folder.display());
            return Err(NoAnswer::new(StatusCode::GONE, "run_deleted", message));
        }
        match other_version(&folder) {
            Some(why) => {
                let message = format!("the run `{name}` {why}");
                Err(NoAnswer::new(StatusCode::UNPROCESSABLE_ENTITY, "other_version", message))
            }
            None => Ok(folder),
        }
    }
}

/// Why a run cannot be read by this version, as the predicate of a sentence; `None` if it can be, or if its config cannot
/// be read, which is said where the config is shown.
pub fn other_version(run: &Path) -> Option<String> {
    let config = read_config(run).ok()?;
    let version = config.get("version")?;
    (version.as_u64() != Some(RUN_VERSION)).then(|| {
        format!("is of version {version}, and this rlar reads runs of version {RUN_VERSION}; view it with the rlar that made it")
    })
}

/// Whether a folder is that of a run.
pub fn is_run(folder: &Path) -> bool {
    let is_file = |name: &str| folder.join(name).is_file();
    is_file(CONFIG) && ["metrics.jsonl", "inputs.json", "journal.jsonl", "warmup.jsonl"].into_iter().any(is_file)
}

fn look_into(folder: &Path, name: &str, depth: usize, left: &mut usize, found: &mut Vec<FoundRun>) {
    let mut entries: Vec<PathBuf> = fs::read_dir(folder).into_iter().flatten().flatten().map(|e| e.path()).collect();
    entries.sort();
    for path in entries {
        if *left == 0 || found.len() >= MAX_RUNS {
            return;
        }
        // A link could lead round in a circle.
        let is_folder = path.symlink_metadata().is_ok_and(|metadata| metadata.is_dir());
        let own = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if !is_folder || own.starts_with('.') {
            continue;
        }
        *left -= 1;
        let name = if name.is_empty() { own } else { format!("{name}/{own}") };
        if is_run(&path) {
            found.push(FoundRun { name, path });
        } else if depth > 1 {
            look_into(&path, &name, depth - 1, left, found);
        }
    }
}
