//! How the scores of several tools are combined: into a weighted sum, which gates (a reply that they score too low gets
//! at most 0) and vetoes (such a reply gets the worst score) overrule.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Outcome;

/// How a tool's score is combined with the scores of the other tools.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CombineAs {
    /// The tool's score, times a weight, is a term of the weighted sum.
    #[default]
    Term,
    /// A reply that the tool scores below `least` gets at most 0; where the range of scores does not contain 0, at most
    /// the end of the range that is nearest to 0.
    Gate,
    /// A reply that the tool scores below `least` gets the worst score of the range, whatever the other tools give.
    Veto,
}

impl CombineAs {
    // `skip_serializing_if` passes a reference.
    #[allow(clippy::trivially_copy_pass_by_ref)]
    pub(crate) fn is_term(&self) -> bool {
        *self == Self::Term
    }
}

/// One of several tools whose scores are combined, with its weight and its part in the combination. Lists of them make
/// up assignments (the tools of a prompt), composite tools, and `rewards.always` in a config.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WeightedTool {
    /// The tool's name in the library.
    pub tool: String,
    /// The factor of the tool's score in the weighted sum; without effect for gates and vetoes.
    #[serde(default = "one")]
    pub weight: f64,
    /// How the tool's score is combined with the scores of the other tools: as a term, a gate or a veto.
    #[serde(default, rename = "as", skip_serializing_if = "CombineAs::is_term")]
    pub combine: CombineAs,
    /// For gates and vetoes: the lowest score that lets a reply pass. When absent, it is the middle of the tool's
    /// range.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub least: Option<f64>,
}

fn one() -> f64 {
    1.0
}

impl WeightedTool {
    /// What is wrong with `least`, for a tool whose scores range from `low` to `high`; `None` when nothing is wrong.
    pub(crate) fn problem(&self, [low, high]: [f64; 2]) -> Option<String> {
        let least = self.least.filter(|_| !self.combine.is_term())?;
        (!(least > low && least <= high)).then(|| {
            format!("`least` is {least}; it must be above {low} and at most {high}, the range of the tool's scores")
        })
    }

    /// The lowest score with which a gate or a veto lets a reply pass: `least`, or else the middle between `low` and
    /// `high`, the ends of the tool's range.
    pub fn least(&self, [low, high]: [f64; 2]) -> f64 {
        self.least.unwrap_or_else(|| f64::midpoint(low, high))
    }
}

/// What the gates and vetoes of an assignment or a composite together decide about a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ruling {
    /// All gates and vetoes let the reply pass.
    Pass,
    /// At least one gate does not let the reply pass; all vetoes do.
    Closed,
    /// At least one veto does not let the reply pass.
    Vetoed,
}

impl std::fmt::Display for Ruling {
    /// Writes what the gates and vetoes did to a score: "a gate changed the score".
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str(match self {
            Self::Pass => "every gate and veto let the reply pass",
            Self::Closed => "a gate changed the score",
            Self::Vetoed => "a veto changed the score",
        })
    }
}

impl Ruling {
    /// The ruling of several tools about a reply. For each tool the iterator gives how it combines (as term, gate or
    /// veto), its `least`, and its outcome for the reply. A tool without a score has no influence.
    pub fn of<'o>(tools: impl Iterator<Item = (CombineAs, f64, &'o Outcome)>) -> Self {
        let mut ruling = Self::Pass;
        for (combine, least, outcome) in tools {
            let low = outcome.score().is_some_and(|s| s < least);
            match combine {
                CombineAs::Veto if low => return Self::Vetoed,
                CombineAs::Gate if low => ruling = Self::Closed,
                _ => {}
            }
        }
        ruling
    }

    /// The score of a term after the ruling. `low` and `high` are the ends of the range of the term's scores. A ruling
    /// never raises the weighted sum of a reply: it may lower the score of a term, or raise it if the weight is
    /// negative.
    pub fn apply(self, score: f64, [low, high]: [f64; 2], weight: f64) -> f64 {
        let zero = 0.0_f64.clamp(low, high);
        match self {
            Self::Pass => score,
            Self::Closed if weight < 0.0 => score.max(zero),
            Self::Closed => score.min(zero),
            Self::Vetoed if weight < 0.0 => high,
            Self::Vetoed => low,
        }
    }
}
