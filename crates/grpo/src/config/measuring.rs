//! Measuring before, after and while training.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::Method;

/// Measuring before, after and while training: held-out accuracy, and suites.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EvalConfig {
    /// Sampled answers per held-out example, at the training temperature.
    #[schemars(range(min = 1))]
    pub samples: usize,
    /// Held-out examples used, from the first; 0 is all.
    pub limit: usize,
    /// Suites that are sat as well.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub suites: Vec<Sitting>,
    /// Steps between measurements while training; 0 measures before and after only.
    pub every: u64,
    /// What decides which checkpoint is best, and when patience ends: `sampled` or `greedy` (held-out accuracy at the training
    /// temperature, or of the likeliest tokens), the name of a suite (its first figure), or `SUITE/FIGURE`, such as
    /// `humaneval/pass@1`.
    pub metric: Metric,
    /// The run stops when this many measurements in a row are no better than the best; 0 lets it go on.
    pub patience: u64,
}

impl Default for EvalConfig {
    fn default() -> Self {
        Self { samples: 2, limit: 0, suites: Vec::new(), every: 0, metric: Metric::Sampled, patience: 0 }
    }
}

impl EvalConfig {
    /// How many of `available` examples are used.
    pub fn examples(&self, available: usize) -> usize {
        if self.limit == 0 { available } else { self.limit.min(available) }
    }

    /// Values that are impossible together: key path and reason.
    pub fn problems(&self, has_heldout: bool, method: Method) -> Vec<(String, String)> {
        let mut found = Vec::new();
        let mut say = |key: &str, message: String| found.push((key.to_owned(), message));
        let has_suites = !self.suites.is_empty();
        let measures = (has_heldout || has_suites) && self.every > 0;
        if self.patience > 0 && !measures {
            say("eval.patience", "needs `data.heldout` or `eval.suites`, and `eval.every`".into());
        }
        if self.every > 0 && !has_heldout && !has_suites {
            say("eval.every", "needs `data.heldout` or `eval.suites`".into());
        }
        if has_suites && method == Method::RewardModel {
            say("eval.suites", "are for policies; a reward model is measured on `data.heldout`".into());
        }
        let metric = &self.metric;
        match metric {
            Metric::Suite(..) if !has_suites => {
                say(
                    "eval.metric",
                    format!("`{metric}` is neither `sampled` nor `greedy`, and there are no `eval.suites`"),
                );
            }
            Metric::Sampled | Metric::Greedy if measures && !has_heldout => {
                say("eval.metric", format!("`{metric}` needs `data.heldout`; name one of `eval.suites`"));
            }
            _ => {}
        }
        found
    }
}

/// A suite that is sat while training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sitting {
    /// One of rlar's own by name (`rlar eval --help` lists them), or a YAML file.
    pub suite: String,
    /// Only the first prompts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub limit: Option<usize>,
    /// Read these rows instead of those that the suite names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
}

/// What decides which checkpoint is best.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(from = "String", into = "String")]
#[schemars(with = "String")]
pub enum Metric {
    /// Held-out accuracy at the training temperature.
    Sampled,
    /// Held-out accuracy of the likeliest tokens.
    Greedy,
    /// A figure of a suite; its first where none is named.
    Suite(String, Option<String>),
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Sampled => f.write_str("sampled"),
            Self::Greedy => f.write_str("greedy"),
            Self::Suite(suite, None) => f.write_str(suite),
            Self::Suite(suite, Some(figure)) => write!(f, "{suite}/{figure}"),
        }
    }
}

impl From<Metric> for String {
    fn from(metric: Metric) -> Self {
        metric.to_string()
    }
}

impl From<String> for Metric {
    fn from(text: String) -> Self {
        match (text.as_str(), text.split_once('/')) {
            ("sampled", _) => Self::Sampled,
            ("greedy", _) => Self::Greedy,
            (_, Some((suite, figure))) => Self::Suite(suite.to_owned(), Some(figure.to_owned())),
            (suite, None) => Self::Suite(suite.to_owned(), None),
        }
    }
}
