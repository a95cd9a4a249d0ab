//! The record of a step: a training method returns it to the train loop, which writes it as a line of `metrics.jsonl`.

use std::collections::BTreeMap;
use std::fmt;

use rlar_run::percent;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::report::grpo_metrics::GrpoMetrics;

/// A line of `metrics.jsonl`. `docs/reference/run.md` explains every key. A value that cannot be known is `null`, not 0.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StepRecord {
    /// Number of the step, from 1.
    pub step: u64,
    /// Metrics of the step, which depend on the training method.
    #[serde(flatten)]
    pub metrics: StepMetrics,
    /// Seconds that the step spent in each phase.
    pub seconds: StepSeconds,
    /// The evaluation after this step; `None` if none was due.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eval: Option<Measurement>,
    /// Lines for people to read: drift alerts, and tools that agents replaced, since the last step. `None` for runs
    /// without language-model agents.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub news: Option<Vec<String>>,
    /// The hints that are given after the first steps; `None` in every other step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hints: Option<Vec<String>>,
}

/// The metrics of a step, by training method.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum StepMetrics {
    /// Metrics of reinforcement learning.
    Grpo(Box<GrpoMetrics>),
    /// Metrics of supervised fine-tuning.
    Sft(SftMetrics),
    /// Metrics of reward-model training.
    RewardModel(RewardModelMetrics),
}

/// Metrics of a step of supervised fine-tuning.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct SftMetrics {
    /// Mean negative log-prob of the tokens that are trained on, in nats.
    pub loss: f64,
    /// Norm of the gradient before clipping.
    pub grad_norm: f64,
    /// Learning rate of the step.
    pub learning_rate: f32,
    /// Number of tokens that are trained on; tokens of prompts do not count.
    pub tokens: usize,
}

/// Metrics of a step of reward-model training.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct RewardModelMetrics {
    /// Mean Bradley–Terry loss of the pairs, in nats.
    pub loss: f64,
    /// Share of the pairs in which the chosen reply scores higher.
    pub accuracy: f64,
    /// Mean over the pairs of the chosen reply's score minus the rejected reply's.
    pub margin: f64,
    /// Norm of the gradient before clipping.
    pub grad_norm: f64,
    /// Learning rate of the step.
    pub learning_rate: f32,
}

/// Seconds that a step of reinforcement learning spent in each phase. If phases run at the same time, a phase only
/// counts the time that the step waited for it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PhaseSeconds {
    /// Seconds of sampling, including the scoring done at the same time.
    pub sampling: f64,
    /// Seconds of scoring after the last reply was sampled.
    pub scoring: f64,
    /// Seconds of the policy update: log-probs, gradients and optimizer steps.
    pub training: f64,
}

/// Seconds that a step spent in each phase.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct StepSeconds {
    /// Seconds of sampling, including the scoring done at the same time; `None` for methods that do not sample.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sampling: Option<f64>,
    /// Seconds of scoring after the last reply was sampled; `None` for methods that do not sample.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scoring: Option<f64>,
    /// Seconds of the update: log-probs, gradients and optimizer steps.
    pub training: f64,
    /// Seconds of the evaluation after the step; 0 if none was due.
    pub evaluation: f64,
    /// Seconds of everything else since the record of the previous step: writing journal, records and checkpoints.
    pub other: f64,
}

impl StepSeconds {
    /// The times of a step without sampling, scoring and evaluation; `seconds` is the time of the update.
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

/// An evaluation during training. It is written to the journal, because it decides which checkpoints are kept.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Measurement {
    /// Held-out accuracy of a policy, from 0 to 1; for a reward model, the share of held-out pairs in which the chosen
    /// reply scores higher. `None` without held-out data, or if more replies than `rewards.failure_limit` allows got no
    /// score.
    #[serde(default)]
    pub accuracy: Option<f64>,
    /// Number of held-out replies that got no score; `None` if no held-out replies were sampled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unscored: Option<usize>,
    /// Held-out accuracy by kind of task, from 0 to 1; the key `all` is over every kind.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub kinds: BTreeMap<String, f64>,
    /// Value of `eval.metric`, by which checkpoints are compared. Higher is better: a metric that is better when lower
    /// is negated. `None` if too many replies got no score.
    #[serde(default)]
    pub decides: Option<f64>,
    /// Results of evaluation suites, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub suites: BTreeMap<String, Value>,
}

impl fmt::Display for Measurement {
    /// Writes the held-out accuracy or, without held-out data, the value of `eval.metric`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.accuracy, self.unscored, self.decides) {
            (Some(accuracy), _, _) => write!(f, "held-out accuracy {} %", percent(accuracy)),
            (None, Some(unscored), _) => write!(f, "held-out accuracy unknown: {unscored} replies have no score"),
            (None, None, Some(value)) => write!(f, "`eval.metric` is {:.4}", value.abs()),
            (None, None, None) => f.write_str("`eval.metric` is unknown"),
        }
    }
}
