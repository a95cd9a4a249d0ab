//! The reference model of the KL penalty.

use rlar_policy::{ComputeDevice, Decoder, Policy};
use rlar_run::{Checkpoint, Files, RunFolder};

use crate::TrainError;
use crate::config::{Config, KlEstimator};
use crate::engine::local::trainable::Trainable;
use crate::update::train_state::TrainState;

/// The reference model, from which the KL penalty keeps the policy close.
#[derive(Clone, Debug)]
pub enum Reference {
    /// No reference model, because there is no KL penalty.
    None,
    /// The base model under a LoRA adapter, which shares its weights with the policy.
    Base(Decoder),
    /// The policy at the start of reinforcement learning; the run keeps it in the folder `start/`.
    Start(Policy),
    /// The policy after a later step, as `algorithm.kl.reanchor_every` asks for; each checkpoint contains it.
    Anchored(Policy),
}

impl Reference {
    /// Loads or makes the reference model of a run that starts, or that continues from a checkpoint.
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
        if state.trainer.model.layout().lora().is_some() && kl.reanchor_every == 0 {
            return Ok(Self::Base(state.trainer.model.decoder.without_adapter()));
        }
        let device = ComputeDevice::with_precision(&config.device, config.precision)?;
        Ok(match checkpoint {
            Some(checkpoint) if state.counters.reference > 0 => {
                let path = checkpoint.path.join("reference");
                Self::Anchored(<Policy as Trainable>::load(&path, &device, &config.model)?)
            }
            _ if state.counters.step == 0 => Self::Start(state.trainer.model.clone()),
            _ if !run.has("start") => {
                let message = "the run's reference model is missing; start a new run".to_owned();
                return Err(TrainError::Checkpoint { path: run.path().join("start"), message });
            }
            _ => Self::Start(<Policy as Trainable>::load(&run.path().join("start"), &device, &config.model)?),
        })
    }

    /// The decoder that computes reference log-probs; `None` without a KL penalty.
    pub fn decoder(&self) -> Option<&Decoder> {
        match self {
            Self::None => None,
            Self::Base(decoder) => Some(decoder),
            Self::Start(policy) | Self::Anchored(policy) => Some(&policy.decoder),
        }
    }

    /// The files of the reference model for a checkpoint; empty if it can be loaded from elsewhere or there is none.
    pub fn files(&self) -> Result<Files, TrainError> {
        let Self::Anchored(policy) = self else { return Ok(Vec::new()) };
        Ok(policy.files()?.into_iter().map(|(name, bytes)| (format!("reference/{name}"), bytes)).collect())
    }
}
