//! What can be trained: a policy, or a reward model.

use std::path::Path;

use rlar_policy::{ComputeDevice, Decoder, File, Policy, PolicyError, RewardModel};

/// A model whose decoder an optimizer steps.
pub trait Trainable: Clone + Sized {
    /// Loads it from the folder of a checkpoint.
    fn load(path: &Path, device: &ComputeDevice) -> Result<Self, PolicyError>;
    /// The files of a Hugging Face folder with it.
    fn files(&self) -> Result<Vec<File>, PolicyError>;
    /// Its decoder; an error for an encoder, which cannot be trained.
    fn decoder(&self) -> Result<&Decoder, PolicyError>;
}

impl Trainable for Policy {
    fn load(path: &Path, device: &ComputeDevice) -> Result<Self, PolicyError> {
        Policy::load(path, device)
    }

    fn files(&self) -> Result<Vec<File>, PolicyError> {
        Policy::files(self)
    }

    fn decoder(&self) -> Result<&Decoder, PolicyError> {
        Ok(&self.decoder)
    }
}

impl Trainable for RewardModel {
    fn load(path: &Path, device: &ComputeDevice) -> Result<Self, PolicyError> {
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
