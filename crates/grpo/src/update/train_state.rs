//! The state of training between two steps: everything that a step depends on and that is not a function of config and step
//! number. A checkpoint is this state on disk.

use std::path::Path;

use rlar_policy::chat::local_seconds;
use rlar_policy::{ComputeDevice, File, Moments, Policy};
use rlar_run::{Checkpoint, Checkpoints, Files};
use serde::{Deserialize, Serialize};

use crate::TrainError;
use crate::config::{Combine, Config};
use crate::report::step_record::PhaseSeconds;
use crate::rollouts::batch::Batch;
use crate::update::trainable::Trainable;

/// The format of checkpoints that this build writes. It also reads those from [`OLDEST_FORMAT`] on.
pub const FORMAT: u32 = 4;

/// The oldest format that this build reads. In format 3 the head of a reward model started from another random stream.
pub const OLDEST_FORMAT: u32 = 3;

/// The state of training between two steps.
#[derive(Debug)]
pub struct TrainState<M = Policy> {
    /// The model.
    pub model: M,
    /// AdamW's moments.
    pub moments: Moments,
    /// Everything small.
    pub counters: Counters,
}

/// The small part of a checkpoint: `state.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Counters {
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
    /// Reply tokens sampled.
    pub reply_tokens: u64,
    /// Steps in a row in which no group had spread.
    pub flat_steps: u64,
    /// The best checkpoints so far, the best first.
    pub best: Vec<BestCheckpoint>,
    /// Measurements since the best one.
    pub since_best: u64,
    /// The step after which the reference model was taken; 0 for the start.
    pub reference: u64,
    /// Tokens differentiated at a time, prompts included.
    #[serde(rename = "tokens_at_a_time")]
    pub tokens_per_micro_batch: usize,
    /// Number of threads that compute.
    pub threads: usize,
    /// When the run began, in seconds since 1970 of local time: the date that chat templates write as today's.
    pub began: i64,
    /// Time spent.
    pub seconds: TotalSeconds,
}

/// A checkpoint and the value that it is kept for; on disk `[number, value]`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "(u64, f64)", into = "(u64, f64)")]
pub struct BestCheckpoint {
    /// Its number: steps done, warm-up steps included.
    pub number: u64,
    /// What `eval.metric` measured, negated where less is better.
    pub value: f64,
}

impl From<(u64, f64)> for BestCheckpoint {
    fn from((number, value): (u64, f64)) -> Self {
        Self { number, value }
    }
}

impl From<BestCheckpoint> for (u64, f64) {
    fn from(best: BestCheckpoint) -> Self {
        (best.number, best.value)
    }
}

/// Seconds that a run spent in each phase.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TotalSeconds {
    /// Supervised fine-tuning before reinforcement learning.
    pub warmup: f64,
    /// Sampling replies.
    pub sampling: f64,
    /// Scoring them.
    pub scoring: f64,
    /// Reference log-probs, gradients and optimizer.
    pub training: f64,
    /// Measurements.
    pub evaluation: f64,
    /// The rest of the steps: journal, metrics, rollouts, checkpoints.
    #[serde(rename = "keeping")]
    pub overhead: f64,
}

impl TotalSeconds {
    /// Time that counts against `train.max_minutes`.
    pub fn counted(&self) -> f64 {
        self.sampling + self.scoring + self.training
    }
}

impl<M: Trainable> TrainState<M> {
    /// The state of a model before its first step.
    pub fn fresh(model: M) -> Result<Self, TrainError> {
        let moments = Moments::zeros(model.decoder()?);
        Ok(Self { model, moments, counters: Counters::default() })
    }

    /// Writes a checkpoint, which is also a Hugging Face folder. `method_files` are files of the training method.
    pub fn save(
        &self,
        checkpoints: &Checkpoints,
        method_files: &dyn Fn() -> Result<Files, TrainError>,
    ) -> Result<Checkpoint, TrainError> {
        let named = |files: Vec<File>| files.into_iter().map(|(name, bytes)| (name.to_owned(), bytes)).collect();
        let model = || Ok(named(self.model.files()?));
        let first_moments = || Ok(named(vec![self.moments.first_file()?]));
        let second_moments = || Ok(named(vec![self.moments.second_file()?]));
        let counters = || {
            let optimizer_steps = self.moments.steps;
            let counters = Counters { optimizer_steps, format: FORMAT, ..self.counters.clone() };
            Ok(vec![("state.json".to_owned(), serde_json::to_vec_pretty(&counters)?)])
        };
        checkpoints.save(self.number(), &[&model, &first_moments, &second_moments, &counters, method_files])
    }

    /// Reads a checkpoint back, bit for bit.
    pub fn load(checkpoint: &Checkpoint, counters: Counters, config: &Config) -> Result<Self, TrainError> {
        let device = ComputeDevice::with_precision(&config.device, config.precision)?;
        let model = M::load(&checkpoint.path, &device)?;
        let moments = Moments::load(model.decoder()?, &checkpoint.path, counters.optimizer_steps)?;
        Ok(Self { model, moments, counters })
    }
}

impl<M> TrainState<M> {
    /// The number of a checkpoint of this state: all steps done, warm-up steps included.
    pub fn number(&self) -> u64 {
        self.counters.warmup + self.counters.step
    }
}

impl Default for Counters {
    /// Those of a run that begins now.
    fn default() -> Self {
        Self {
            format: FORMAT,
            version: env!("CARGO_PKG_VERSION").into(),
            warmup: 0,
            step: 0,
            optimizer_steps: 0,
            cursor: 0,
            reply_tokens: 0,
            flat_steps: 0,
            best: Vec::new(),
            since_best: 0,
            reference: 0,
            tokens_per_micro_batch: 0,
            threads: rayon::current_num_threads(),
            began: local_seconds(),
            seconds: TotalSeconds::default(),
        }
    }
}

impl Counters {
    /// Parses `json`, which a run left at `path`. A format that this build does not read is an error that names the version of
    /// rlar which wrote it.
    pub fn parse(json: &[u8], path: &Path) -> Result<Self, TrainError> {
        let json: serde_json::Value = serde_json::from_slice(json)?;
        let format = json["format"].as_u64().and_then(|f| u32::try_from(f).ok());
        if !format.is_some_and(|f| (OLDEST_FORMAT..=FORMAT).contains(&f)) {
            let by = json["version"].as_str().unwrap_or("another version");
            let message = format!(
                "was written by rlar {by} in format {}; this build reads formats {OLDEST_FORMAT} to {FORMAT}: resume with \
                 that version, or start a new run (from a checkpoint's folder with `--model`)",
                json["format"]
            );
            return Err(TrainError::Checkpoint { path: path.to_owned(), message });
        }
        Ok(serde_json::from_value(json)?)
    }

    /// Counts a batch that was trained on, and the time that it took.
    pub fn count_batch(&mut self, batch: &Batch, seconds: PhaseSeconds, combine: Combine) {
        self.cursor = batch.cursor;
        self.reply_tokens += batch.tokens() as u64;
        let has_spread = batch.groups.iter().any(|g| g.scores().has_spread(combine));
        self.flat_steps = if has_spread { 0 } else { self.flat_steps + 1 };
        self.seconds.sampling += seconds.sampling;
        self.seconds.scoring += seconds.scoring;
        self.seconds.training += seconds.training;
    }
}
