//! The folders in which servers find the weights of a step.

use std::fs;
use std::path::{Path, PathBuf};

use rlar_policy::Policy;
use rlar_run::write_atomic;

use crate::TrainError;
use crate::config::PublishBy;

/// The files of a PEFT adapter that vLLM reads. Those of a tokenizer beside it would be read as one of the adapter's own.
const ADAPTER: [&str; 2] = ["adapter_config.json", "adapter_model.safetensors"];

/// A folder with the weights of one step, which is removed when this value is dropped.
#[derive(Debug)]
pub(super) struct WeightsFolder {
    path: PathBuf,
}

impl WeightsFolder {
    /// Writes the weights of a policy into the folder `label` in `parent`, and syncs them: the adapter, or all weights in
    /// `f32` with the adapter merged.
    pub fn write(parent: &Path, label: &str, policy: &Policy, by: PublishBy) -> Result<Self, TrainError> {
        let files = match by {
            PublishBy::Lora => {
                let mut files = policy.files()?;
                files.retain(|(name, _)| ADAPTER.contains(name));
                files
            }
            PublishBy::Reload => policy.merged()?.files()?,
        };
        let path = parent.join(label);
        fs::create_dir_all(&path).map_err(|error| TrainError::Vllm {
            message: format!(
                "`path`: {}: cannot be created: {error}. Name a folder that this process can write to and the servers can read",
                path.display()
            ),
        })?;
        let folder = Self { path: path.clone() };
        for (name, contents) in &files {
            write_atomic(&path.join(name), contents)?;
        }
        Ok(folder)
    }

    /// The path under which the servers see the folder.
    pub fn path(&self) -> String {
        self.path.display().to_string()
    }
}

impl Drop for WeightsFolder {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            tracing::warn!("{}: the weights of an earlier step cannot be removed: {error}", self.path.display());
        }
    }
}
