//! Reads the rows of a JSONL, JSON list or Parquet file, and converts columns to the types that readers expect.

use std::path::{Path, PathBuf};

pub use rlar_data::json_type_name;
use rlar_data::{NumberedRow, read_rows};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::EvalError;
use crate::parquet_rows::{is_parquet, parquet_rows};

/// A row of a data file: a JSON object, or a row of a Parquet file.
pub struct Row {
    path: PathBuf,
    /// Number of the row's line (for Parquet, of the row), from 1.
    line: usize,
    columns: serde_json::Map<String, Value>,
}

/// Reads the rows of a JSONL file, of a JSON list of objects, or of a Parquet file. The first bytes decide which of
/// these it is.
pub fn rows(path: &Path, bytes: &[u8]) -> Result<Vec<Row>, EvalError> {
    let numbered = if is_parquet(bytes) {
        parquet_rows(path, bytes)?
    } else {
        let text = text(path, bytes)?;
        if text.trim_start().starts_with('[') { read_json_list(path, text)? } else { read_rows(path, text)? }
    };
    Ok(numbered.into_iter().map(|NumberedRow { line, columns }| Row::new(path, line, columns)).collect())
}

/// The contents of a file as text; fails where they are not UTF-8.
pub fn text<'b>(path: &Path, bytes: &'b [u8]) -> Result<&'b str, EvalError> {
    std::str::from_utf8(bytes).map_err(|e| {
        let gzip = if bytes.starts_with(&[0x1f, 0x8b]) { "; it is compressed, unpack it with `gunzip`" } else { "" };
        let message = format!("not text: byte {} is not UTF-8{gzip}", e.valid_up_to());
        EvalError::File { path: path.to_owned(), message }
    })
}

/// Reads the objects of a JSON list. Each gets the number of the line on which it begins.
fn read_json_list(path: &Path, text: &str) -> Result<Vec<NumberedRow>, EvalError> {
    let wrong = |line, message| EvalError::Row { path: path.to_owned(), line, message };
    let list: Vec<&RawValue> = serde_json::from_str(text).map_err(|e| not_json(path, text, &e))?;
    if list.is_empty() {
        return Err(rlar_data::DataError::Empty { path: path.to_owned() }.into());
    }
    let (mut line, mut position) = (1, 0);
    let mut rows = Vec::with_capacity(list.len());
    for raw in list {
        let begin = raw.get().as_ptr() as usize - text.as_ptr() as usize;
        line += text[position..begin].matches('\n').count();
        position = begin;
        match serde_json::from_str(raw.get()) {
            Ok(Value::Object(row)) => rows.push(NumberedRow { line, columns: row }),
            Ok(_) => return Err(wrong(line, "a row must be a JSON object".into())),
            Err(e) => return Err(wrong(line, format!("not JSON: {e}"))),
        }
    }
    Ok(rows)
}

/// The error for a file that is not JSON. The message names the cause where it is a usual one: a file that was cut
/// short, or Python's `NaN` and `Infinity`.
pub fn not_json(path: &Path, text: &str, error: &serde_json::Error) -> EvalError {
    let hint = if error.is_eof() {
        "; the file is cut short, fetch or write it again"
    } else if stopped_at_nan(text, error) {
        "; NaN and Infinity are not scores: write null for a completion without a score"
    } else {
        ""
    };
    EvalError::Row { path: path.to_owned(), line: error.line(), message: format!("not JSON: {error}{hint}") }
}

/// Whether the JSON error is at Python's `NaN` or `Infinity`, which JSON does not allow.
fn stopped_at_nan(text: &str, error: &serde_json::Error) -> bool {
    let line = text.lines().nth(error.line().saturating_sub(1)).unwrap_or_default().as_bytes();
    let begin = error.column().saturating_sub(3).min(line.len());
    let near = &line[begin..line.len().min(begin + 12)];
    ["NaN", "Infinity"].iter().any(|word| near.windows(word.len()).any(|w| w == word.as_bytes()))
}

impl Row {
    /// A row with these columns. The path and the line (from 1) appear only in error messages.
    pub fn new(path: &Path, line: usize, columns: serde_json::Map<String, Value>) -> Self {
        Self { path: path.to_owned(), line, columns }
    }

    /// All columns of the row, in the order of the file.
    pub fn columns(&self) -> &serde_json::Map<String, Value> {
        &self.columns
    }

    /// An error with this message that names the row's file and line.
    pub fn wrong(&self, message: impl Into<String>) -> EvalError {
        EvalError::Row { path: self.path.clone(), line: self.line, message: message.into() }
    }

    /// Number of the line in a text file, or of the row in a Parquet file; counted from 1.
    pub fn line(&self) -> usize {
        self.line
    }

    /// Whether the row has the column, even with the value null.
    pub fn has(&self, key: &str) -> bool {
        self.columns.contains_key(key)
    }

    /// The value of the column `key`; `None` where the column is missing or null.
    pub fn value(&self, key: &str) -> Option<&Value> {
        self.columns.get(key).filter(|v| !v.is_null())
    }

    /// The value of the column `key`; fails where the column is missing or null.
    pub fn needed(&self, key: &str) -> Result<&Value, EvalError> {
        self.value(key).ok_or_else(|| {
            let columns: Vec<&str> = self.columns.keys().map(String::as_str).collect();
            self.wrong(format!("the column `{key}` is missing; the row has: {}", columns.join(", ")))
        })
    }

    /// The column `key` as text. A number is converted to text; other types, null and a missing column are errors.
    pub fn text(&self, key: &str) -> Result<String, EvalError> {
        match self.needed(key)? {
            Value::String(s) => Ok(s.clone()),
            Value::Number(n) => Ok(n.to_string()),
            other => Err(self.wrong(format!("the column `{key}` must be text, not {}", json_type_name(other)))),
        }
    }

    /// The column `key` as a list of texts. Other types, an empty list and a missing column are errors.
    pub fn texts(&self, key: &str) -> Result<Vec<String>, EvalError> {
        let wrong = |found: &str| self.wrong(format!("the column `{key}` must be a list of texts, not {found}"));
        let list = self.needed(key)?;
        let list = list.as_array().ok_or_else(|| wrong(json_type_name(list)))?;
        if list.is_empty() {
            return Err(wrong("an empty list"));
        }
        let text =
            |v: &Value| v.as_str().map(str::to_owned).ok_or_else(|| wrong(&format!("one with {}", json_type_name(v))));
        list.iter().map(text).collect()
    }

    /// Checks a column that states how many entries the row has, such as `num_correct`: fails where the column is there
    /// and is not `have`.
    pub fn check_count(&self, key: &str, have: usize) -> Result<(), EvalError> {
        match self.value(key).map(|v| (v, v.as_u64())) {
            None => Ok(()),
            Some((_, Some(count))) if count == have as u64 => Ok(()),
            Some((value, _)) => Err(self.wrong(format!("`{key}` is {value} but the row holds {have}"))),
        }
    }
}
