//! The metrics that a suite can report, and what each metric needs.
//!
//! A new metric needs four additions: a variant of [`SuiteMetric`], an entry of [`SuiteMetric::ALL`], a line of
//! [`SuiteMetric::properties`], and its computation in [`metric_values`](super::metric_values).

use std::fmt;

use rlar_data::nearest;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A metric of a suite. In YAML files and tables it is written as its [`Display`](fmt::Display) form, such as
/// `pass@10`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub enum SuiteMetric {
    /// `accuracy`: the share of replies that are correct, which means that their score is at least one half.
    Accuracy,
    /// `score`: the mean score of the replies. Replies without a score are left out.
    Score,
    /// `pass@K`: the probability that at least one of `K` replies is correct, by the unbiased estimator of Chen et al.
    /// (2021), equation 1.
    Pass(usize),
    /// `maj@K`: the share of prompts for which the most frequent answer among `K` replies is correct (Wang et al.,
    /// 2023). A prompt with more than `K` replies contributes the mean over disjoint groups of `K` replies. Of equally
    /// frequent answers, the one that came first counts.
    Majority(usize),
    /// `bleu`: corpus BLEU, from 0 to 100.
    Bleu,
    /// `chrf`: corpus chrF, from 0 to 100.
    Chrf,
    /// `chrf++`: corpus chrF++, from 0 to 100.
    ChrfPlusPlus,
    /// `ter`: corpus translation edit rate, in percent. 0 is best.
    Ter,
    /// `ifeval`: the four accuracies of `IFEval`, which count prompts or instructions, each strictly and loosely.
    IfEval,
}

/// What a metric needs, and how to read its values.
// The booleans answer independent questions; an enum of states could not replace them.
#[allow(clippy::struct_excessive_bools)]
struct Properties {
    /// The metric's name in YAML files. `@K` at its end stands for a number of replies.
    name: &'static str,
    /// Names of the values, where the metric has several; empty where it has one value.
    parts: &'static [&'static str],
    /// Whether the values are shares from 0 to 1, which tables show as percentages.
    is_share: bool,
    /// Whether a greater value of the metric is better.
    higher_is_better: bool,
    /// Whether the metric needs scores of reward tools.
    needs_tools: bool,
    /// Whether prompts must have references. Overlap metrics compare replies with them; `maj@K` has the first tool
    /// compare replies with each other, which must be a tool that compares with references.
    needs_reference: bool,
}

/// The properties of a metric that is computed from the scores of reward tools; each such metric sets its own name.
const GRADED: Properties = Properties {
    name: "",
    parts: &[],
    is_share: true,
    higher_is_better: true,
    needs_tools: true,
    needs_reference: false,
};

/// The properties of a metric that compares the words or characters of replies with references, such as BLEU.
const OVERLAP: Properties = Properties { is_share: false, needs_tools: false, needs_reference: true, ..GRADED };

impl SuiteMetric {
    /// Every metric. `pass@K` and `maj@K` occur once, with `K` = 1.
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

    /// Number of replies per prompt that the metric needs: `K` for `pass@K` and `maj@K`, else 1.
    pub fn samples_needed(self) -> usize {
        match self {
            Self::Pass(k) | Self::Majority(k) => k,
            _ => 1,
        }
    }

    /// Whether the metric needs scores of reward tools.
    pub fn needs_tools(self) -> bool {
        self.properties().needs_tools
    }

    /// Whether the suite must have a reference for this metric, even if its tools need none.
    pub fn needs_reference(self) -> bool {
        self.properties().needs_reference
    }

    /// Whether the metric's values are shares from 0 to 1.
    pub fn is_share(self) -> bool {
        self.properties().is_share
    }

    /// Whether a greater value of the metric is better.
    pub fn higher_is_better(self) -> bool {
        self.properties().higher_is_better
    }

    /// Names of the metric's values: the metric's name, or one name for each of several values, such as `ifeval prompt
    /// strict`.
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
            let names = Self::ALL.map(|metric| metric.properties().name);
            let hint = nearest(&text, names.into_iter());
            format!("`{text}` is not a metric; possible: {}{hint}", names.join(", "))
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
