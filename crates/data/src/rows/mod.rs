//! Reads the rows of data files, in whatever format people have them: JSONL, a JSON list, Parquet, CSV or TSV, each also
//! gzipped, and text files that hold one column each.

mod csv;
mod json;
mod parquet;
mod text;

use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Map, Value};

use crate::error::DataError;

use self::json::Numbered;

pub use self::parquet::read_parquet_columns;
pub use json::{json_type_name, not_json, number_text};
pub use text::{decompress, utf8};

/// A file of a data set, with its contents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataFile {
    /// The path that messages show.
    pub path: std::path::PathBuf,
    /// The contents of the file; gzipped contents are decompressed when they are read.
    pub bytes: Vec<u8>,
}

/// A text file that holds one column of a data set, one line per row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextColumn {
    /// Name of the column.
    pub column: String,
    /// The file with the column's values.
    pub file: DataFile,
}

/// A row of a data file.
#[derive(Clone, Debug, PartialEq)]
pub struct DataRow {
    /// The file that the row is from.
    pub path: Arc<Path>,
    /// Line on which the row begins, from 1; in a Parquet file, the number of the row.
    pub line: usize,
    /// The row's values by column name.
    pub columns: Map<String, Value>,
}

impl DataRow {
    /// An error with this message that names the row's file and line.
    pub fn wrong(&self, message: impl Into<String>) -> DataError {
        DataError::Row { path: self.path.to_path_buf(), line: self.line, message: message.into() }
    }
}

/// Reads the rows of a file. The first bytes tell Parquet, gzip and JSON; the name tells CSV (`.csv`) and TSV (`.tsv`).
/// A byte order mark, blank lines and Windows line ends are accepted. A number that JSON's usual types cannot hold to
/// the last digit becomes text. Fails at the first row that cannot be read, and if there are no rows.
pub fn read_rows(path: &Path, bytes: &[u8]) -> Result<Vec<DataRow>, DataError> {
    let bytes = decompress(path, bytes)?;
    let numbered = if parquet::is_parquet(&bytes) {
        parquet::read(path, &bytes)?
    } else {
        let content = utf8(path, &bytes)?;
        match csv::delimiter(path) {
            Some(delimiter) => csv::read(path, content, delimiter)?,
            None if content.trim_start().starts_with('[') => json::read_list(path, content)?,
            None => json::read_lines(path, content)?,
        }
    };
    if numbered.is_empty() {
        return Err(DataError::Empty { path: path.to_owned() });
    }
    let path: Arc<Path> = path.into();
    Ok(numbered.into_iter().map(|(line, columns)| DataRow { path: path.clone(), line, columns }).collect())
}

/// Number of rows of a block.
const BLOCK: usize = 8192;

/// A row that may not be parsed yet, so that many can be parsed at the same time.
#[derive(Debug)]
pub struct UnparsedRow<'t> {
    /// As in [`DataRow`].
    line: usize,
    content: RowContent<'t>,
}

/// What is known of a row.
#[derive(Debug)]
enum RowContent<'t> {
    /// The line of a JSONL file.
    Json(&'t str),
    Columns(Map<String, Value>),
}

impl UnparsedRow<'_> {
    /// The row, which is from the file at `path`. Fails where a line is not a JSON object.
    pub fn parse(self, path: &Arc<Path>) -> Result<DataRow, DataError> {
        let columns = match self.content {
            RowContent::Json(line) => json::read_line(path, self.line, line)?,
            RowContent::Columns(columns) => columns,
        };
        Ok(DataRow { path: path.clone(), line: self.line, columns })
    }
}

/// Reads a file as [`read_rows`] does, and calls `each` with the file's path and some thousands of rows at a time. Of
/// JSONL and Parquet files, no more rows are in memory. Ends at the first error of `each`.
pub fn read_row_blocks(
    file: DataFile,
    mut each: impl FnMut(&Arc<Path>, Vec<UnparsedRow>) -> Result<(), DataError>,
) -> Result<(), DataError> {
    let DataFile { path, bytes } = file;
    let bytes = match decompress(&path, &bytes)? {
        Cow::Owned(decompressed) => decompressed,
        Cow::Borrowed(_) => bytes,
    };
    let path: Arc<Path> = path.into();
    let mut is_empty = true;
    if parquet::is_parquet(&bytes) {
        parquet::read_blocks(&path, Bytes::from(bytes), BLOCK, |rows| {
            is_empty = false;
            each(&path, rows.into_iter().map(UnparsedRow::from).collect())
        })?;
    } else {
        let content = utf8(&path, &bytes)?;
        let rows: Box<dyn Iterator<Item = UnparsedRow>> = match csv::delimiter(&path) {
            Some(delimiter) => Box::new(csv::read(&path, content, delimiter)?.into_iter().map(UnparsedRow::from)),
            None if content.trim_start().starts_with('[') => {
                Box::new(json::read_list(&path, content)?.into_iter().map(UnparsedRow::from))
            }
            None => {
                Box::new(json::lines(content).map(|(line, text)| UnparsedRow { line, content: RowContent::Json(text) }))
            }
        };
        let mut rows = rows.peekable();
        while rows.peek().is_some() {
            is_empty = false;
            each(&path, rows.by_ref().take(BLOCK).collect())?;
        }
    }
    if is_empty { Err(DataError::Empty { path: path.to_path_buf() }) } else { Ok(()) }
}

impl From<Numbered> for UnparsedRow<'_> {
    fn from((line, columns): Numbered) -> Self {
        Self { line, content: RowContent::Columns(columns) }
    }
}

impl From<DataRow> for UnparsedRow<'_> {
    fn from(row: DataRow) -> Self {
        Self { line: row.line, content: RowContent::Columns(row.columns) }
    }
}

/// Makes rows of text files that hold one column each: line i of every file belongs to row i. Fails where the files have
/// different numbers of lines.
pub fn read_text_columns(files: &[TextColumn]) -> Result<Vec<DataRow>, DataError> {
    let mut rows: Vec<DataRow> = Vec::new();
    let Some(first) = files.first() else { return Ok(rows) };
    let path: Arc<Path> = first.file.path.as_path().into();
    for TextColumn { column, file } in files {
        let bytes = decompress(&file.path, &file.bytes)?;
        let lines: Vec<&str> = utf8(&file.path, &bytes)?.lines().collect();
        if file != &first.file && lines.len() != rows.len() {
            let (count, expected, first) = (lines.len(), rows.len(), first.file.path.display());
            let message = format!("{count} lines, but {first} has {expected}; line i of each file makes row i");
            return Err(DataError::File { path: file.path.clone(), message });
        }
        rows.resize_with(lines.len(), || DataRow { path: path.clone(), line: 0, columns: Map::new() });
        for (i, (row, value)) in rows.iter_mut().zip(lines).enumerate() {
            row.line = i + 1;
            row.columns.insert(column.clone(), value.into());
        }
    }
    if rows.is_empty() {
        return Err(DataError::Empty { path: first.file.path.clone() });
    }
    Ok(rows)
}
