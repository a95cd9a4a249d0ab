//! How the scores of several tools are combined: a weighted sum, and gates and vetoes that overrule it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Outcome;

/// How a tool's score is combined with the scores of the other tools.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CombineAs {
    /// Its score is a term of the weighted sum.
    #[default]
    Term,
    /// A reply that it scores below `least` gets at most 0, or the score of the range that is nearest to 0.
    Gate,
    /// A reply that it scores below `least` gets the worst score of the range.
    Veto,
}

impl CombineAs {
    // `skip_serializing_if` passes a reference.
    #[allow(clippy::trivially_copy_pass_by_ref)]
    pub(crate) fn is_term(&self) -> bool {
        *self == Self::Term
    }
}

/// A tool with its weight and its part: in an assignment, a composite, or a config's list of tools.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WeightedTool {
    /// The tool's name in the library.
    pub tool: String,
    /// What a term's score is multiplied by; without effect for gates and vetoes.
    #[serde(default = "one")]
    pub weight: f64,
    /// How its score is combined with the others.
    #[serde(default, rename = "as", skip_serializing_if = "CombineAs::is_term")]
    pub part: CombineAs,
    /// Gates and vetoes: the lowest score that lets a reply pass; the middle of the tool's range when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub least: Option<f64>,
}

fn one() -> f64 {
    1.0
}

impl WeightedTool {
    /// What is wrong with `least` for a tool with this range, if anything is.
    pub(crate) fn problem(&self, [low, high]: [f64; 2]) -> Option<String> {
        let least = self.least.filter(|_| !self.part.is_term())?;
        (!(least > low && least <= high)).then(|| {
            format!("`least` is {least}; it must be above {low} and at most {high}, the range of the tool's scores")
        })
    }

    /// The lowest score that lets a reply pass, for a tool with this range.
    pub fn least(&self, [low, high]: [f64; 2]) -> f64 {
        self.least.unwrap_or_else(|| f64::midpoint(low, high))
    }
}

/// The decision of an assignment's gates and vetoes about a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ruling {
    /// All of them let it pass.
    Pass,
    /// A gate does not let it pass, and no veto objects.
    Closed,
    /// A veto does not let it pass.
    Vetoed,
}

impl Ruling {
    /// The ruling of parts, each with its `least` and its outcome. A part without a score has no influence.
    pub fn of<'o>(parts: impl Iterator<Item = (CombineAs, f64, &'o Outcome)>) -> Self {
        let mut ruling = Self::Pass;
        for (part, least, outcome) in parts {
            let low = outcome.score().is_some_and(|s| s < least);
            match part {
                CombineAs::Veto if low => return Self::Vetoed,
                CombineAs::Gate if low => ruling = Self::Closed,
                _ => {}
            }
        }
        ruling
    }

    /// Applies the ruling to the score of a term with this range and weight. It never makes the reply's total better, so a term
    /// with a negative weight is moved upwards.
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
