//! Reads the file of a reward function, with the modules beside it that it imports.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use regex::Regex;
use rlar_sandbox::FunctionSource;
use serde_json::Map;

use crate::RewardError;

/// Largest number of files that a function may consist of.
const MAX_FILES: usize = 200;
/// Largest total size, in bytes, of the files that a function may consist of.
const MAX_BYTES: usize = 4 << 20;

/// Reads the file at `path` and the modules and packages in its folder that `import` statements name, directly or in
/// other such modules. A module that is imported in another way, such as with `importlib`, is not found.
pub fn read_source(path: &Path, function: &str) -> Result<FunctionSource, RewardError> {
    let folder = path.parent().unwrap_or(Path::new("")).to_owned();
    let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut files = BTreeMap::new();
    let mut waiting = vec![PathBuf::from(&file)];
    let statement = Regex::new(r"(?m)^[ \t]*(?:from[ \t]+(\w+)|import[ \t]+([^#\n;]+))");
    let statement = statement.map_err(|e| RewardError::tool(function, e.to_string()))?;
    let mut bytes = 0;
    while let Some(name) = waiting.pop() {
        let key = name.to_string_lossy().replace('\\', "/");
        if files.contains_key(&key) {
            continue;
        }
        let path = folder.join(&name);
        let text = fs::read_to_string(&path).map_err(RewardError::io(&path))?;
        bytes += text.len();
        for found in statement.captures_iter(&text) {
            let list = found.get(1).or(found.get(2)).map_or("", |m| m.as_str());
            for import in list.split(',') {
                let module = import.trim().split(['.', ' ', '\t']).next().unwrap_or_default();
                waiting.extend(module_files(&folder, module));
            }
        }
        files.insert(key, text);
        if files.len() > MAX_FILES || bytes > MAX_BYTES {
            let message = format!(
                "it and the modules beside it that it imports are more than {MAX_FILES} files or {} MiB; put the function \
                 into a folder with less",
                MAX_BYTES >> 20
            );
            return Err(RewardError::tool(function, format!("{}: {message}", path.display())));
        }
    }
    Ok(FunctionSource { function: function.to_owned(), file, files, folder, kwargs: Map::new() })
}

/// The files of a module in `folder`, relative to it: `NAME.py`, or all Python files of the package `NAME`. Empty if the
/// module is not there.
fn module_files(folder: &Path, module: &str) -> Vec<PathBuf> {
    if module.is_empty() {
        return Vec::new();
    }
    if folder.join(module).join("__init__.py").is_file() {
        return python_files(folder, Path::new(module));
    }
    let file = PathBuf::from(format!("{module}.py"));
    if folder.join(&file).is_file() { vec![file] } else { Vec::new() }
}

/// The Python files in a subfolder of `folder` and in the folders below, relative to `folder`. Links are not followed.
fn python_files(folder: &Path, inner: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder.join(inner)).into_iter().flatten().flatten() {
        let path = inner.join(entry.file_name());
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if is_folder {
            found.extend(python_files(folder, &path));
        } else if path.extension().is_some_and(|extension| extension == "py") {
            found.push(path);
        }
    }
    found
}
