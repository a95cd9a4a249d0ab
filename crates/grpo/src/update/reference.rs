//! The reference model of the KL penalty.

use rlar_policy::{ComputeDevice, Decoder, Policy};
use rlar_run::{Checkpoint, Files, RunFolder};

use crate::TrainError;
use crate::config::{Config, KlEstimator};
use crate::update::train_state::TrainState;

/// The model that the policy is held close to.
#[derive(Clone, Debug)]
pub enum Reference {
    /// None: there is no KL penalty.
    None,
    /// The base model under a LoRA adapter, which needs no second copy.
    Base(Decoder),
    /// The policy at the start of reinforcement learning; the run keeps it in `start/`.
    Start(Policy),
    /// The policy after a later step (`algorithm.kl.reanchor_every`); checkpoints keep it.
    Anchored(Policy),
}

impl Reference {
    /// The reference of a run that starts, or that continues from a checkpoint.
    pub fn open(
        run: &RunFolder,
        state: &TrainState,
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
            Some(checkpoint) if state.counters.reference > 0 => {
                Self::Anchored(Policy::load(&checkpoint.path.join("reference"), &device)?)
            }
            _ if state.counters.step == 0 => Self::Start(state.model.clone()),
            _ if !run.has("start") => {
                let message = "the run's reference model is missing; start a new run".to_owned();
                return Err(TrainError::Checkpoint { path: run.path().join("start"), message });
            }
            _ => Self::Start(Policy::load(&run.path().join("start"), &device)?),
        })
    }

    /// Replaces the reference by the policy after step `step`, every `every` steps; 0 never.
    pub fn reanchor(&mut self, state: &mut TrainState, step: u64, every: u64) {
        if every > 0 && step.is_multiple_of(every) && !matches!(self, Self::None) {
            state.counters.reference = step;
            *self = Self::Anchored(state.model.clone());
        }
    }

    /// The model that computes reference log-probs; `None` without a KL penalty.
    pub fn decoder(&self) -> Option<&Decoder> {
        match self {
            Self::None => None,
            Self::Base(decoder) => Some(decoder),
            Self::Start(policy) | Self::Anchored(policy) => Some(&policy.decoder),
        }
    }

    /// The files that a checkpoint needs to restore it.
    pub fn files(&self) -> Result<Files, TrainError> {
        let Self::Anchored(policy) = self else { return Ok(Vec::new()) };
        Ok(policy.files()?.into_iter().map(|(name, bytes)| (format!("reference/{name}"), bytes)).collect())
    }
}
