//! What tells a large file, or a folder of them, from another without reading all of it.

use std::fs;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::{RunError, hex, sha256};

/// Of a file, or of every file of a folder: name, size in bytes, and a hash of the first and the last megabyte.
pub fn fingerprint(path: &Path) -> Result<Value, RunError> {
    let io = |path: &Path| {
        let path = path.to_owned();
        move |source| RunError::Io { path, action: "cannot read", source }
    };
    let mut files = vec![path.to_owned()];
    if path.is_dir() {
        let entries = fs::read_dir(path).map_err(io(path))?.collect::<Result<Vec<_>, _>>().map_err(io(path))?;
        files = entries.into_iter().map(|e| e.path()).filter(|p| p.is_file()).collect();
        files.sort();
    }
    let print = |file: &PathBuf| {
        let mut open = fs::File::open(file).map_err(io(file))?;
        let size = open.metadata().map_err(io(file))?.len();
        let mut ends = vec![0; size.min(1 << 20) as usize];
        open.read_exact(&mut ends).map_err(io(file))?;
        let mut last = Vec::new();
        open.seek(SeekFrom::Start(size.saturating_sub(1 << 20))).map_err(io(file))?;
        open.read_to_end(&mut last).map_err(io(file))?;
        ends.extend(last);
        let name = file.file_name().map(|n| n.to_string_lossy().into_owned());
        Ok(json!([name, size, sha256(&ends)]))
    };
    files.iter().map(print).collect::<Result<Vec<Value>, RunError>>().map(Value::Array)
}

/// The SHA-256 of a file, or of the names and hashes of every file of a folder, in hexadecimal.
pub fn hash_files(path: &Path) -> Result<String, RunError> {
    let io = |source| RunError::Io { path: path.to_owned(), action: "cannot read", source };
    if path.is_dir() {
        let entries = fs::read_dir(path).map_err(io)?.collect::<Result<Vec<_>, _>>().map_err(io)?;
        let mut files: Vec<_> = entries.into_iter().map(|e| e.path()).filter(|p| p.is_file()).collect();
        files.sort();
        let mut all = String::new();
        for file in files {
            let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
            all += &(json!([name, hash_files(&file)?]).to_string() + "\n");
        }
        return Ok(sha256(all.as_bytes()));
    }
    let (mut file, mut hash, mut piece) = (fs::File::open(path).map_err(io)?, Sha256::new(), vec![0; 1 << 20]);
    loop {
        match file.read(&mut piece).map_err(io)? {
            0 => return Ok(hex(&hash.finalize())),
            n => hash.update(&piece[..n]),
        }
    }
}
