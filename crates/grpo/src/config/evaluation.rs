//! `eval`: evaluation before, after and while training.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Evaluation before, after and while training: held-out accuracy, and suites.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EvalConfig {
    /// Sampled replies per held-out prompt, at the training temperature.
    #[schemars(range(min = 1))]
    pub samples: usize,
    /// Number of held-out prompts used, from the first; 0 is all.
    pub limit: usize,
    /// Suites that are run as well.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub suites: Vec<SuiteRun>,
    /// Steps between evaluations while training; 0 evaluates before and after only.
    pub every: u64,
    /// The metric that decides which checkpoint is best and when `patience` ends the run: `sampled` or `greedy` (held-out
    /// accuracy at the training temperature, or of greedy replies), the name of a suite (its first metric), or `SUITE/METRIC`,
    /// such as `humaneval/pass@1`.
    pub metric: CheckpointMetric,
    /// The run stops when this many evaluations in a row are no better than the best; 0 never stops it.
    pub patience: u64,
}

impl Default for EvalConfig {
    fn default() -> Self {
        Self { samples: 2, limit: 0, suites: Vec::new(), every: 0, metric: CheckpointMetric::Sampled, patience: 0 }
    }
}

impl EvalConfig {
    /// How many of `available` prompts are used.
    pub fn examples(&self, available: usize) -> usize {
        if self.limit == 0 { available } else { self.limit.min(available) }
    }
}

/// A suite that is run before, after and while training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SuiteRun {
    /// The name of a suite that comes with rlar (`rlar eval --help` lists them), or a YAML file.
    pub suite: String,
    /// Number of prompts used, from the first; all when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub limit: Option<usize>,
    /// A file with the rows, instead of the data that the suite names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
}

/// The metric that decides which checkpoint is best.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(from = "String", into = "String")]
#[schemars(with = "String")]
pub enum CheckpointMetric {
    /// Held-out accuracy at the training temperature.
    Sampled,
    /// Held-out accuracy of greedy replies.
    Greedy,
    /// A metric of a suite.
    Suite {
        /// The suite's name.
        suite: String,
        /// The metric's name; the suite's first when absent.
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
