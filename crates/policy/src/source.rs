//! Where a model was found: its path on this machine and, for a model of the Hugging Face Hub, its repository.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Where a model was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelSource {
    /// The model's folder or GGUF file on this machine.
    pub path: PathBuf,
    /// Where the model is on the Hugging Face Hub; `None` for a model that was not taken from there.
    pub repository: Option<Repository>,
}

/// Where a model is on the Hugging Face Hub.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repository {
    /// The repository's id, `owner/name`.
    pub id: String,
    /// The commit, as 40 hexadecimal digits.
    pub commit: String,
    /// For a model in a GGUF file, the file's path in the repository; otherwise `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
}

impl From<PathBuf> for ModelSource {
    fn from(path: PathBuf) -> Self {
        Self { path, repository: None }
    }
}

impl From<&Path> for ModelSource {
    fn from(path: &Path) -> Self {
        path.to_owned().into()
    }
}
