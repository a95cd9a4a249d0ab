//! Finds what `rlar eval --out` wrote below the folder that is viewed: results of suites, and of tools on benchmarks of
//! rewards.

use std::fs;
use std::path::{Path, PathBuf};

use crate::answer::NoAnswer;
use crate::catalogue::{FoundRun, RunCatalogue, is_run};

/// How deep below the folder that is viewed results may lie.
const MAX_DEPTH: usize = 6;
/// Largest number of results, and of folders that are looked into.
const MAX_RESULTS: usize = 200;
const MAX_FOLDERS: usize = 5000;
/// Folders of a run that hold no results, and may hold thousands of others.
const OTHERS: [&str; 8] =
    ["rollouts", "checkpoints", "library", "tensorboard", "final", "start", "adapter", "evolution"];

/// A folder with results.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EvalFolder {
    /// The path below the folder that is viewed.
    pub name: String,
    /// The folder.
    pub path: PathBuf,
}

/// The folders below the one that is viewed, sorted by name.
#[derive(Debug, Default)]
pub struct EvalFolders {
    /// Those with the `results.json` of a suite.
    pub suites: Vec<EvalFolder>,
    /// Those with the `eval-set-scores/` of a benchmark of rewards.
    pub benchmarks: Vec<EvalFolder>,
}

impl EvalFolders {
    /// Looks for results below a folder.
    pub fn below(root: &Path) -> Self {
        let mut found = Self::default();
        found.look_into(root, "", MAX_DEPTH, &mut { MAX_FOLDERS });
        found
    }

    fn look_into(&mut self, folder: &Path, name: &str, depth: usize, left: &mut usize) {
        let here = || {
            let own = folder.file_name().map(|own| own.to_string_lossy().into_owned()).unwrap_or_default();
            EvalFolder { name: if name.is_empty() { own } else { name.to_owned() }, path: folder.to_owned() }
        };
        if folder.join("results.json").is_file() {
            self.suites.push(here());
        }
        if folder.join(SCORES).is_dir() {
            self.benchmarks.push(here());
        }
        let mut entries: Vec<PathBuf> =
            fs::read_dir(folder).into_iter().flatten().flatten().map(|e| e.path()).collect();
        entries.sort();
        let is_run = is_run(folder);
        for path in entries {
            if *left == 0 || depth == 0 || self.suites.len() + self.benchmarks.len() >= MAX_RESULTS {
                return;
            }
            // A link could lead round in a circle.
            let is_folder = path.symlink_metadata().is_ok_and(|metadata| metadata.is_dir());
            let own = path.file_name().map(|own| own.to_string_lossy().into_owned()).unwrap_or_default();
            if !is_folder || own.starts_with('.') || (is_run && OTHERS.contains(&own.as_str())) {
                continue;
            }
            *left -= 1;
            let name = if name.is_empty() { own } else { format!("{name}/{own}") };
            self.look_into(&path, &name, depth - 1, left);
        }
    }
}

/// The folder with a file of scores per tool.
pub const SCORES: &str = "eval-set-scores";

/// The folder of the results of a suite.
pub fn suite_folder(catalogue: &RunCatalogue, name: &str) -> Result<PathBuf, NoAnswer> {
    by_name(EvalFolders::below(catalogue.root()).suites, name)
}

/// The folder of the results on a benchmark of rewards.
pub fn benchmark_folder(catalogue: &RunCatalogue, name: &str) -> Result<PathBuf, NoAnswer> {
    by_name(EvalFolders::below(catalogue.root()).benchmarks, name)
}

/// Only folders that were found have a name, so none can lead out of the folder that is viewed.
fn by_name(folders: Vec<EvalFolder>, name: &str) -> Result<PathBuf, NoAnswer> {
    let found = folders.into_iter().find(|folder| folder.name == name);
    let missing = || NoAnswer::not_found("no_result", format!("there are no results called `{name}`"));
    found.map(|folder| folder.path).ok_or_else(missing)
}

/// The run that results belong to: the one whose folder they lie in, else the one whose model made them. `engine` is the
/// path of that model as it was given to `rlar eval`, such as `runs/one/final`. `None` if none or several could be meant.
pub fn run_of<'r>(folder: &Path, engine: &str, runs: &'r [FoundRun]) -> Option<&'r str> {
    let parts = |path: &Path| path.components().count();
    let inside = runs.iter().filter(|run| folder.starts_with(&run.path)).max_by_key(|run| parts(&run.path));
    let engine = engine.strip_prefix("./").unwrap_or(engine);
    let ancestors = || Path::new(engine).ancestors().filter(|path| parts(path) > 0);
    // How many parts of the engine's path name the run's folder, from its end.
    let named = |run: &&FoundRun| ancestors().filter(|path| run.path.ends_with(path)).map(parts).max();
    let most = runs.iter().filter_map(|run| named(&run)).max();
    let mut makers = runs.iter().filter(|run| most.is_some() && named(run) == most);
    let maker = makers.next().filter(|_| makers.next().is_none());
    inside.or(maker).map(|run| run.name.as_str())
}
