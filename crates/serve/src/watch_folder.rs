//! Notices that the files of a library have changed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Names, sizes and times of the files of a library.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FolderState(BTreeMap<PathBuf, FileState>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct FileState {
    length: u64,
    modified: Option<SystemTime>,
}

impl FolderState {
    /// The files of the folders with a tool, and the folder's own `evidence.json`. What cannot be read is left out, and
    /// is noticed when it can be read again.
    pub fn read(folder: &Path) -> Self {
        let mut files = BTreeMap::new();
        add(&mut files, folder.join("evidence.json"));
        for tool in entries(folder).filter(|path| path.join("tool.yaml").exists()) {
            entries(&tool).for_each(|path| add(&mut files, path));
        }
        Self(files)
    }
}

fn entries(folder: &Path) -> impl Iterator<Item = PathBuf> {
    folder.read_dir().into_iter().flatten().flatten().map(|entry| entry.path())
}

fn add(files: &mut BTreeMap<PathBuf, FileState>, path: PathBuf) {
    if let Ok(metadata) = path.metadata() {
        files.insert(path, FileState { length: metadata.len(), modified: metadata.modified().ok() });
    }
}
