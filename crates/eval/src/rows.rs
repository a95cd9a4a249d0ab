//! The rows of a benchmark's files, with columns converted to the types that readers expect.

use std::path::Path;

pub use rlar_data::json_type_name;
use rlar_data::{DataRow, number_text, read_rows};
use serde_json::Value;

use crate::EvalError;

/// A row of a data file: a JSON object, or a row of a table.
pub struct Row(DataRow);

/// Reads the rows of a file: JSONL, a JSON list, Parquet or CSV, which may be gzipped.
pub fn rows(path: &Path, bytes: &[u8]) -> Result<Vec<Row>, EvalError> {
    Ok(read_rows(path, bytes)?.into_iter().map(Row).collect())
}

/// The contents of a file as text; fails where they are not UTF-8.
pub fn text<'b>(path: &Path, bytes: &'b [u8]) -> Result<&'b str, EvalError> {
    let is_zipped = bytes.starts_with(&[0x1f, 0x8b]);
    rlar_data::utf8(path, bytes).map_err(|e| match e {
        rlar_data::DataError::File { path, message } if is_zipped => {
            EvalError::File { path, message: message + "; it is compressed, unpack it with `gunzip`" }
        }
        e => e.into(),
    })
}

/// The error for a file of scores whose text is not valid JSON. For Python's `NaN` and `Infinity`, a usual cause, the
/// message says to write null instead.
pub fn not_json(path: &Path, text: &str, error: &serde_json::Error) -> EvalError {
    let rlar_data::DataError::Row { path, line, message } = rlar_data::not_json(path, text, error) else {
        return EvalError::Row { path: path.to_owned(), line: error.line(), message: format!("not JSON: {error}") };
    };
    let message = message.replace(
        "NaN and Infinity are not valid JSON: write null for a missing value",
        "NaN and Infinity are not scores: write null for a completion without a score",
    );
    EvalError::Row { path, line, message }
}

impl From<DataRow> for Row {
    fn from(row: DataRow) -> Self {
        Self(row)
    }
}

impl Row {
    /// All columns of the row, in the order of the file.
    pub fn columns(&self) -> &serde_json::Map<String, Value> {
        &self.0.columns
    }

    /// An error with this message that names the row's file and line.
    pub fn wrong(&self, message: impl Into<String>) -> EvalError {
        self.0.wrong(message).into()
    }

    /// Number of the line in a text file, or of the row in a Parquet file; counted from 1.
    pub fn line(&self) -> usize {
        self.0.line
    }

    /// Whether the row has the column, even with the value null.
    pub fn has(&self, key: &str) -> bool {
        self.0.columns.contains_key(key)
    }

    /// The value of the column `key`; `None` where the column is missing or null.
    pub fn value(&self, key: &str) -> Option<&Value> {
        self.0.columns.get(key).filter(|v| !v.is_null())
    }

    /// The value of the column `key`; fails where the column is missing or null.
    pub fn needed(&self, key: &str) -> Result<&Value, EvalError> {
        self.value(key).ok_or_else(|| {
            let columns: Vec<&str> = self.0.columns.keys().map(String::as_str).collect();
            self.wrong(format!("the column `{key}` is missing; the row has: {}", columns.join(", ")))
        })
    }

    /// The column `key` as text. A number is converted to text; other types, null and a missing column are errors.
    pub fn text(&self, key: &str) -> Result<String, EvalError> {
        match self.needed(key)? {
            Value::String(s) => Ok(s.clone()),
            Value::Number(n) => Ok(number_text(n)),
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
