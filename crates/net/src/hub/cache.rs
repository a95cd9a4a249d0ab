//! The cache's layout, which is the official client's.
//!
//! `models--owner--name/blobs` has files by their hashes, `snapshots/COMMIT` has links to them by their names, `refs`
//! has the commits of branches and tags, and `trees/COMMIT.json` lists a commit's files (`huggingface_hub` 2.4's
//! `file_download.py` and `_tree_cache.py`).

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

/// What tells backup tools to leave the cache out.
const TAG: &str = "Signature: 8a477f597d28d172789f06886806bc55\n\
    # This file is a cache directory tag created by huggingface_hub.\n\
    # For information about cache directory tags, see:\n\
    #\thttps://bford.info/cachedir/\n";

/// The longest list of a commit's files, in bytes.
const LONGEST_TREE: u64 = 64 << 20;

/// A model's part of the cache.
pub(crate) struct Cache {
    root: PathBuf,
    folder: PathBuf,
    locks: PathBuf,
}

impl Cache {
    /// The part of a model whose id was checked.
    pub fn of(root: &Path, id: &str) -> Self {
        let name = format!("models--{}", id.replace('/', "--"));
        Self { root: root.to_owned(), folder: root.join(&name), locks: root.join(".locks").join(name) }
    }

    /// Where all of the cache is.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where a commit's files are.
    pub fn snapshot(&self, commit: &str) -> PathBuf {
        self.folder.join("snapshots").join(commit)
    }

    /// Where the bytes with a hash are.
    pub fn blob(&self, hash: &str) -> PathBuf {
        self.folder.join("blobs").join(hash)
    }

    /// Where such bytes are until they are whole.
    pub fn incomplete(&self, hash: &str) -> PathBuf {
        self.folder.join("blobs").join(format!("{hash}.incomplete"))
    }

    /// The lock of a hash.
    pub fn lock(&self, hash: &str) -> PathBuf {
        self.locks.join(format!("{hash}.lock"))
    }

    /// Makes the folders and marks the cache as one.
    pub fn prepare(&self, commit: &str) -> Result<(), HubError> {
        for folder in [self.folder.join("blobs"), self.snapshot(commit)] {
            fs::create_dir_all(&folder).map_err(HubError::io(&folder))?;
        }
        let tag = self.root.join("CACHEDIR.TAG");
        if !tag.exists() {
            // A cache without the mark works as well.
            let _ = fs::write(tag, TAG);
        }
        Ok(())
    }

    /// The commit of a branch or tag when it was last asked for; a commit is its own.
    pub fn commit(&self, revision: &str) -> Result<Option<String>, HubError> {
        if names::is_hash(revision, 40) {
            return Ok(Some(revision.to_owned()));
        }
        let path = self.folder.join("refs").join(revision);
        let Some(text) = read(&path, 64)? else { return Ok(None) };
        Ok(Some(text.trim().to_owned()).filter(|c| names::is_hash(c, 40)))
    }

    /// Notes the commit of a branch or tag.
    pub fn refer(&self, revision: &str, commit: &str) -> Result<(), HubError> {
        if revision == commit || self.commit(revision)?.as_deref() == Some(commit) {
            return Ok(());
        }
        write(&self.folder.join("refs").join(revision), commit.as_bytes())
    }

    /// Whether a snapshot has a file.
    pub fn has(&self, commit: &str, name: &str) -> bool {
        self.snapshot(commit).join(name).is_file()
    }

    /// Puts a link to a blob into a snapshot.
    pub fn link(&self, commit: &str, name: &str, hash: &str) -> Result<(), HubError> {
        let path = self.snapshot(commit).join(name);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(HubError::io(folder))?;
        }
        let up = "../".repeat(1 + name.split('/').count());
        let target = PathBuf::from(format!("{up}blobs/{hash}"));
        for _ in 0..3 {
            match symlink(&target, &path) {
                Ok(()) => return Ok(()),
                Err(e) if e.kind() != ErrorKind::AlreadyExists => return Err(HubError::io(&path)(e)),
                Err(_) if fs::read_link(&path).is_ok_and(|to| to == target) => return Ok(()),
                Err(_) => match fs::remove_file(&path) {
                    Err(e) if e.kind() != ErrorKind::NotFound => return Err(HubError::io(&path)(e)),
                    _ => {}
                },
            }
        }
        Err(HubError::io(&path)(ErrorKind::AlreadyExists.into()))
    }

    /// The names of a commit's files, if they are known here.
    pub fn tree(&self, commit: &str) -> Result<Option<Vec<String>>, HubError> {
        let Some(text) = read(&self.tree_path(commit), LONGEST_TREE)? else { return Ok(None) };
        let tree: Value = serde_json::from_str(&text).unwrap_or_default();
        let files = tree.get("files").and_then(Value::as_object);
        let names = files.map(|files| files.keys().cloned().collect::<Vec<_>>());
        Ok(names.filter(|all| tree["format_version"] == 1 && all.iter().all(|name| names::file(name).is_ok())))
    }

    /// Notes a commit's files, unless the Hub did not say everything of them.
    pub fn note_tree(&self, commit: &str, files: &[Sibling]) -> Result<(), HubError> {
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
        write(&path, python_json(&json!({"format_version": 1, "files": listed})).as_bytes())
    }

    fn tree_path(&self, commit: &str) -> PathBuf {
        self.folder.join("trees").join(format!("{commit}.json"))
    }
}

/// JSON as Python's `json.dump(…, indent=1)` writes it: in ASCII.
fn python_json(value: &Value) -> String {
    let mut bytes = Vec::new();
    let style = serde_json::ser::PrettyFormatter::with_indent(b" ");
    // Values have text keys, and a vector takes everything.
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

/// A file's text, at most so many bytes; nothing if there is no file, or none of text.
fn read(path: &Path, longest: u64) -> Result<Option<String>, HubError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(None),
        Err(e) => return Err(HubError::io(path)(e)),
    };
    let mut text = Vec::new();
    match file.take(longest).read_to_end(&mut text) {
        Ok(_) => Ok(String::from_utf8(text).ok()),
        Err(e) if e.kind() == ErrorKind::IsADirectory => Ok(None),
        Err(e) => Err(HubError::io(path)(e)),
    }
}

/// Writes a file whole: beside its place first.
fn write(path: &Path, bytes: &[u8]) -> Result<(), HubError> {
    let folder = path.parent().unwrap_or(path);
    fs::create_dir_all(folder).map_err(HubError::io(folder))?;
    let mut beside = OsString::from(path.file_name().unwrap_or_default());
    beside.push(format!(".{}.tmp", unique()));
    let beside = path.with_file_name(beside);
    let written = File::create(&beside).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    let moved = written.and_then(|()| fs::rename(&beside, path));
    moved.map_err(|e| {
        let _ = fs::remove_file(&beside);
        HubError::io(path)(e)
    })
}

/// Eight hexadecimal digits that no other writer has.
fn unique() -> String {
    use std::hash::{BuildHasher, Hasher, RandomState};
    format!("{:08x}", RandomState::new().build_hasher().finish() as u32)
}
