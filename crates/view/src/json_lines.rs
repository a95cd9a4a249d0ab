//! Reads JSON lines of a file that may be growing: an unfinished last line is left for the next time, and a line that is
//! no JSON is named and passed over.

use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use serde::Serialize;
use serde_json::Value;

use crate::answer::NoAnswer;
use crate::bounded_file;

/// Longest line that is read, in bytes.
const MAX_LINE: u64 = 16 << 20;

/// A place in a file of lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinePosition {
    /// Number of bytes before it.
    pub bytes: u64,
    /// Number of lines before it.
    pub lines: usize,
}

/// What is wrong with a file of a run, for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FileProblem {
    /// The file's name in the run's folder.
    pub file: String,
    /// The line, from 1; `None` if it is about the whole file.
    pub line: Option<usize>,
    /// What is wrong.
    pub message: String,
}

impl FileProblem {
    /// Why a whole file was not read.
    pub fn of_file(file: impl Into<String>, error: &NoAnswer) -> Self {
        Self { file: file.into(), line: None, message: error.message().to_owned() }
    }
}

/// Passes every finished line from a position on to `take`, with its number from 1, and returns the position behind the
/// last of them. A line that cannot be read comes as an error that says why.
pub fn read_json_lines(
    path: &Path,
    from: LinePosition,
    mut take: impl FnMut(usize, Result<Value, String>),
) -> io::Result<LinePosition> {
    read_lines(path, from, |line, text| {
        take(line, text.and_then(|text| serde_json::from_str(text).map_err(|error| format!("not JSON: {error}"))));
    })
}

/// As [`read_json_lines`], with the texts of the lines. Empty lines are passed over.
pub fn read_lines(
    path: &Path,
    from: LinePosition,
    mut take: impl FnMut(usize, Result<&str, String>),
) -> io::Result<LinePosition> {
    let mut file = bounded_file::open(path)?;
    file.seek(SeekFrom::Start(from.bytes))?;
    let mut reader = BufReader::with_capacity(1 << 16, file);
    let (mut position, mut line) = (from, Vec::new());
    loop {
        line.clear();
        let mut length = reader.by_ref().take(MAX_LINE).read_until(b'\n', &mut line)? as u64;
        let mut is_finished = line.ends_with(b"\n");
        let is_too_long = !is_finished && length == MAX_LINE;
        while !is_finished && is_too_long {
            line.clear();
            let more = reader.by_ref().take(MAX_LINE).read_until(b'\n', &mut line)? as u64;
            length += more;
            is_finished = line.ends_with(b"\n");
            if more == 0 {
                break;
            }
        }
        if !is_finished {
            return Ok(position);
        }
        position = LinePosition { bytes: position.bytes + length, lines: position.lines + 1 };
        if is_too_long {
            take(position.lines, Err(format!("the line is longer than {} MiB", MAX_LINE >> 20)));
        } else if !line.trim_ascii().is_empty() {
            take(position.lines, Ok(&String::from_utf8_lossy(&line)));
        }
    }
}
