//! SHA-256 in hexadecimal, of bytes, files and folders; and a cheap fingerprint of large files.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::RunError;

/// Number of bytes that a fingerprint reads at the start and at the end of a file.
const FINGERPRINT_BYTES: u64 = 1 << 20;

/// The SHA-256 of some bytes, in hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// The SHA-256 of bytes that are not in memory at once.
#[derive(Clone, Debug, Default)]
pub struct StreamedHash(Sha256);

impl StreamedHash {
    /// Adds the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The hash of all bytes, in hexadecimal: as [`sha256`] of all of them.
    pub fn finish(self) -> String {
        hex(&self.0.finalize())
    }
}

/// Bytes in lower-case hexadecimal.
fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
}

/// The SHA-256 of a file, or of the names and hashes of every file of a folder, in hexadecimal. Subfolders are left
/// out.
pub fn hash_files(path: &Path) -> Result<String, RunError> {
    if path.is_dir() {
        let mut listing = String::new();
        for file in files_of(path)? {
            listing += &(json!([name_of(&file), hash_files(&file)?]).to_string() + "\n");
        }
        return Ok(sha256(listing.as_bytes()));
    }
    let mut file = open(path)?;
    let (mut hash, mut buffer) = (Sha256::new(), vec![0; 1 << 20]);
    loop {
        match file.read(&mut buffer).map_err(RunError::io(path, "cannot read"))? {
            0 => return Ok(hex(&hash.finalize())),
            n => hash.update(&buffer[..n]),
        }
    }
}

/// A fingerprint that tells a large file, or the files of a folder, from others without reading all of it: a list with
/// `[name, size in bytes, SHA-256 of the first and the last megabyte]` for each file. Subfolders are left out.
pub fn fingerprint(path: &Path) -> Result<Value, RunError> {
    let files = if path.is_dir() { files_of(path)? } else { vec![path.to_owned()] };
    files.iter().map(|file| fingerprint_file(file)).collect::<Result<Vec<Value>, RunError>>().map(Value::Array)
}

fn fingerprint_file(path: &Path) -> Result<Value, RunError> {
    let cannot_read = |source| RunError::Io { path: path.to_owned(), action: "cannot read", source };
    let mut file = open(path)?;
    let size = file.metadata().map_err(cannot_read)?.len();
    let mut ends = vec![0; size.min(FINGERPRINT_BYTES) as usize];
    file.read_exact(&mut ends).map_err(cannot_read)?;
    file.seek(SeekFrom::Start(size.saturating_sub(FINGERPRINT_BYTES))).map_err(cannot_read)?;
    file.read_to_end(&mut ends).map_err(cannot_read)?;
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
    Ok(json!([name, size, sha256(&ends)]))
}

/// The files directly in a folder, sorted by path.
fn files_of(folder: &Path) -> Result<Vec<PathBuf>, RunError> {
    let cannot_read = |source| RunError::Io { path: folder.to_owned(), action: "cannot read", source };
    let entries = fs::read_dir(folder).map_err(cannot_read)?;
    let entries = entries.collect::<Result<Vec<_>, _>>().map_err(cannot_read)?;
    let mut files: Vec<PathBuf> = entries.into_iter().map(|e| e.path()).filter(|p| p.is_file()).collect();
    files.sort();
    Ok(files)
}

fn open(path: &Path) -> Result<File, RunError> {
    File::open(path).map_err(RunError::io(path, "cannot read"))
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
