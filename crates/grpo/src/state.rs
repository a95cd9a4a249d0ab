//! Everything that a step depends on and that is not a function of config and step: the checkpoint.

use rlar_policy::{Moments, Policy, device_in};
use rlar_run::{Checkpoint, Checkpoints, RunFolder};
use serde::{Deserialize, Serialize};

use crate::TrainError;
use crate::config::Config;

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
}

impl Seconds {
    /// Time that counts against `train.max_minutes`.
    pub fn reinforcement(&self) -> f64 {
        self.sampling + self.scoring + self.training
    }
}

/// The small part of a checkpoint.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Small {
    format: u32,
    warmup: u64,
    step: u64,
    optimizer_steps: u64,
    seconds: Seconds,
}

/// A training run between two steps.
#[derive(Debug)]
pub struct State {
    /// Warm-up steps done.
    pub warmup: u64,
    /// Steps done after the warm-up.
    pub step: u64,
    /// The policy.
    pub policy: Policy,
    /// The optimizer's moments.
    pub moments: Moments,
    /// Time spent.
    pub seconds: Seconds,
}

const FORMAT: u32 = 1;

impl State {
    /// Writes the state as a checkpoint, numbered by all steps done, which is also a Hugging Face folder.
    pub fn save(&self, checkpoints: &Checkpoints, keep: usize) -> Result<Checkpoint, TrainError> {
        let small = Small {
            format: FORMAT,
            warmup: self.warmup,
            step: self.step,
            optimizer_steps: self.moments.steps,
            seconds: self.seconds,
        };
        let mut files = self.policy.files()?;
        files.extend(self.moments.files()?);
        files.push(("state.json", serde_json::to_vec_pretty(&small)?));
        Ok(checkpoints.save(self.warmup + self.step, &files, keep)?)
    }

    /// Reads a checkpoint back, bit for bit.
    pub fn load(checkpoint: &Checkpoint, config: &Config) -> Result<Self, TrainError> {
        let small: Small = serde_json::from_slice(&checkpoint.read("state.json")?)?;
        if small.format != FORMAT {
            let message = format!("has format {}; this build reads {FORMAT}", small.format);
            return Err(TrainError::Checkpoint { path: checkpoint.path.clone(), message });
        }
        let policy = Policy::load(&checkpoint.path, &device_in(&config.device, config.precision)?)?;
        let moments = Moments::load(&policy.decoder, &checkpoint.path, small.optimizer_steps)?;
        Ok(Self { warmup: small.warmup, step: small.step, policy, moments, seconds: small.seconds })
    }

    /// The newest whole checkpoint of a run, with a line about every damaged one.
    pub fn newest(run: &RunFolder, config: &Config, say: impl Fn(&str)) -> Result<Option<Self>, TrainError> {
        let (checkpoint, damaged) = run.checkpoints().newest()?;
        if let (None, Some(last)) = (&checkpoint, damaged.last()) {
            let message = format!("no checkpoint is whole ({last}); start a new run");
            return Err(TrainError::Checkpoint { path: run.path().to_owned(), message });
        }
        for line in damaged {
            say(&format!("damaged checkpoint, using the one before: {line}"));
        }
        checkpoint.map(|c| Self::load(&c, config)).transpose()
    }
}
