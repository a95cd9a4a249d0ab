//! What models must provide to be trained: policies and reward models.

use std::path::Path;

use rlar_policy::{ComputeDevice, Decoder, File, Policy, PolicyError, RewardModel};

use crate::config::ModelChoice;

/// A model with a decoder that an optimizer can train.
pub trait Trainable: Clone + Sized {
    /// Loads the model that is trained from its first path or from the folder of a checkpoint, in the form in which
    /// `choice` keeps its weights in memory.
    fn load(path: &Path, device: &ComputeDevice, choice: &ModelChoice) -> Result<Self, PolicyError>;
    /// The files of the model as a Hugging Face folder, exact.
    fn files(&self) -> Result<Vec<File>, PolicyError>;
    /// The decoder that is trained; an error for an encoder, which cannot be trained.
    fn decoder(&self) -> Result<&Decoder, PolicyError>;
}

impl Trainable for Policy {
    fn load(path: &Path, device: &ComputeDevice, choice: &ModelChoice) -> Result<Self, PolicyError> {
        let keeps_blocks = choice.lora.as_ref().is_some_and(|lora| lora.quantised);
        if keeps_blocks { Policy::load_frozen(path, device) } else { Policy::load(path, device) }
    }

    fn files(&self) -> Result<Vec<File>, PolicyError> {
        Policy::files(self)
    }

    fn decoder(&self) -> Result<&Decoder, PolicyError> {
        Ok(&self.decoder)
    }
}

impl Trainable for RewardModel {
    fn load(path: &Path, device: &ComputeDevice, _: &ModelChoice) -> Result<Self, PolicyError> {
        RewardModel::load(path, device)
    }

    fn files(&self) -> Result<Vec<File>, PolicyError> {
        RewardModel::files(self)
    }

    fn decoder(&self) -> Result<&Decoder, PolicyError> {
        let encoder = || PolicyError::Request("an encoder cannot be trained; start from a language model".into());
        RewardModel::decoder(self).ok_or_else(encoder)
    }
}
