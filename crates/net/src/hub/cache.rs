//! The cache of downloaded models, in the layout of the official client (`huggingface_hub` 2.4, `file_download.py` and
//! `_tree_cache.py`).
//!
//! In the folder `models--OWNER--NAME` of a model, `blobs` contains the files, named by their hashes,
//! `snapshots/COMMIT` contains links to them with their names in the model (or the files themselves, on a file system
//! without links), `refs` stores the commit of each branch and tag, and `trees/COMMIT.json` lists the files of a
//! commit.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::{Value, json};

use crate::hub::model::Sibling;
use crate::hub::{HubError, names};

/// The content of `CACHEDIR.TAG`, which makes backup tools skip the folder.
const TAG: &str = "Signature: 8a477f597d28d172789f06886806bc55\n\
    # This file is a cache directory tag created by huggingface_hub.\n\
    # For information about cache directory tags, see:\n\
    #\thttps://bford.info/cachedir/\n";

/// Largest size of `trees/COMMIT.json` that is read, in bytes.
const MAX_TREE_BYTES: u64 = 64 << 20;

/// The part of the cache that belongs to one model.
pub(crate) struct Cache {
    /// The folder that contains the folders of all models.
    root: PathBuf,
    /// The folder of this model, `models--OWNER--NAME`.
    folder: PathBuf,
    /// The folder of this model's lock files.
    locks: PathBuf,
}

impl Cache {
    /// The cache of the model with this id, which must have passed [`names::id`]. Creates nothing on disk.
    pub fn new(root: &Path, id: &str) -> Self {
        let name = format!("models--{}", id.replace('/', "--"));
        Self { root: root.to_owned(), folder: root.join(&name), locks: root.join(".locks").join(name) }
    }

    /// The folder that contains the folders of all models.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The path of the folder `snapshots/COMMIT`, in which the files of a commit have their names in the model.
    pub fn snapshot(&self, commit: &str) -> PathBuf {
        self.folder.join("snapshots").join(commit)
    }

    /// The path of the file whose content has this hash.
    pub fn blob(&self, hash: &str) -> PathBuf {
        self.folder.join("blobs").join(hash)
    }

    /// The path of a file that is only partly downloaded, whose complete content has this hash.
    pub fn incomplete(&self, hash: &str) -> PathBuf {
        self.folder.join("blobs").join(format!("{hash}.incomplete"))
    }

    /// The path of the lock file that is locked while the file with this hash is downloaded.
    pub fn lock(&self, hash: &str) -> PathBuf {
        self.locks.join(format!("{hash}.lock"))
    }

    /// Creates the folders that a download of a commit needs, and the cache's `CACHEDIR.TAG` if it is missing.
    pub fn prepare(&self, commit: &str) -> Result<(), HubError> {
        for folder in [self.folder.join("blobs"), self.snapshot(commit)] {
            fs::create_dir_all(&folder).map_err(HubError::io(&folder))?;
        }
        let tag = self.root.join("CACHEDIR.TAG");
        if !tag.exists() {
            // A failure is ignored, because the cache works without the tag.
            let _ = fs::write(tag, TAG);
        }
        Ok(())
    }

    /// The commit that a branch or tag had at its last download; `None` if none is stored. A revision that is itself a
    /// commit is returned unchanged.
    pub fn commit(&self, revision: &str) -> Result<Option<String>, HubError> {
        if names::is_hash(revision, 40) {
            return Ok(Some(revision.to_owned()));
        }
        let path = self.folder.join("refs").join(revision);
        let Some(text) = read(&path, 64)? else { return Ok(None) };
        Ok(Some(text.trim().to_owned()).filter(|c| names::is_hash(c, 40)))
    }

    /// Stores which commit a branch or tag has.
    pub fn write_ref(&self, revision: &str, commit: &str) -> Result<(), HubError> {
        if revision == commit || self.commit(revision)?.as_deref() == Some(commit) {
            return Ok(());
        }
        write_atomic(&self.folder.join("refs").join(revision), commit.as_bytes())
    }

    /// Whether the snapshot of a commit contains the file with this name.
    pub fn has(&self, commit: &str, name: &str) -> bool {
        self.snapshot(commit).join(name).is_file()
    }

