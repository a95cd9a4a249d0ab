//! What can go wrong with a model, named so that the reader knows what to do.

use std::path::{Path, PathBuf};

/// Errors of this crate.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A model file is not what its header says.
    #[error("{}: {message}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong and what to do.
        message: String,
    },
    /// A tensor is missing, unexpected, of the wrong shape or type, or not finite.
    #[error("{}: tensor `{tensor}`: {message}", path.display())]
    Tensor {
        /// The file.
        path: PathBuf,
        /// The tensor's name in the file.
        tensor: String,
        /// What is wrong with it.
        message: String,
    },
    /// A reward model where a language model was wanted, or the other way round.
    #[error("{}: {message}", path.display())]
    WrongHead {
        /// The model.
        path: PathBuf,
        /// What it is and what runs it.
        message: &'static str,
    },
    /// Text could not be turned into tokens, or a chat into text.
    #[error("tokenizer: {0}")]
    Tokenizer(String),
    /// A request that this model cannot serve.
    #[error("{0}")]
    Request(String),
}

impl PolicyError {
    pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self + '_ {
        move |source| Self::Io { path: path.to_owned(), source }
    }

    pub(crate) fn file(path: &Path, message: impl Into<String>) -> Self {
        Self::File { path: path.to_owned(), message: message.into() }
    }

    pub(crate) fn tensor(path: &Path, tensor: &str, message: impl Into<String>) -> Self {
        Self::Tensor { path: path.to_owned(), tensor: tensor.to_owned(), message: message.into() }
    }
}
