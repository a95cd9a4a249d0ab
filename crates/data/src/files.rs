//! The names of a data set's files, as a config gives them.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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
