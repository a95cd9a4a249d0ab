//! The places in which files that a config or a suite names are looked for. The rule is the same for all of them;
//! `docs/reference/config.md` tells it to users.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use rlar_data::{DataFile, closest, expand_home};

use crate::{assets, data};

/// The folders from which a relative path in the file `named_by` (a config or a suite) is looked for: the working
/// folder, the folder of `named_by`, and the folder above that.
pub fn folders(named_by: &Path) -> [PathBuf; 3] {
    let folder = named_by.parent().unwrap_or(Path::new(""));
    [PathBuf::new(), folder.to_owned(), folder.join("..")]
}

/// Finds the file or folder `name` that is named in the file `named_by`, such as a config; `None` if it does not exist.
pub fn beside(named_by: &Path, name: &str) -> Option<PathBuf> {
    folders(named_by).into_iter().map(|folder| folder.join(name)).find(|path| path.exists())
}

/// The message that the file or folder `name`, which is named in the file `named_by`, does not exist. It says what is
/// `expected` there, and which existing file has a similar name.
pub fn missing(named_by: &Path, name: &str, expected: &str) -> String {
    let hint = similar(named_by, name, &[]);
    format!(
        "{name} does not exist: neither as given, nor beside the config, nor one folder up; expected: {expected}{hint}"
    )
}

/// A hint such as ``; did you mean `x`?`` at the name most similar to `name`; empty if none is similar. Candidates are
/// the files in the folders where `name` is looked for, and the names in `more`. File name extensions are not compared,
/// because files of one kind share them.
fn similar(named_by: &Path, name: &str, more: &[String]) -> String {
    let name = Path::new(name);
    let parent = name.parent().unwrap_or(Path::new(""));
    let mut known = more.to_vec();
    for folder in folders(named_by) {
        // An empty path is no folder that can be read.
        let entries = Path::new(".").join(folder).join(parent).read_dir().into_iter().flatten().flatten();
        known.extend(entries.map(|entry| parent.join(entry.file_name()).to_string_lossy().into_owned()));
    }
    let stem = |path: &Path| path.with_extension("").to_string_lossy().into_owned();
    let stems: Vec<String> = known.iter().map(|known| stem(Path::new(known))).collect();
    let found = closest(&stem(name), stems.iter().map(String::as_str));
    let found = found.and_then(|found| known.iter().zip(&stems).find(|(_, stem)| *stem == found));
    found.map_or_else(String::new, |(known, _)| format!("; did you mean `{known}`?"))
}

/// The data files that a name in the file `named_by` stands for: a path, `hub:OWNER/NAME@REVISION/PATH` (downloaded if
/// it is not there yet), a pattern such as `data/*.parquet` (its matches in alphabetical order), a file in the folder
/// of downloaded data, or one that is embedded in the binary. Fails if there is no such file; the error lists the
/// places that were searched.
pub fn data_files(named_by: &Path, name: &str) -> Result<Vec<DataFile>> {
    let name = &expand_home(name).map_err(|why| anyhow!(why))?;
    let read = |path: PathBuf| {
        let bytes = std::fs::read(&path).with_context(|| path.display().to_string())?;
        Ok(DataFile { path, bytes })
    };
    if let Some(path) = beside(named_by, name) {
        return Ok(vec![read(path)?]);
    }
    if name.starts_with("hub:") {
        return Ok(vec![read(data::fetch_hub_file(name)?)?]);
    }
    let matches = matches_beside(named_by, name)?;
    if !matches.is_empty() {
        return matches.into_iter().map(read).collect();
    }
    if let Some(path) = data::downloaded(name) {
        return Ok(vec![read(path)?]);
    }
    if let Some(asset) = assets::embedded(name) {
        return Ok(vec![DataFile { path: asset.path, bytes: asset.text.into_owned().into_bytes() }]);
    }
    let what_to_do = match data::set_of(name)? {
        Some(set) => format!("; download it with `rlar data fetch {set}`"),
        None => similar(named_by, name, &assets::embedded_names()),
    };
    let folder = data::home().map_or_else(|_| "RLAR_DATA".into(), |home| home.display().to_string());
    bail!(
        "{name} is neither on disk (as given, beside the file that names it, one folder up, in {folder}) nor \
         embedded{what_to_do}"
    )
}

/// The files that match a pattern such as `data/*.parquet`, which is named in the file `named_by`. Only the first
/// folder that has matches counts. Empty if nothing matches or the name is not a pattern.
fn matches_beside(named_by: &Path, pattern: &str) -> Result<Vec<PathBuf>> {
    if !pattern.contains(['*', '?', '[']) {
        return Ok(Vec::new());
    }
    for folder in folders(named_by) {
        let full = glob::Pattern::escape(&folder.to_string_lossy());
        let full = if full.is_empty() { pattern.to_owned() } else { format!("{full}/{pattern}") };
        let found = glob::glob(&full).with_context(|| format!("pattern {pattern}"))?;
        let found: Vec<PathBuf> = found.filter_map(Result::ok).filter(|path| path.is_file()).collect();
        if !found.is_empty() {
            return Ok(found);
        }
    }
    Ok(Vec::new())
}
