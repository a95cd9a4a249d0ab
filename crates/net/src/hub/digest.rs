//! The hashes by which the Hub identifies files: git's SHA-1 and Git LFS's SHA-256.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use sha1::Sha1;
use sha2::{Digest, Sha256};

use crate::hex::hex;

/// A file's blob id in git, in hexadecimal: the SHA-1 of a header and the file's bytes.
pub(crate) fn git(path: &Path) -> io::Result<String> {
    let file = File::open(path)?;
    let size = file.metadata()?.len();
    let hasher = Sha1::new_with_prefix(format!("blob {size}\0"));
    digest(hasher, file.take(size))
}

/// A text's blob id in git, in hexadecimal.
pub(crate) fn git_text(text: &str) -> String {
    hex(&Sha1::new_with_prefix(format!("blob {}\0{text}", text.len())).finalize())
}

/// A file's id in Git LFS, in hexadecimal: its SHA-256.
pub(crate) fn lfs(path: &Path) -> io::Result<String> {
    digest(Sha256::new(), File::open(path)?)
}

/// A text's SHA-1, in hexadecimal.
pub(crate) fn sha1(text: &str) -> String {
    hex(&Sha1::digest(text))
}

/// Reads to the end and returns the hash in hexadecimal.
fn digest(mut hasher: impl Digest, mut reader: impl Read) -> io::Result<String> {
    let mut buffer = vec![0; 1 << 20];
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return Ok(hex(&hasher.finalize())),
            Ok(n) => hasher.update(&buffer[..n]),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}
