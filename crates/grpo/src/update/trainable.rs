//! What is trained: a policy, or a reward model.

use std::path::Path;

use rlar_policy::{ComputeDevice, Decoder, File, Policy, PolicyError, RewardModel};

/// A model whose decoder an optimizer steps.
pub trait Learner: Clone + Sized {
    /// Loads it from the folder of a checkpoint.
    fn load(path: &Path, device: &ComputeDevice) -> Result<Self, PolicyError>;
    /// The files of a Hugging Face folder with it.
    fn files(&self) -> Result<Vec<File>, PolicyError>;
    /// Its decoder.
    fn decoder(&self) -> Result<&Decoder, PolicyError>;
    /// Its decoder, for change in place.
    fn decoder_mut(&mut self) -> Result<&mut Decoder, PolicyError>;
}

impl Learner for Policy {
    fn load(path: &Path, device: &ComputeDevice) -> Result<Self, PolicyError> {
        Policy::load(path, device)
    }

    fn files(&self) -> Result<Vec<File>, PolicyError> {
        Policy::files(self)
    }

    fn decoder(&self) -> Result<&Decoder, PolicyError> {
        Ok(&self.decoder)
    }

    fn decoder_mut(&mut self) -> Result<&mut Decoder, PolicyError> {
        Ok(&mut self.decoder)
    }
}

fn encoder() -> PolicyError {
    PolicyError::Request("an encoder cannot be trained; start from a language model".into())
}

impl Learner for RewardModel {
    fn load(path: &Path, device: &ComputeDevice) -> Result<Self, PolicyError> {
        RewardModel::load(path, device)
    }

    fn files(&self) -> Result<Vec<File>, PolicyError> {
        RewardModel::files(self)
    }

    fn decoder(&self) -> Result<&Decoder, PolicyError> {
        RewardModel::decoder(self).ok_or_else(encoder)
    }

    fn decoder_mut(&mut self) -> Result<&mut Decoder, PolicyError> {
        RewardModel::decoder_mut(self).ok_or_else(encoder)
    }
}
