//! The server's names of checkpoints.

use std::fmt;

use crate::TinkerError;

/// Longest name, in bytes (SkyRL's limit).
const MAX_NAME: usize = 255;

/// A checkpoint on the server: `tinker://MODEL/weights/NAME` holds an adapter and its optimizer,
/// `tinker://MODEL/sampler_weights/NAME` or `tinker://MODEL/NAME` an adapter to sample from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointPath {
    path: String,
    model_id: String,
    name: String,
}

impl CheckpointPath {
    /// Reads a path.
    pub fn parse(path: &str) -> Result<Self, TinkerError> {
        let bad = |message: &str| TinkerError::BadCheckpoint { name: path.to_owned(), message: message.to_owned() };
        let form = "it is not of the form tinker://MODEL/weights/NAME";
        let rest = path.strip_prefix("tinker://").ok_or_else(|| bad(form))?;
        let parts: Vec<&str> = rest.split('/').collect();
        let (model_id, name) = match parts.as_slice() {
            [model, name] | [model, "weights" | "sampler_weights", name] => (*model, *name),
            _ => return Err(bad(form)),
        };
        check_name(model_id)?;
        check_name(name)?;
        Ok(Self { path: path.to_owned(), model_id: model_id.to_owned(), name: name.to_owned() })
    }

    /// The model whose weights these are.
    pub fn model_id(&self) -> &str {
        &self.model_id
    }

    /// The name, without the model.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The path.
    pub fn as_str(&self) -> &str {
        &self.path
    }
}

impl fmt::Display for CheckpointPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path)
    }
}

/// Refuses a name that SkyRL refuses.
pub(crate) fn check_name(name: &str) -> Result<(), TinkerError> {
    let is_good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    if name.is_empty() || name.len() > MAX_NAME || !name.chars().all(is_good) {
        let message = format!("a name has 1 to {MAX_NAME} letters, digits, `_` and `-`");
        return Err(TinkerError::BadCheckpoint { name: name.to_owned(), message });
    }
    Ok(())
}
