//! Everything that a step depends on and that is not a function of config and step: the checkpoint.

use std::path::Path;

use rlar_policy::{ComputeDevice, File, Moments, Policy};
use rlar_run::{Checkpoint, Checkpoints, Files};
use serde::{Deserialize, Serialize};

use crate::TrainError;
use crate::config::Config;
use crate::update::trainable::Learner;

/// Seconds spent in each phase.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Seconds {
    /// Supervised fine-tuning before reinforcement learning.
    pub warmup: f64,
    /// Drawing replies.
    pub sampling: f64,
    /// Scoring them.
    pub scoring: f64,
    /// Reference log-probs, gradients and optimizer.
    pub training: f64,
    /// Measuring held-out accuracy.
    pub evaluation: f64,
    /// The rest of the steps: journal, metrics, rollouts, checkpoints.
    pub keeping: f64,
}

impl Seconds {
    /// Time that counts against `train.max_minutes`.
    pub fn counted(&self) -> f64 {
        self.sampling + self.scoring + self.training
    }
}

/// The small part of a checkpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ledger {
    /// Format of the checkpoint.
    pub format: u32,
    /// Version of rlar that wrote it.
    pub version: String,
    /// Warm-up steps done.
    pub warmup: u64,
    /// Steps done after the warm-up.
    pub step: u64,
    /// Optimizer steps since the moments were zero.
    pub optimizer_steps: u64,
    /// Prompts drawn.
    pub cursor: u64,
    /// Reply tokens drawn.
    pub reply_tokens: u64,
    /// Steps in a row in which no group had any spread.
    pub flat_steps: u64,
    /// Held-out accuracy at the best steps so far, the best first.
    pub best: Vec<(u64, f64)>,
    /// Measurements since the best.
    pub since_best: u64,
    /// The step after which the reference was taken.
    pub reference: u64,
    /// Tokens differentiated at a time.
    pub tokens_at_a_time: usize,
    /// Threads that compute.
    pub threads: usize,
    /// When the run began, in seconds since 1970 by the local clock: what chat templates write as today's date.
    pub began: i64,
    /// Time spent.
    pub seconds: Seconds,
}

/// A training run between two steps.
#[derive(Debug)]
pub struct State<M = Policy> {
    /// The model.
    pub model: M,
    /// The optimizer's moments.
    pub moments: Moments,
    /// Everything small.
    pub ledger: Ledger,
}

/// The format of checkpoints that this build reads and writes.
pub const FORMAT: u32 = 3;

impl<M: Learner> State<M> {
    /// Writes the state as a checkpoint, numbered by all steps done, which is also a Hugging Face folder. `more` are
    /// files of the method.
    pub fn save(
        &self,
        checkpoints: &Checkpoints,
        more: &dyn Fn() -> Result<Files, TrainError>,
    ) -> Result<Checkpoint, TrainError> {
        let named = |files: Vec<File>| files.into_iter().map(|(name, bytes)| (name.to_owned(), bytes)).collect();
        let model = || Ok(named(self.model.files()?));
        let first = || Ok(named(vec![self.moments.first_file()?]));
        let second = || Ok(named(vec![self.moments.second_file()?]));
        let ledger = || {
            let ledger = Ledger { optimizer_steps: self.moments.steps, ..self.ledger.clone() };
            Ok(vec![("state.json".to_owned(), serde_json::to_vec_pretty(&ledger)?)])
        };
        checkpoints.save(self.number(), &[&model, &first, &second, &ledger, more])
    }

    /// The number of a checkpoint of this state.
    pub fn number(&self) -> u64 {
        self.ledger.warmup + self.ledger.step
    }

    /// Reads a checkpoint back, bit for bit.
    pub fn load(checkpoint: &Checkpoint, ledger: Ledger, config: &Config) -> Result<Self, TrainError> {
        let model = M::load(&checkpoint.path, &ComputeDevice::with_precision(&config.device, config.precision)?)?;
        let moments = Moments::load(model.decoder()?, &checkpoint.path, ledger.optimizer_steps)?;
        Ok(Self { model, moments, ledger })
    }
}

impl Ledger {
    /// Reads a ledger that a run left at `path`.
    pub fn read(json: &[u8], path: &Path) -> Result<Self, TrainError> {
        let json: serde_json::Value = serde_json::from_slice(json)?;
        if json["format"] != FORMAT {
            let by = json["version"].as_str().unwrap_or("another version");
            let message = format!(
                "was written by rlar {by} in format {}; this build reads format {FORMAT}: resume with that version, or \
                 start a new run (from a checkpoint's folder with `--model`)",
                json["format"]
            );
            return Err(TrainError::Checkpoint { path: path.to_owned(), message });
        }
        Ok(serde_json::from_value(json)?)
    }
}
