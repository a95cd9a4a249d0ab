//! Configs, suites and data files: on disk, or embedded in the binary.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use include_dir::{Dir, include_dir};
use rlar_data::nearest;
use rlar_rewards::RewardError;

use crate::find;

static CONFIGS: Dir = include_dir!("$CARGO_MANIFEST_DIR/../../configs");
static DATASETS: Dir = include_dir!("$CARGO_MANIFEST_DIR/../../datasets");

/// A text file, read from disk or embedded in the binary.
pub struct Asset {
    /// Path of the file, or `embedded/…`. Messages show it, and files that the text names are looked for beside it.
    pub path: PathBuf,
    /// Contents of the file.
    pub text: Cow<'static, str>,
}

/// Reads a file on disk.
pub fn read(path: &Path) -> Result<Asset> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    Ok(Asset { path: path.to_owned(), text: text.into() })
}

/// Finds a config: at the given path, then under `configs/`, then among those embedded in the binary.
pub fn config(name: &Path) -> Result<Asset> {
    for path in [name.to_owned(), Path::new("configs").join(name)] {
        if path.is_file() {
            return read(&path);
        }
    }
    let inside = name.strip_prefix("configs").unwrap_or(name);
    if let Some(text) = CONFIGS.get_file(inside).and_then(|f| f.contents_utf8()) {
        return Ok(Asset { path: Path::new("embedded/configs").join(inside), text: text.into() });
    }
    let known: Vec<String> = CONFIGS.files().map(|f| f.path().display().to_string()).collect();
    let hint = nearest(&inside.to_string_lossy(), known.iter().map(String::as_str));
    bail!(
        "config {} is neither a file nor under configs/ nor embedded; embedded: {}{hint}",
        name.display(),
        known.join(", ")
    )
}

/// Finds a suite: at the given path, then as `NAME.yaml` under `configs/suites/`, then among those embedded in the
/// binary.
pub fn suite(name: &str) -> Result<Asset> {
    let file = format!("suites/{name}.yaml");
    for path in [PathBuf::from(name), Path::new("configs").join(&file)] {
        if path.is_file() {
            return read(&path);
        }
    }
    if let Some(text) = CONFIGS.get_file(&file).and_then(|f| f.contents_utf8()) {
        return Ok(Asset { path: Path::new("embedded/configs").join(&file), text: text.into() });
    }
    let stem = |f: &include_dir::File| Some(f.path().file_stem()?.to_string_lossy().into_owned());
    let known: Vec<String> = CONFIGS.get_dir("suites").into_iter().flat_map(Dir::files).filter_map(stem).collect();
    let hint = nearest(name, known.iter().map(String::as_str));
    bail!("suite {name} is neither a file nor under configs/suites/ nor embedded; embedded: {}{hint}", known.join(", "))
}

/// Finds a suite that a config names: at the given path, beside the config or one folder up, then as [`suite`] does.
pub fn suite_beside(config: &Path, name: &str) -> Result<Asset> {
    match find::beside(config, name).filter(|p| p.is_file()) {
        Some(path) => read(&path),
        None => suite(name),
    }
}

/// The list of published data sets that is embedded in the binary.
pub fn origins() -> Asset {
    let text = DATASETS.get_file("origins.yaml").and_then(|f| f.contents_utf8()).unwrap_or_default();
    Asset { path: "embedded/datasets/origins.yaml".into(), text: text.into() }
}

/// A data file that is embedded in the binary; `None` if it does not exist.
pub fn embedded(name: &str) -> Option<Asset> {
    let inside = name.strip_prefix("datasets/").unwrap_or(name);
    let text = DATASETS.get_file(inside).and_then(|f| f.contents_utf8())?;
    Some(Asset { path: Path::new("embedded/datasets").join(inside), text: text.into() })
}

/// The names of all data files that are embedded in the binary.
pub fn embedded_names() -> Vec<String> {
    fn names(folder: &Dir) -> Vec<String> {
        let files = folder.files().map(|file| format!("datasets/{}", file.path().display()));
        files.chain(folder.dirs().flat_map(names)).collect()
    }
    names(&DATASETS)
}

/// Finds a file of recorded exchanges with a language model that a config names: on disk, then among the embedded
/// configs.
pub fn exchanges(config: &Path, name: &str) -> Result<Asset, RewardError> {
    let path = find::beside(config, name).unwrap_or_else(|| name.into());
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(Asset { path, text: text.into() }),
        Err(source) => {
            let inside = name.strip_prefix("configs/").unwrap_or(name);
            let text = CONFIGS.get_file(inside).and_then(|f| f.contents_utf8());
            let text = text.ok_or(RewardError::Io { path, source })?;
            Ok(Asset { path: Path::new("embedded/configs").join(inside), text: text.into() })
        }
    }
}