    /// Puts the blob with this hash into a snapshot, under a file's name: as a link, or as a file if `links` is false
    /// or the file system has no links. As a file, the blob is moved if `is_new` (no other snapshot uses the blob), and
    /// otherwise copied.
    pub fn place(&self, commit: &str, name: &str, hash: &str, links: bool, is_new: bool) -> Result<(), HubError> {
        let path = self.snapshot(commit).join(name);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(HubError::io(folder))?;
        }
        let blob = self.blob(hash);
        // File systems without links (exFAT, SMB, some of FUSE) refuse one with different errors.
        if links && link(&path, name, hash).is_ok() {
            return Ok(());
        }
        if is_new {
            return fs::rename(&blob, &path).map_err(HubError::io(&path));
        }
        let temporary = temporary(&path);
        let copied = fs::copy(&blob, &temporary).and_then(|_| fs::rename(&temporary, &path));
        copied.map_err(|e| {
            let _ = fs::remove_file(&temporary);
            HubError::io(&path)(e)
        })
    }

    /// The names of the files in the snapshot of a commit, sorted; empty if there is no snapshot.
    pub fn files(&self, commit: &str) -> Result<Vec<String>, HubError> {
        let (mut folders, mut names) = (vec![String::new()], Vec::new());
        while let Some(prefix) = folders.pop() {
            let folder = self.snapshot(commit).join(&prefix);
            let entries = match fs::read_dir(&folder) {
                Ok(entries) => entries,
                Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => continue,
                Err(e) => return Err(HubError::io(&folder)(e)),
            };
            for entry in entries {
                let entry = entry.map_err(HubError::io(&folder))?;
                let Ok(name) = entry.file_name().into_string() else { continue };
                let name = format!("{prefix}{name}");
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    folders.push(format!("{name}/"));
                } else if self.has(commit, &name) {
                    names.push(name);
                }
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    /// The names of all files of a commit, from `trees/COMMIT.json`; `None` if no valid list is stored.
    pub fn tree(&self, commit: &str) -> Result<Option<Vec<String>>, HubError> {
        let Some(text) = read(&self.tree_path(commit), MAX_TREE_BYTES)? else { return Ok(None) };
        let tree: Value = serde_json::from_str(&text).unwrap_or_default();
        let files = tree.get("files").and_then(Value::as_object);
        let names = files.map(|files| files.keys().cloned().collect::<Vec<_>>());
        Ok(names.filter(|all| tree["format_version"] == 1 && all.iter().all(|name| names::file(name).is_ok())))
    }

    /// Stores the list of a commit's files in `trees/COMMIT.json`. Nothing is stored if a list exists, or if the Hub
    /// left out the size or the git hash of a file.
    pub fn write_tree(&self, commit: &str, files: &[Sibling]) -> Result<(), HubError> {
        let path = self.tree_path(commit);
        if path.exists() {
            return Ok(());
        }
        let mut listed = BTreeMap::new();
        for file in files {
            let (Some(size), Some(blob)) = (file.size, &file.blob) else { return Ok(()) };
            let mut entry = json!({"size": size, "blob_id": blob});
            if let Some(sha256) = &file.sha256 {
                entry["lfs_sha256"] = json!(sha256);
                entry["lfs_size"] = json!(size);
            }
            listed.insert(&file.name, entry);
        }
        write_atomic(&path, python_json(&json!({"format_version": 1, "files": listed})).as_bytes())
    }

    fn tree_path(&self, commit: &str) -> PathBuf {
        self.folder.join("trees").join(format!("{commit}.json"))
    }
}

/// Creates a symbolic link at `path` to the blob with this hash. `path` is the place of the model's file `name` in a
/// snapshot.
fn link(path: &Path, name: &str, hash: &str) -> Result<(), HubError> {
    let up = "../".repeat(1 + name.split('/').count());
    let target = PathBuf::from(format!("{up}blobs/{hash}"));
    for _ in 0..3 {
        match symlink(&target, path) {
            Ok(()) => return Ok(()),
            Err(e) if e.kind() != ErrorKind::AlreadyExists => return Err(HubError::io(path)(e)),
            Err(_) if fs::read_link(path).is_ok_and(|to| to == target) => return Ok(()),
            Err(_) => match fs::remove_file(path) {
                Err(e) if e.kind() != ErrorKind::NotFound => return Err(HubError::io(path)(e)),
                _ => {}
            },
        }
    }
    Err(HubError::io(path)(ErrorKind::AlreadyExists.into()))
}

/// JSON in the form of Python's `json.dump(…, indent=1)`: in ASCII, with `\u` escapes.
fn python_json(value: &Value) -> String {
    let mut bytes = Vec::new();
    let style = serde_json::ser::PrettyFormatter::with_indent(b" ");
    // This cannot fail: the keys are strings and the writer is a vector.
    let _ = value.serialize(&mut serde_json::Serializer::with_formatter(&mut bytes, style));
    let text = String::from_utf8_lossy(&bytes);
    let mut ascii = String::new();
    for c in text.chars() {
        if c.is_ascii() {
            ascii.push(c);
        } else {
            ascii.extend(c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")));
        }
    }
    ascii
}

/// Reads the first `max_bytes` bytes of a file as text; `None` if there is no such file or it is not UTF-8.
fn read(path: &Path, max_bytes: u64) -> Result<Option<String>, HubError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(None),
        Err(e) => return Err(HubError::io(path)(e)),
    };
    let mut text = Vec::new();
    match file.take(max_bytes).read_to_end(&mut text) {
        Ok(_) => Ok(String::from_utf8(text).ok()),
        Err(e) if e.kind() == ErrorKind::IsADirectory => Ok(None),
        Err(e) => Err(HubError::io(path)(e)),
    }
}

/// Writes a file atomically: first to a temporary file in the same folder, which is then renamed.
fn write_atomic(path: &Path, bytes: &[u8]) -> Result<(), HubError> {
    let folder = path.parent().unwrap_or(path);
    fs::create_dir_all(folder).map_err(HubError::io(folder))?;
    let temporary = temporary(path);
    let written = File::create(&temporary).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    let moved = written.and_then(|()| fs::rename(&temporary, path));
    moved.map_err(|e| {
        let _ = fs::remove_file(&temporary);
        HubError::io(path)(e)
    })
}

/// The path of a temporary file beside `path`.
fn temporary(path: &Path) -> PathBuf {
    let mut name = OsString::from(path.file_name().unwrap_or_default());
    name.push(format!(".{}.tmp", random_hex()));
    path.with_file_name(name)
}

/// Eight random hexadecimal digits, for the name of a temporary file.
fn random_hex() -> String {
    use std::hash::{BuildHasher, Hasher, RandomState};
    format!("{:08x}", RandomState::new().build_hasher().finish() as u32)
}
