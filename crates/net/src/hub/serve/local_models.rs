//! The models of a folder, read from disk at each request.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use chrono::{DateTime, SecondsFormat, Utc};

use crate::hub::model::MAX_FILES;
use crate::hub::serve::model_card::{self, ModelCard};
use crate::hub::{digest, names};

/// Files of at least this many bytes are in Git LFS, as on the Hub.
const LFS_MIN_BYTES: u64 = 10 << 20;

/// Files with these extensions are in Git LFS, whatever their size.
const LFS_EXTENSIONS: &[&str] = &["safetensors", "bin", "gguf", "pt", "pth", "onnx", "h5", "msgpack"];

/// The deepest nesting of folders within a model.
const MAX_DEPTH: usize = 16;

/// A folder of models. A file is hashed when its hash is first needed, and again when its size or time has changed.
pub(crate) struct LocalModels {
    /// The folder's canonical path.
    root: PathBuf,
    hashes: Mutex<HashMap<PathBuf, FileHashes>>,
}

/// A file's hashes, and the size and time for which they hold.
#[derive(Clone)]
struct FileHashes {
    size: u64,
    modified: Option<SystemTime>,
    /// The git blob id.
    blob: String,
    lfs: Option<LfsPointer>,
}

/// The Git LFS pointer of a file.
#[derive(Clone, Debug)]
pub(crate) struct LfsPointer {
    pub sha256: String,
    /// The size in bytes of the pointer, which is the text that git stores instead of the file.
    pub pointer_size: u64,
}

/// A file of a model.
#[derive(Clone, Debug)]
pub(crate) struct LocalFile {
    /// The path in the model.
    pub name: String,
    /// The path on disk.
    pub path: PathBuf,
    /// Bytes.
    pub size: u64,
    /// The git blob id of the file or of its pointer.
    pub blob: String,
    /// `None` if the file is stored in git itself.
    pub lfs: Option<LfsPointer>,
}

impl LocalFile {
    /// The entity tag (ETag): the hash by which the Hub's client stores the file.
    pub fn etag(&self) -> &str {
        self.lfs.as_ref().map_or(&self.blob, |lfs| &lfs.sha256)
    }
}

/// A model and its files at the time of a request.
pub(crate) struct LocalModel {
    pub id: String,
    /// A SHA-1 of the files' names and hashes.
    pub commit: String,
    /// Sorted by name.
    pub files: Vec<LocalFile>,
    pub card: ModelCard,
    /// The time of the newest file (RFC 3339).
    pub modified: String,
}

impl LocalModel {
    /// The file with a path.
    pub fn file(&self, name: &str) -> Option<&LocalFile> {
        self.files.iter().find(|f| f.name == name)
    }
}

impl LocalModels {
    /// The models of a folder, which must exist.
    pub fn new(folder: &Path) -> io::Result<Self> {
        let root = folder.canonicalize()?;
        if !root.is_dir() {
            return Err(io::Error::new(io::ErrorKind::NotADirectory, format!("{} is not a folder", root.display())));
        }
        Ok(Self { root, hashes: Mutex::default() })
    }

    /// The ids of all models, sorted.
    pub fn ids(&self) -> Vec<String> {
        let folders = |path: &Path| {
            let entries = fs::read_dir(path).into_iter().flatten().flatten();
            let folders = entries.filter(|entry| entry.path().is_dir());
            folders.filter_map(|entry| entry.file_name().into_string().ok()).collect::<Vec<_>>()
        };
        let mut ids = Vec::new();
        for owner in folders(&self.root) {
            for name in folders(&self.root.join(&owner)) {
                ids.push(format!("{owner}/{name}"));
            }
        }
        ids.retain(|id| names::id(id).is_ok());
        ids.sort_unstable();
        ids
    }

    /// The model with an id; `None` if there is none.
    pub fn model(&self, id: &str) -> io::Result<Option<LocalModel>> {
        let folder = self.root.join(id);
        if names::id(id).is_err() || !id.contains('/') || !folder.is_dir() {
            return Ok(None);
        }
        let mut found = Vec::new();
        self.collect(&folder, "", MAX_DEPTH, &mut found)?;
        found.sort_unstable();
        let mut files = Vec::new();
        let mut newest = SystemTime::UNIX_EPOCH;
        for (name, path) in found {
            let FileHashes { size, modified, blob, lfs } = self.hashes_of(&path)?;
            newest = newest.max(modified.unwrap_or(newest));
            files.push(LocalFile { name, path, size, blob, lfs });
        }
        let lines: Vec<String> = files.iter().map(|f| format!("{} {}\n", f.blob, f.name)).collect();
        let readme = files.iter().find(|f| f.name == "README.md");
        let card = readme.map(|f| read_start(&f.path, model_card::MAX_BYTES)).transpose()?.unwrap_or_default();
        let modified = DateTime::<Utc>::from(newest).to_rfc3339_opts(SecondsFormat::Millis, true);
        let commit = digest::sha1(&lines.concat());
        Ok(Some(LocalModel { id: id.into(), commit, files, card: ModelCard::read(&card), modified }))
    }

    /// Collects the files of a folder and its subfolders, as paths in the model and on disk. Leaves out links to
    /// folders, links out of the root, invalid names, `.git` and `.cache`.
    fn collect(&self, folder: &Path, prefix: &str, depth: usize, found: &mut Vec<(String, PathBuf)>) -> io::Result<()> {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            let name = format!("{prefix}{name}");
            let inside = entry.path().canonicalize().ok().filter(|p| p.starts_with(&self.root));
            let Some(path) = inside.filter(|_| names::file(&name).is_ok()) else { continue };
            if path.is_file() && found.len() < MAX_FILES {
                found.push((name, path));
            } else if entry.file_type()?.is_dir() && depth > 0 && !matches!(name.as_str(), ".git" | ".cache") {
                self.collect(&path, &format!("{name}/"), depth - 1, found)?;
            }
        }
        Ok(())
    }

    /// A file's hashes, from the earlier requests if the file has not changed.
    fn hashes_of(&self, path: &Path) -> io::Result<FileHashes> {
        let metadata = fs::metadata(path)?;
        let (size, modified) = (metadata.len(), metadata.modified().ok());
        let known = self.hashes.lock().unwrap_or_else(PoisonError::into_inner).get(path).cloned();
        if let Some(known) = known.filter(|k| k.size == size && k.modified == modified) {
            return Ok(known);
        }
        let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
        let (blob, lfs) = if size >= LFS_MIN_BYTES || LFS_EXTENSIONS.contains(&extension) {
            let sha256 = digest::lfs(path)?;
            let pointer = format!("version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n");
            (digest::git_text(&pointer), Some(LfsPointer { sha256, pointer_size: pointer.len() as u64 }))
        } else {
            (digest::git(path)?, None)
        };
        let hashes = FileHashes { size, modified, blob, lfs };
        self.hashes.lock().unwrap_or_else(PoisonError::into_inner).insert(path.to_owned(), hashes.clone());
        Ok(hashes)
    }
}

/// The first `max_bytes` bytes of a text file.
fn read_start(path: &Path, max_bytes: usize) -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(path)?.take(max_bytes as u64).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
