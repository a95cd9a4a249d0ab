//! The hashes that identify files on the Hub: SHA-1 for files in git, and SHA-256 for files in Git LFS.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use sha1::Sha1;
use sha2::{Digest, Sha256};

use crate::hex::hex;

/// The blob id of a file in git, in hexadecimal: the SHA-1 of a header with the size, followed by the file's bytes.
pub(crate) fn git(path: &Path) -> io::Result<String> {
    let file = File::open(path)?;
    let size = file.metadata()?.len();
    let hasher = Sha1::new_with_prefix(format!("blob {size}\0"));
    digest(hasher, file.take(size))
}

/// The blob id that git gives to a file with this text, in hexadecimal.
pub(crate) fn git_text(text: &str) -> String {
    hex(&Sha1::new_with_prefix(format!("blob {}\0{text}", text.len())).finalize())
}

/// The id of a file in Git LFS, in hexadecimal: the SHA-256 of the file's bytes.
pub fn lfs(path: &Path) -> io::Result<String> {
    digest(Sha256::new(), File::open(path)?)
}

/// The SHA-1 of a text, in hexadecimal.
pub(crate) fn sha1(text: &str) -> String {
    hex(&Sha1::digest(text))
}

/// Reads `reader` to its end and returns the hash of the bytes in hexadecimal.
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
