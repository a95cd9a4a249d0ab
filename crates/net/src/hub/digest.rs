//! The hashes by which the Hub knows files.

use std::fmt::Write;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use sha1::Sha1;
use sha2::{Digest, Sha256};

/// A file's hash as git makes it: SHA-1 of a header and the bytes, in hexadecimal.
pub(crate) fn git(path: &Path) -> io::Result<String> {
    let file = File::open(path)?;
    let size = file.metadata()?.len();
    let hash = Sha1::new_with_prefix(format!("blob {size}\0"));
    of(hash, file.take(size))
}

/// The hash that git makes of a text.
pub(crate) fn git_text(text: &str) -> String {
    hex(&Sha1::new_with_prefix(format!("blob {}\0{text}", text.len())).finalize())
}

/// A file's SHA-256, as Git LFS knows it, in hexadecimal.
pub(crate) fn lfs(path: &Path) -> io::Result<String> {
    of(Sha256::new(), File::open(path)?)
}

/// A text's SHA-1, in hexadecimal.
pub(crate) fn sha1(text: &str) -> String {
    hex(&Sha1::digest(text))
}

fn of(mut hash: impl Digest, mut bytes: impl Read) -> io::Result<String> {
    let mut piece = vec![0; 1 << 20];
    loop {
        match bytes.read(&mut piece) {
            Ok(0) => return Ok(hex(&hash.finalize())),
            Ok(n) => hash.update(&piece[..n]),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}
