//! The models in a folder, as they are on the disk now.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use chrono::{DateTime, SecondsFormat, Utc};

use crate::hub::model::MOST_FILES;
use crate::hub::serve::card::{self, Card};
use crate::hub::{digest, names};

/// Files of at least so many bytes are in Git LFS, as on the Hub, and those whose names end like this.
const LFS: (u64, &[&str]) = (10 << 20, &["safetensors", "bin", "gguf", "pt", "pth", "onnx", "h5", "msgpack"]);

/// Folders within folders at most.
const DEPTH: usize = 16;

/// A folder of models. Hashes are made when they are first needed and kept while a file's size and time stay.
pub(crate) struct Shelf {
    /// Without links in it.
    root: PathBuf,
    hashes: Mutex<HashMap<PathBuf, Hashed>>,
}

#[derive(Clone)]
struct Hashed {
    size: u64,
    changed: Option<SystemTime>,
    blob: String,
    lfs: Option<Lfs>,
}

/// A file in Git LFS.
#[derive(Clone, Debug)]
pub(crate) struct Lfs {
    pub sha256: String,
    /// Bytes of the text that stands for the file in git.
    pub pointer: u64,
}

/// A file of a model.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// Its path in the model.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
    pub size: u64,
    /// git's hash of it, or of its pointer.
    pub blob: String,
    pub lfs: Option<Lfs>,
}

impl Entry {
    /// What the Hub calls its entity tag.
    pub fn etag(&self) -> &str {
        self.lfs.as_ref().map_or(&self.blob, |lfs| &lfs.sha256)
    }
}

/// A model as it is now.
pub(crate) struct Model {
    pub id: String,
    /// A hash of its files' names and bytes.
    pub commit: String,
    /// By name.
    pub files: Vec<Entry>,
    pub card: Card,
    /// The newest file's time.
    pub changed: String,
}

impl Model {
    pub fn file(&self, name: &str) -> Option<&Entry> {
        self.files.iter().find(|f| f.name == name)
    }
}

impl Shelf {
    /// The models in a folder.
    pub fn of(folder: &Path) -> io::Result<Self> {
        let root = folder.canonicalize()?;
        if !root.is_dir() {
            return Err(io::Error::new(io::ErrorKind::NotADirectory, format!("{} is not a folder", root.display())));
        }
        Ok(Self { root, hashes: Mutex::default() })
    }

    /// The ids of all models, in order.
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

    /// A model; nothing if there is none of this id.
    pub fn model(&self, id: &str) -> io::Result<Option<Model>> {
        let folder = self.root.join(id);
        if names::id(id).is_err() || !id.contains('/') || !folder.is_dir() {
            return Ok(None);
        }
        let mut found = Vec::new();
        self.collect(&folder, "", DEPTH, &mut found)?;
        found.sort_unstable();
        let mut files = Vec::new();
        let mut newest = SystemTime::UNIX_EPOCH;
        for (name, path) in found {
            let Hashed { size, changed, blob, lfs } = self.hashed(&path)?;
            newest = newest.max(changed.unwrap_or(newest));
            files.push(Entry { name, path, size, blob, lfs });
        }
        let lines: Vec<String> = files.iter().map(|f| format!("{} {}\n", f.blob, f.name)).collect();
        let readme = files.iter().find(|f| f.name == "README.md");
        let card = readme.map(|f| start(&f.path, card::LONGEST)).transpose()?.unwrap_or_default();
        let changed = DateTime::<Utc>::from(newest).to_rfc3339_opts(SecondsFormat::Millis, true);
        let commit = digest::sha1(&lines.concat());
        Ok(Some(Model { id: id.into(), commit, files, card: Card::read(&card), changed }))
    }

    /// Collects a folder's files. Links to folders and out of the root are left out, and so is what git and
    /// others hide.
    fn collect(&self, folder: &Path, prefix: &str, depth: usize, found: &mut Vec<(String, PathBuf)>) -> io::Result<()> {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            let name = format!("{prefix}{name}");
            let inside = entry.path().canonicalize().ok().filter(|p| p.starts_with(&self.root));
            let Some(path) = inside.filter(|_| names::file(&name).is_ok()) else { continue };
            if path.is_file() && found.len() < MOST_FILES {
                found.push((name, path));
            } else if entry.file_type()?.is_dir() && depth > 0 && !matches!(name.as_str(), ".git" | ".cache") {
                self.collect(&path, &format!("{name}/"), depth - 1, found)?;
            }
        }
        Ok(())
    }

    fn hashed(&self, path: &Path) -> io::Result<Hashed> {
        let about = fs::metadata(path)?;
        let (size, changed) = (about.len(), about.modified().ok());
        let known = self.hashes.lock().unwrap_or_else(PoisonError::into_inner).get(path).cloned();
        if let Some(known) = known.filter(|k| k.size == size && k.changed == changed) {
            return Ok(known);
        }
        let ending = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
        let (blob, lfs) = if size >= LFS.0 || LFS.1.contains(&ending) {
            let sha256 = digest::lfs(path)?;
            let pointer = format!("version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n");
            (digest::git_text(&pointer), Some(Lfs { sha256, pointer: pointer.len() as u64 }))
        } else {
            (digest::git(path)?, None)
        };
        let hashed = Hashed { size, changed, blob, lfs };
        self.hashes.lock().unwrap_or_else(PoisonError::into_inner).insert(path.to_owned(), hashed.clone());
        Ok(hashed)
    }
}

/// The start of a text file.
fn start(path: &Path, longest: usize) -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(path)?.take(longest as u64).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
