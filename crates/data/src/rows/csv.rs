//! CSV and TSV files with a line of column names.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Map, Value};

use crate::error::DataError;
use crate::rows::json::Numbered;

/// Columns that hold lists or objects. In CSV they are written as JSON.
const STRUCTURED: [&str; 10] = [
    "messages",
    "prompt",
    "completion",
    "chosen",
    "rejected",
    "tests",
    "test_list",
    "reward_model",
    "extra_info",
    "input_output",
];

/// The character between columns, from the file's name: a comma for `.csv`, a tab for `.tsv`, `None` for other files.
pub fn delimiter(path: &Path) -> Option<u8> {
    let name = path.file_name()?.to_str()?.to_ascii_lowercase();
    match name.strip_suffix(".gz").unwrap_or(&name).rsplit_once('.')?.1 {
        "csv" => Some(b','),
        "tsv" => Some(b'\t'),
        _ => None,
    }
}

/// Reads the rows of a CSV text. Values are text; an empty cell is null.
pub fn read(path: &Path, text: &str, delimiter: u8) -> Result<Vec<Numbered>, DataError> {
    let wrong = |e: &::csv::Error| {
        let line = e.position().map_or(1, ::csv::Position::line) as usize;
        let message = match e.kind() {
            ::csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
                format!("the row has {len} values, but there are {expected_len} columns")
            }
            _ => e.to_string(),
        };
        DataError::Row { path: path.to_owned(), line, message }
    };
    let mut reader = ::csv::ReaderBuilder::new().delimiter(delimiter).from_reader(text.as_bytes());
    let header = reader.headers().map_err(|e| wrong(&e))?.clone();
    let mut names = BTreeSet::new();
    if let Some(twice) = header.iter().find(|name| !names.insert(*name)) {
        let message = format!("two columns are called `{twice}`");
        return Err(DataError::Row { path: path.to_owned(), line: 1, message });
    }
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|e| wrong(&e))?;
        let line = record.position().map_or(0, ::csv::Position::line) as usize;
        let columns: Map<String, Value> =
            header.iter().zip(&record).map(|(name, cell)| (name.to_owned(), value(name, cell))).collect();
        rows.push((line, columns));
    }
    Ok(rows)
}

/// The JSON value of a cell: null if the cell is empty, the parsed JSON in a column that may hold lists or objects, and
/// otherwise the cell's text.
fn value(column: &str, cell: &str) -> Value {
    if cell.is_empty() {
        return Value::Null;
    }
    let structured = || serde_json::from_str(cell).ok().filter(|v: &Value| v.is_array() || v.is_object());
    STRUCTURED.contains(&column).then(structured).flatten().unwrap_or_else(|| cell.into())
}
