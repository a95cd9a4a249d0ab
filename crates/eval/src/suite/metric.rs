//! The metrics that a suite can report, and what each of them needs.
//!
//! A new metric is a variant, an entry of [`SuiteMetric::ALL`] and a line of [`SuiteMetric::properties`] here, and its
//! computation in
//! [`metric_values`](super::metric_values).

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A metric of a suite. YAML files and tables have its [`Display`](fmt::Display) form, such as `pass@10`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub enum SuiteMetric {
    /// The share of replies that are correct.
    Accuracy,
    /// The mean score of the replies.
    Score,
    /// The probability that at least one of `k` replies is correct: the unbiased estimator of Chen et al. (2021), equation 1.
    Pass(usize),
    /// The share of prompts whose most frequent answer among `k` replies is correct (Wang et al., 2023). With more than `k`
    /// replies, the mean over disjoint groups of `k`. Among equally frequent answers the earliest counts.
    Majority(usize),
    /// Corpus BLEU, from 0 to 100.
    Bleu,
    /// Corpus chrF, from 0 to 100.
    Chrf,
    /// Corpus chrF++, from 0 to 100.
    ChrfPlusPlus,
    /// Corpus translation edit rate, in percent: 0 is best.
    Ter,
    /// The four accuracies of `IFEval`: per prompt and per instruction, strict and loose.
    IfEval,
}

/// What a metric needs and how its values read.
// Each is a question of its own, not a state.
#[allow(clippy::struct_excessive_bools)]
struct Properties {
    /// Its name; `@K` at the end stands for a number of replies.
    name: &'static str,
    /// The parts that have a value of their own; empty where the metric is one value.
    parts: &'static [&'static str],
    /// Whether its values are shares from 0 to 1, which tables show as percentages.
    is_share: bool,
    /// Whether a greater value is better.
    higher_is_better: bool,
    /// Whether reward tools have to grade the replies.
    needs_tools: bool,
    /// Whether it compares replies with the reference itself, or has a tool compare them with each other.
    needs_reference: bool,
}

/// A metric that reward tools decide.
const GRADED: Properties = Properties {
    name: "",
    parts: &[],
    is_share: true,
    higher_is_better: true,
    needs_tools: true,
    needs_reference: false,
};

/// A metric of the overlap with references.
const OVERLAP: Properties = Properties { is_share: false, needs_tools: false, needs_reference: true, ..GRADED };

impl SuiteMetric {
    /// Every metric, with 1 for K.
    const ALL: [Self; 9] = [
        Self::Accuracy,
        Self::Score,
        Self::Pass(1),
        Self::Majority(1),
        Self::Bleu,
        Self::Chrf,
        Self::ChrfPlusPlus,
        Self::Ter,
        Self::IfEval,
    ];

    fn properties(self) -> Properties {
        match self {
            Self::Accuracy => Properties { name: "accuracy", ..GRADED },
            Self::Score => Properties { name: "score", is_share: false, ..GRADED },
            Self::Pass(_) => Properties { name: "pass@K", ..GRADED },
            Self::Majority(_) => Properties { name: "maj@K", needs_reference: true, ..GRADED },
            Self::Bleu => Properties { name: "bleu", ..OVERLAP },
            Self::Chrf => Properties { name: "chrf", ..OVERLAP },
            Self::ChrfPlusPlus => Properties { name: "chrf++", ..OVERLAP },
            Self::Ter => Properties { name: "ter", higher_is_better: false, ..OVERLAP },
            Self::IfEval => Properties {
                name: "ifeval",
                parts: &["prompt strict", "instruction strict", "prompt loose", "instruction loose"],
                needs_tools: false,
                ..GRADED
            },
        }
    }

    /// Replies per prompt that it needs.
    pub fn samples_needed(self) -> usize {
        match self {
            Self::Pass(k) | Self::Majority(k) => k,
            _ => 1,
        }
    }

    /// Whether reward tools have to grade the replies.
    pub fn needs_tools(self) -> bool {
        self.properties().needs_tools
    }

    /// Whether the suite must have a reference, whatever its tools need.
    pub fn needs_reference(self) -> bool {
        self.properties().needs_reference
    }

    /// Whether its values are shares from 0 to 1.
    pub fn is_share(self) -> bool {
        self.properties().is_share
    }

    /// Whether a greater value is better.
    pub fn higher_is_better(self) -> bool {
        self.properties().higher_is_better
    }

    /// Names of its values: its own, or one per part, such as `ifeval prompt strict`.
    pub fn value_names(self) -> Vec<String> {
        match self.properties().parts {
            [] => vec![self.to_string()],
            parts => parts.iter().map(|part| format!("{self} {part}")).collect(),
        }
    }
}

impl fmt::Display for SuiteMetric {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let name = self.properties().name;
        match name.strip_suffix('K') {
            Some(stem) => write!(f, "{stem}{}", self.samples_needed()),
            None => f.write_str(name),
        }
    }
}

impl From<SuiteMetric> for String {
    fn from(metric: SuiteMetric) -> Self {
        metric.to_string()
    }
}

impl TryFrom<String> for SuiteMetric {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let number_after =
            |stem: &str| text.strip_prefix(stem)?.parse::<usize>().ok().filter(|k| (1..=10_000).contains(k));
        let parsed = Self::ALL.into_iter().find_map(|metric| match metric {
            Self::Pass(_) => number_after("pass@").map(Self::Pass),
            Self::Majority(_) => number_after("maj@").map(Self::Majority),
            metric => (metric.properties().name == text).then_some(metric),
        });
        parsed.ok_or_else(|| {
            let names = Self::ALL.map(|metric| metric.properties().name).join(", ");
            format!("`{text}` is not a metric; possible: {names}")
        })
    }
}

/// The probability that at least one of `k` replies is correct, estimated from `n` replies of which `correct` are:
/// 1 − C(n − correct, k) / C(n, k).
pub fn pass_at(k: usize, n: usize, correct: usize) -> f64 {
    let wrong = n - correct;
    if wrong < k {
        return 1.0;
    }
    1.0 - (wrong + 1..=n).map(|i| 1.0 - k as f64 / i as f64).product::<f64>()
}
