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
        /// The file.
        path: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
    /// A row is invalid.
    #[error("{}:{line}: {message}", path.display())]
    Row {
        /// The file.
        path: PathBuf,
        /// The row's line, from 1.
        line: usize,
        /// What is wrong and what was expected.
        message: String,
    },
    /// The file has no rows.
    #[error("{}: the data set is empty", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
}

/// A value of a YAML document that cannot be used, by its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyProblem {
    /// The path of the key, such as `train.steps` or `data.mixture[1].until`.
    pub key: String,
    /// What is wrong with the value, and what to do.
    pub message: String,
}

impl KeyProblem {
    /// A problem of the value at `key`.
    pub fn new(key: impl Into<String>, message: impl Into<String>) -> Self {
        Self { key: key.into(), message: message.into() }
    }
}

/// One mistake in a YAML document, by its line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Its line, from 1.
    pub line: usize,
    /// What is wrong and, for a misspelt name, the nearest valid one.
    pub message: String,
}

/// All mistakes in a YAML document, displayed as one `FILE:LINE: MESSAGE` line each.
#[derive(Debug)]
pub struct ConfigError {
    /// The file.
    pub path: PathBuf,
    /// The mistakes, by line.
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
