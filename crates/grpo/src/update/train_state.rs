//! The state of training between two steps: everything that a step depends on, except what is a function of config and
//! step number. A checkpoint is this state on disk.

use std::path::Path;
use std::time::Instant;

use rlar_policy::chat::local_seconds;
use rlar_run::{Checkpoint, Checkpoints, Files};
use serde::{Deserialize, Serialize};

use crate::TrainError;
use crate::config::Combine;
use crate::engine::local::trainer::LocalTrainer;
use crate::engine::trainer::Checkpointed;
use crate::report::step_record::PhaseSeconds;
use crate::rollouts::batch::Batch;

/// The format of checkpoints that this program writes. It reads formats from [`OLDEST_FORMAT`] on.
pub const FORMAT: u32 = 4;

/// The oldest format of checkpoints that this program reads. In format 3, the initial weights of a reward model's head
/// came from another random stream.
pub const OLDEST_FORMAT: u32 = 3;

/// The state of training between two steps: model and optimizer, which the trainer holds, and counters.
#[derive(Debug)]
pub struct TrainState<T = LocalTrainer> {
    /// The model with its optimizer.
    pub trainer: T,
    /// Step counts, times and other small values.
    pub counters: Counters,
}

/// Step counts and other small values of a run; `state.json` in a checkpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Counters {
    /// Format of the checkpoint.
    pub format: u32,
    /// Version of rlar that wrote the checkpoint.
    pub version: String,
    /// Number of supervised warm-up steps done.
    pub warmup: u64,
    /// Number of training steps done; steps of the supervised warm-up are not counted.
    pub step: u64,
    /// Number of optimizer steps that the moments contain. With `grpo` it restarts at 0 after the supervised
    /// warm-up.
    pub optimizer_steps: u64,
    /// Number of prompts that the run has drawn for training.
    pub cursor: u64,
    /// Number of reply tokens that the run has sampled for training.
    pub reply_tokens: u64,
    /// Number of last steps in a row in which all replies of every group had the same reward.
    pub flat_steps: u64,
    /// The checkpoints with the best values of `eval.metric` so far, the best first.
    pub best: Vec<BestCheckpoint>,
    /// Number of evaluations since the one with the best value of `eval.metric`.
    pub since_best: u64,
    /// The step after which the policy became the reference model; 0 is the start of reinforcement learning.
    pub reference: u64,
    /// Number of tokens per micro-batch of the backward pass, prompts included.
    #[serde(rename = "tokens_at_a_time")]
    pub tokens_per_micro_batch: usize,
    /// Number of threads that compute. A resumed run uses the same number, because sums depend on it, bit for bit.
    pub threads: usize,
    /// When the run began, in seconds since 1970 of local time. Chat templates that write today's date write this one.
    pub began: i64,
    /// Seconds that the run has spent in each phase.
    pub seconds: TotalSeconds,
}

/// A checkpoint and the value by which it is ranked; on disk the pair `[number, value]`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "(u64, f64)", into = "(u64, f64)")]
pub struct BestCheckpoint {
    /// Number of the checkpoint: steps done, supervised warm-up steps included.
    pub number: u64,
    /// Value of `eval.metric` at this checkpoint, negated if lower values of the metric are better.
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
    /// Seconds of the supervised warm-up before the training steps.
    pub warmup: f64,
    /// Seconds spent sampling replies, including the scoring done at the same time.
    pub sampling: f64,
    /// Seconds of scoring after the last reply of a step was sampled.
    pub scoring: f64,
    /// Seconds of the updates: log-probs, gradients and optimizer steps.
    pub training: f64,
    /// Seconds of evaluations before, during and after training.
    pub evaluation: f64,
    /// Seconds of everything else: writing journal, metrics, rollouts and checkpoints.
    #[serde(rename = "keeping")]
    pub overhead: f64,
    /// Seconds outside the steps and evaluations: loading data, tools and model, encoding prompts, and saving the final
    /// model.
    #[serde(default)]
    pub outside: f64,
}

impl TotalSeconds {
    /// Seconds that count against `train.max_minutes`: sampling, scoring and training.
    pub fn counted(&self) -> f64 {
        self.sampling + self.scoring + self.training
    }

    /// Seconds of all phases together.
    pub fn total(&self) -> f64 {
        self.warmup + self.counted() + self.evaluation + self.overhead + self.outside
    }
}

/// The clock of a process that trains, by which the time is found that no phase has counted.
#[derive(Clone, Copy, Debug)]
pub struct ProcessClock {
    began: Instant,
    /// Total seconds of the earlier processes of the run.
    earlier: f64,
}

impl ProcessClock {
    /// The clock of a process that began at `began` and continues a run that had taken `seconds` before.
    pub fn new(began: Instant, seconds: &TotalSeconds) -> Self {
        Self { began, earlier: seconds.total() }
    }

    /// Adds the time of this process that is in no phase of `seconds` yet to the time outside of steps.
    pub fn count_outside(self, seconds: &mut TotalSeconds) {
        let counted = seconds.total() - self.earlier;
        // A phase may be longer than the process: a resumed run reads batches from the journal, with their times.
        seconds.outside += (self.began.elapsed().as_secs_f64() - counted).max(0.0);
    }
}

impl<T: Checkpointed> TrainState<T> {
    /// Writes a checkpoint. `method_files` gives further files of the training method.
    pub fn save(
        &self,
        checkpoints: &Checkpoints,
        method_files: &dyn Fn() -> Result<Files, TrainError>,
    ) -> Result<Checkpoint, TrainError> {
        let trainer = self.trainer.save();
        let counters = || {
            let optimizer_steps = self.trainer.optimizer_steps();
            let version = env!("CARGO_PKG_VERSION").into();
            let counters = Counters { optimizer_steps, format: FORMAT, version, ..self.counters.clone() };
            Ok(vec![("state.json".to_owned(), serde_json::to_vec_pretty(&counters)?)])
        };
        let mut parts: Vec<&dyn Fn() -> Result<Files, TrainError>> = trainer.iter().map(|part| &**part).collect();
        parts.push(&counters);
        parts.push(method_files);
        checkpoints.save(self.number(), &parts)
    }
}

impl<T> TrainState<T> {
    /// The state before the first step, with new counters.
    pub fn fresh(trainer: T) -> Self {
        Self { trainer, counters: Counters::now() }
    }

    /// The number of a checkpoint of this state: all steps done, supervised warm-up steps included.
    pub fn number(&self) -> u64 {
        self.counters.warmup + self.counters.step
    }
}

impl Counters {
    /// The counters of a run that begins now, on the threads that this process has.
    pub fn now() -> Self {
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

    /// Parses the counters in `json`, which were read from `path`. A format that this program does not read is an error
    /// with the version of rlar that wrote it.
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

    /// Adds a batch that was trained on, and the seconds that its phases took, to the counters.
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
