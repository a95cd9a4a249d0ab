//! The reference of the KL.

use rlar_policy::{ComputeDevice, Decoder, Policy};
use rlar_run::{Checkpoint, Files, RunFolder};

use crate::TrainError;
use crate::config::{Config, KlEstimator};
use crate::update::train_state::State;

/// What the policy is held to.
#[derive(Clone, Debug)]
pub enum Reference {
    /// Nothing.
    None,
    /// The model without its adaptation: no second copy.
    Base(Decoder),
    /// The policy as it was when reinforcement learning began; the run keeps it in `start/`.
    Start(Policy),
    /// The policy as it was at a later step; checkpoints keep it.
    Anchored(Policy),
}

impl Reference {
    /// The reference of a run that begins, or that continues from a checkpoint.
    pub fn open(
        run: &RunFolder,
        state: &State,
        checkpoint: Option<&Checkpoint>,
        config: &Config,
    ) -> Result<Self, TrainError> {
        let kl = &config.algorithm.kl;
        if kl.estimator == KlEstimator::None {
            return Ok(Self::None);
        }
        if state.model.layout().lora().is_some() && kl.reanchor_every == 0 {
            return Ok(Self::Base(state.model.decoder.without_adapter()));
        }
        let device = ComputeDevice::with_precision(&config.device, config.precision)?;
        Ok(match checkpoint {
            Some(checkpoint) if state.ledger.reference > 0 => {
                Self::Anchored(Policy::load(&checkpoint.path.join("reference"), &device)?)
            }
            _ if state.ledger.step == 0 => Self::Start(state.model.clone()),
            _ if !run.has("start") => {
                let message = "the run's reference for the KL is gone; start a new run".to_owned();
                return Err(TrainError::Checkpoint { path: run.path().join("start"), message });
            }
            _ => Self::Start(Policy::load(&run.path().join("start"), &device)?),
        })
    }

    /// Takes the policy of the moment after step `step`, where it is time to.
    pub fn reanchor(&mut self, state: &mut State, step: u64, every: u64) {
        if every > 0 && step.is_multiple_of(every) && !matches!(self, Self::None) {
            state.ledger.reference = step;
            *self = Self::Anchored(state.model.clone());
        }
    }

    /// The model that gives its log-probs.
    pub fn decoder(&self) -> Option<&Decoder> {
        match self {
            Self::None => None,
            Self::Base(decoder) => Some(decoder),
            Self::Start(policy) | Self::Anchored(policy) => Some(&policy.decoder),
        }
    }

    /// The files that a checkpoint needs to have it back.
    pub fn files(&self) -> Result<Files, TrainError> {
        let Self::Anchored(policy) = self else { return Ok(Vec::new()) };
        Ok(policy.files()?.into_iter().map(|(name, bytes)| (format!("reference/{name}"), bytes)).collect())
    }
}
