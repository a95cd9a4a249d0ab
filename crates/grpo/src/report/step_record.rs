//! The record of a step: what a training method hands to the train loop, and a line of `metrics.jsonl`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::report::grpo_metrics::GrpoMetrics;

/// A line of `metrics.jsonl`. `docs/run.md` explains every key; a value that cannot be known is `null`, not 0.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StepRecord {
    /// Number of the step, from 1.
    pub step: u64,
    /// What the method measured.
    #[serde(flatten)]
    pub metrics: StepMetrics,
    /// Where the time went.
    pub seconds: StepSeconds,
    /// The measurement after this step, where one was due.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eval: Option<Measurement>,
    /// What agents and monitor did since the last step, for a person to read; `None` for runs without agents.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub news: Option<Vec<String>>,
}

/// What each training method records of a step.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum StepMetrics {
    /// Reinforcement learning.
    Grpo(Box<GrpoMetrics>),
    /// Supervised fine-tuning.
    Sft(SftMetrics),
    /// A reward model.
    RewardModel(RewardModelMetrics),
}

/// The record of a supervised step.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct SftMetrics {
    /// Mean negative log-prob of the tokens that are learned, in nats.
    pub loss: f64,
    /// Norm of the gradient before clipping.
    pub grad_norm: f64,
    /// Learning rate.
    pub learning_rate: f32,
    /// Number of tokens that are learned.
    pub tokens: usize,
}

/// The record of a step of reward-model training.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct RewardModelMetrics {
    /// Mean Bradley–Terry loss of the pairs, in nats.
    pub loss: f64,
    /// Share of the pairs whose chosen reply scores higher.
    pub accuracy: f64,
    /// Mean difference between the scores of chosen and rejected replies.
    pub margin: f64,
    /// Norm of the gradient before clipping.
    pub grad_norm: f64,
    /// Learning rate.
    pub learning_rate: f32,
}

/// Seconds that a step of reinforcement learning spent in its phases. Where phases run at the same time, each counts what the
/// step waited for it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PhaseSeconds {
    /// Sampling, with the scoring beside it.
    pub sampling: f64,
    /// Scoring after the last reply was sampled.
    pub scoring: f64,
    /// Log-probs, gradients and optimizer.
    pub training: f64,
}

/// Seconds that a step took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct StepSeconds {
    /// Sampling, with the scoring beside it; `None` for methods that do not sample.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sampling: Option<f64>,
    /// Scoring after the last reply was sampled; `None` for methods that do not sample.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scoring: Option<f64>,
    /// Log-probs, gradients and optimizer.
    pub training: f64,
    /// The measurement after the step.
    pub evaluation: f64,
    /// Everything else since the record of the step before: journal, records, checkpoints.
    pub other: f64,
}

impl StepSeconds {
    /// Of a method that only trains.
    pub fn training(seconds: f64) -> Self {
        Self { training: seconds, ..Self::default() }
    }
}

impl From<PhaseSeconds> for StepSeconds {
    fn from(phases: PhaseSeconds) -> Self {
        let PhaseSeconds { sampling, scoring, training } = phases;
        Self { sampling: Some(sampling), scoring: Some(scoring), ..Self::training(training) }
    }
}

/// A measurement while training. The journal holds it, because it decides which checkpoints are kept.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Measurement {
    /// Held-out accuracy, from 0 to 1; for a reward model, the share of held-out pairs that it ranks right. `None` without
    /// held-out data, or where too many replies have no score.
    #[serde(default)]
    pub accuracy: Option<f64>,
    /// Number of held-out replies without a score; `None` where no replies were sampled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unscored: Option<usize>,
    /// Accuracy by kind of task.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub kinds: BTreeMap<String, f64>,
    /// The value that decides which checkpoint is best, more is better; `None` where too much of it is unknown.
    #[serde(default)]
    pub decides: Option<f64>,
    /// Results of suites, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub suites: BTreeMap<String, Value>,
}
