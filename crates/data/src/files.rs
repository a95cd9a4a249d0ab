//! The names of a data set's files, as a config gives them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::DataError;
use crate::rows::{DataFile, DataRow, TextColumn, UnparsedRow, read_row_blocks, read_rows, read_text_columns};

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

/// The files of a data set, with their contents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FoundFiles {
    /// Files whose rows are joined, in this order.
    Whole(Vec<DataFile>),
    /// Text files with one line per row.
    Columns(Vec<TextColumn>),
}

impl FoundFiles {
    /// The rows of all files, in their order. Fails at the first row that cannot be read.
    pub fn rows(&self) -> Result<Vec<DataRow>, DataError> {
        match self {
            Self::Whole(files) => {
                let rows = files.iter().map(|file| read_rows(&file.path, &file.bytes));
                Ok(rows.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
            }
            Self::Columns(columns) => read_text_columns(columns),
        }
    }

    /// Number of different files that rows are from; text files of columns count as one.
    pub(crate) fn count(&self) -> usize {
        match self {
            Self::Whole(files) => files.iter().map(|file| &file.path).collect::<BTreeSet<_>>().len(),
            Self::Columns(_) => 1,
        }
    }

    /// Calls `each` with the path of a file and some thousands of its rows at a time; see [`read_row_blocks`].
    pub(crate) fn for_each_block(
        self,
        mut each: impl FnMut(&Arc<Path>, Vec<UnparsedRow>) -> Result<(), DataError>,
    ) -> Result<(), DataError> {
        match self {
            Self::Whole(files) => files.into_iter().try_for_each(|file| read_row_blocks(file, &mut each)),
            Self::Columns(columns) => {
                let rows = read_text_columns(&columns)?;
                let Some(path) = rows.first().map(|row| row.path.clone()) else { return Ok(()) };
                each(&path, rows.into_iter().map(UnparsedRow::from).collect())
            }
        }
    }
}

impl DataFiles {
    /// The rows of all files, in the order of the names. `find` is called for every name, and returns the files that the
    /// name stands for. Fails where `find` does, at the first row that cannot be read, and where the name of a column
    /// does not stand for exactly one file.
    pub fn rows<E: From<DataError>>(
        &self,
        find: impl FnMut(&str) -> Result<Vec<DataFile>, E>,
    ) -> Result<Vec<DataRow>, E> {
        Ok(self.find(find)?.rows()?)
    }

    /// The files that the names stand for, by `find`, with their contents. Fails as [`Self::rows`] does, but for rows.
    pub fn find<E: From<DataError>>(
        &self,
        mut find: impl FnMut(&str) -> Result<Vec<DataFile>, E>,
    ) -> Result<FoundFiles, E> {
        let names = match self {
            Self::One(name) => std::slice::from_ref(name),
            Self::Several(names) => names,
            Self::Columns(columns) => {
                let found = columns.values().map(|name| find(name)).collect::<Result<Vec<_>, E>>()?;
                let files = columns.iter().zip(found).map(|((column, name), files)| text_column(column, name, files));
                return Ok(FoundFiles::Columns(files.collect::<Result<_, DataError>>()?));
            }
        };
        let found = names.iter().map(|name| find(name)).collect::<Result<Vec<_>, E>>()?;
        Ok(FoundFiles::Whole(found.into_iter().flatten().collect()))
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
