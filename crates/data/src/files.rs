//! The names of a data set's files, as a config gives them.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::DataError;
use crate::rows::{DataFile, DataRow, TextColumn, read_rows, read_text_columns};

/// The files of a data set: a name, a list of names whose rows are joined, or text files that hold one column each. A
/// name is a path, a pattern such as `data/*.parquet`, or `hub:OWNER/NAME@REVISION/PATH`, a file of a data set on the
/// Hugging Face Hub. Files are JSONL, a JSON list, Parquet, CSV or TSV, each also gzipped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum DataFiles {
    /// One name.
    One(String),
    /// Several names; their rows are joined in this order.
    Several(Vec<String>),
    /// Text files with one line per row, by the name of the column that they hold.
    Columns(BTreeMap<String, String>),
}

impl DataFiles {
    /// The rows of all files, in the order of the names. `find` is called for every name, and returns the files that the
    /// name stands for. Fails where `find` does, at the first row that cannot be read, and where the name of a column
    /// does not stand for exactly one file.
    pub fn rows<E: From<DataError>>(
        &self,
        mut find: impl FnMut(&str) -> Result<Vec<DataFile>, E>,
    ) -> Result<Vec<DataRow>, E> {
        let names = match self {
            Self::One(name) => std::slice::from_ref(name),
            Self::Several(names) => names,
            Self::Columns(columns) => {
                let found = columns.values().map(|name| find(name)).collect::<Result<Vec<_>, E>>()?;
                let files = columns.iter().zip(found).map(|((column, name), files)| text_column(column, name, files));
                return Ok(read_text_columns(&files.collect::<Result<Vec<_>, DataError>>()?)?);
            }
        };
        let mut rows = Vec::new();
        for name in names {
            for file in find(name)? {
                rows.extend(read_rows(&file.path, &file.bytes)?);
            }
        }
        Ok(rows)
    }

    /// The names of the files.
    pub fn names(&self) -> Vec<&str> {
        match self {
            Self::One(name) => vec![name.as_str()],
            Self::Several(names) => names.iter().map(String::as_str).collect(),
            Self::Columns(columns) => columns.values().map(String::as_str).collect(),
        }
    }

    /// The names of the files, to change them.
    pub fn names_mut(&mut self) -> Vec<&mut String> {
        match self {
            Self::One(name) => vec![name],
            Self::Several(names) => names.iter_mut().collect(),
            Self::Columns(columns) => columns.values_mut().collect(),
        }
    }
}

impl fmt::Display for DataFiles {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::One(name) => f.write_str(name),
            Self::Several(names) => f.write_str(&names.join(", ")),
            Self::Columns(columns) => {
                let names: Vec<String> = columns.iter().map(|(column, name)| format!("{column}: {name}")).collect();
                f.write_str(&names.join(", "))
            }
        }
    }
}

impl From<&str> for DataFiles {
    fn from(name: &str) -> Self {
        Self::One(name.to_owned())
    }
}

/// Pairs the name of a column with the text file that holds the column. `files` are the files that the config's `name`
/// stands for; fails if there is not exactly one.
fn text_column(column: &str, name: &str, files: Vec<DataFile>) -> Result<TextColumn, DataError> {
    let count = files.len();
    let file = files.into_iter().next().filter(|_| count == 1).ok_or_else(|| DataError::File {
        path: name.into(),
        message: format!("stands for {count} files; the column `{column}` needs one"),
    })?;
    Ok(TextColumn { column: column.to_owned(), file })
}
