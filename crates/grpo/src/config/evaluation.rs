//! Section `eval`: evaluation before, during and after training.

use std::fmt;

use rlar_data::DataFiles;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Evaluation before, during and after training: accuracy on held-out prompts, and evaluation suites (benchmarks such
/// as `HumanEval`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EvalConfig {
    /// Number of replies that are sampled per held-out prompt, at the training temperature.
    #[schemars(range(min = 1))]
    pub samples: usize,
    /// Number of held-out prompts that are used, from the first one; 0 is all.
    pub limit: usize,
    /// Evaluation suites that are run in addition to the held-out prompts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub suites: Vec<SuiteRun>,
    /// Number of training steps between two evaluations; 0 evaluates only before and after training.
    pub every: u64,
    /// The metric that decides which checkpoint is best and when `patience` ends the run. `sampled` and `greedy` are
    /// held-out accuracy, of replies at the training temperature or of greedy replies. The name of a suite is the
    /// suite's first metric, and `SUITE/METRIC` another one, such as `humaneval/pass@1`.
    pub metric: CheckpointMetric,
    /// The run stops when this number of evaluations in a row were no better than the best one; 0 never stops the run.
    pub patience: u64,
}

impl Default for EvalConfig {
    fn default() -> Self {
        Self { samples: 2, limit: 0, suites: Vec::new(), every: 0, metric: CheckpointMetric::Sampled, patience: 0 }
    }
}

impl EvalConfig {
    /// Number of held-out prompts that are used when there are `available`.
    pub fn examples(&self, available: usize) -> usize {
        if self.limit == 0 { available } else { self.limit.min(available) }
    }
}

/// An evaluation suite that is run before, during and after training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SuiteRun {
    /// Name of a suite that comes with rlar (`rlar eval --help` lists them), or path of a YAML file.
    pub suite: String,
    /// Number of prompts of the suite that are used, from the first one; all when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub limit: Option<usize>,
    /// The files with the suite's rows, like those of `data.train`; when absent, the data that the suite names is used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<DataFiles>,
}

/// The metric that decides which checkpoint is best and when `eval.patience` ends the run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(from = "String", into = "String")]
#[schemars(with = "String")]
pub enum CheckpointMetric {
    /// Held-out accuracy of replies sampled at the training temperature.
    Sampled,
    /// Held-out accuracy of greedy replies.
    Greedy,
    /// One of the metrics of an evaluation suite.
    Suite {
        /// Name of the suite.
        suite: String,
        /// Name of the metric; `None` is the suite's first metric.
        metric: Option<String>,
    },
}

impl fmt::Display for CheckpointMetric {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Sampled => f.write_str("sampled"),
            Self::Greedy => f.write_str("greedy"),
            Self::Suite { suite, metric: None } => f.write_str(suite),
            Self::Suite { suite, metric: Some(metric) } => write!(f, "{suite}/{metric}"),
        }
    }
}

impl From<CheckpointMetric> for String {
    fn from(metric: CheckpointMetric) -> Self {
        metric.to_string()
    }
}

impl From<String> for CheckpointMetric {
    fn from(text: String) -> Self {
        match (text.as_str(), text.split_once('/')) {
            ("sampled", _) => Self::Sampled,
            ("greedy", _) => Self::Greedy,
            (_, Some((suite, metric))) => Self::Suite { suite: suite.to_owned(), metric: Some(metric.to_owned()) },
            (suite, None) => Self::Suite { suite: suite.to_owned(), metric: None },
        }
    }
}
