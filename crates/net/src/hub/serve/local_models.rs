//! The models in a folder on disk, which is read at each request.

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

/// Files of at least this many bytes are served as files in Git LFS, as on the Hub.
const LFS_MIN_BYTES: u64 = 10 << 20;

/// Files with these extensions are served as files in Git LFS, whatever their size.
const LFS_EXTENSIONS: &[&str] = &["safetensors", "bin", "gguf", "pt", "pth", "onnx", "h5", "msgpack"];

/// Maximum depth of folders within a model; files in deeper folders are left out.
const MAX_DEPTH: usize = 16;

/// A folder of models. A file is hashed when its hash is needed for the first time, and again when its size or
/// modification time has changed.
pub(crate) struct LocalModels {
    /// The absolute path of the folder, without symbolic links.
    root: PathBuf,
    hashes: Mutex<HashMap<PathBuf, FileHashes>>,
}

/// The hashes of a file. They are valid while its size and modification time stay the same.
#[derive(Clone)]
struct FileHashes {
    size: u64,
    modified: Option<SystemTime>,
    /// The git blob id of the file, or of its pointer if the file is in Git LFS.
    blob: String,
    lfs: Option<LfsPointer>,
}

/// The contents of the pointer that git stores instead of a file in Git LFS.
#[derive(Clone, Debug)]
pub(crate) struct LfsPointer {
    pub sha256: String,
    /// The size of the pointer's text, in bytes.
    pub pointer_size: u64,
}

/// A file of a model in the served folder.
#[derive(Clone, Debug)]
pub(crate) struct LocalFile {
    /// The file's path in the model.
    pub name: String,
    /// The file's path on disk.
    pub path: PathBuf,
    /// The size of the file, in bytes.
    pub size: u64,
    /// The git blob id of the file, or of its pointer if the file is in Git LFS.
    pub blob: String,
    /// The pointer of a file in Git LFS; `None` if the file is served as one that is stored in git itself.
    pub lfs: Option<LfsPointer>,
}

impl LocalFile {
    /// The entity tag (ETag) of the file: the hash that names the file in the cache of the Hub's client.
    pub fn etag(&self) -> &str {
        self.lfs.as_ref().map_or(&self.blob, |lfs| &lfs.sha256)
    }
}

/// A model in the served folder, with its files at the time of a request.
pub(crate) struct LocalModel {
    pub id: String,
    /// The model's commit: a SHA-1 of the names and hashes of the files.
    pub commit: String,
    /// The files of the model, sorted by name.
    pub files: Vec<LocalFile>,
    pub card: ModelCard,
    /// The modification time of the newest file (RFC 3339).
    pub modified: String,
}

impl LocalModel {
    /// The file with this path in the model; `None` if there is none.
    pub fn file(&self, name: &str) -> Option<&LocalFile> {
        self.files.iter().find(|f| f.name == name)
    }
}

impl LocalModels {
    /// Opens a folder of models, which must exist. No model is read yet.
    pub fn new(folder: &Path) -> io::Result<Self> {
        let root = folder.canonicalize()?;
        if !root.is_dir() {
            return Err(io::Error::new(io::ErrorKind::NotADirectory, format!("{} is not a folder", root.display())));
        }
        Ok(Self { root, hashes: Mutex::default() })
    }

    /// The ids (`owner/name`) of all models in the folder, sorted.
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

    /// Reads the model with this id; `None` if there is none.
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

    /// Collects the files of a folder and its subfolders into `found`, as pairs of the path in the model and the path
    /// on disk. Leaves out links to folders, links to files outside of the root, invalid names, `.git` and `.cache`.
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

    /// The hashes of a file: those of an earlier request if the file has not changed since, or else new ones.
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

/// The first `max_bytes` bytes of a text file; invalid UTF-8 is replaced.
fn read_start(path: &Path, max_bytes: usize) -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(path)?.take(max_bytes as u64).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
