//! Opens files of a run, and reads small ones whole, up to a limit. Texts with broken UTF-8 are read, too.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::path::Path;

use serde_json::Value;

use crate::answer::NoAnswer;

/// Largest file that is read whole, in bytes.
pub const MAX_FILE: u64 = 8 << 20;

/// Opens a regular file.
pub fn open(path: &Path) -> io::Result<File> {
    // Opening a pipe or a device could wait for ever.
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::new(ErrorKind::InvalidInput, "it is no regular file"));
    }
    File::open(path)
}

/// The text of a regular file of at most [`MAX_FILE`] bytes, broken UTF-8 replaced by `�`.
pub fn read_text(path: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    open(path)?.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(io::Error::new(ErrorKind::FileTooLarge, format!("it is larger than {} MiB", MAX_FILE >> 20)));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The JSON of a file; `None` if there is no such file.
pub fn read_json(path: &Path) -> Result<Option<Value>, NoAnswer> {
    let text = match read_text(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(NoAnswer::of_file(path, &error)),
    };
    let parsed = serde_json::from_str(&text);
    parsed.map(Some).map_err(|error| NoAnswer::unreadable(format!("{}: not JSON: {error}", path.display())))
}
