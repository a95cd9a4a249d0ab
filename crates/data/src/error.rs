//! What can be wrong with a data set or a YAML file.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// Why a data set cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// The file could not be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file that could not be read.
        path: PathBuf,
        /// The error that the operating system reported.
        source: io::Error,
    },
    /// The file as a whole cannot be used.
    #[error("{}: {message}", path.display())]
    File {
        /// The file that cannot be used.
        path: PathBuf,
        /// What is wrong with the file and what to do.
        message: String,
    },
    /// A row of the file is invalid.
    #[error("{}:{line}: {message}", path.display())]
    Row {
        /// The file that holds the row.
        path: PathBuf,
        /// Line of the row in the file, from 1.
        line: usize,
        /// What is wrong with the row and what was expected.
        message: String,
    },
    /// The file has no rows.
    #[error("{}: the data set is empty", path.display())]
    Empty {
        /// The file that has no rows.
        path: PathBuf,
    },
}

/// A value of a YAML document that cannot be used, with the key at which it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyProblem {
    /// The path of the key, such as `train.steps` or `data.mixture[1].until`.
    pub key: String,
    /// What is wrong with the value, and how to correct it.
    pub message: String,
}

impl KeyProblem {
    /// Describes a problem of the value at `key`.
    pub fn new(key: impl Into<String>, message: impl Into<String>) -> Self {
        Self { key: key.into(), message: message.into() }
    }
}

/// One mistake in a YAML document, with its line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Line of the mistake in the document, from 1.
    pub line: usize,
    /// What is wrong with the document there and, for a misspelt name, the most similar valid name.
    pub message: String,
}

/// All mistakes in a YAML document, displayed as one `FILE:LINE: MESSAGE` line each.
#[derive(Debug)]
pub struct ConfigError {
    /// The YAML file that holds the document.
    pub path: PathBuf,
    /// The mistakes, ordered by line.
    pub problems: Vec<Problem>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        for (i, problem) in self.problems.iter().enumerate() {
            let end = if i + 1 < self.problems.len() { "\n" } else { "" };
            write!(f, "{}:{}: {}{end}", self.path.display(), problem.line, problem.message)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}
