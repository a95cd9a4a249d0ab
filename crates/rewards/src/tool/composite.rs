//! Composition: sums of tools, and tools that overrule the sum.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Outcome;

/// How a tool's score is combined with the scores of the other tools.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CombineAs {
    /// Its score is added, with its weight.
    #[default]
    Term,
    /// A reply that it scores too low gets nothing: 0, the score of the range that is nearest to it, or less.
    Gate,
    /// A reply that it scores too low gets the worst score.
    Veto,
}

impl CombineAs {
    // As serde asks it.
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
    /// Gates and vetoes: the least score that lets a reply pass; the middle of the tool's range when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub least: Option<f64>,
}

fn one() -> f64 {
    1.0
}

impl WeightedTool {
    /// Why it cannot rule beside others, of a tool with this range, if so.
    pub(crate) fn problem(&self, [low, high]: [f64; 2]) -> Option<String> {
        let least = self.least.filter(|_| !self.part.is_term())?;
        (!(least > low && least <= high)).then(|| {
            format!("`least` is {least}; of a tool whose scores are from {low} to {high} it lies above the one and not above the other")
        })
    }

    /// The least score that lets a reply pass, of a tool with this range.
    pub fn least(&self, [low, high]: [f64; 2]) -> f64 {
        self.least.unwrap_or_else(|| f64::midpoint(low, high))
    }
}

/// What gates and vetoes make of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ruling {
    /// Every one of them lets it pass.
    Pass,
    /// A gate does not.
    Closed,
    /// A veto does not.
    Vetoed,
}

impl Ruling {
    /// The ruling of parts with their least scores and what they said; of a part without a score none.
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

    /// What becomes of a score in a range that counts with a weight: never anything better than it was.
    pub fn apply(self, score: f64, [low, high]: [f64; 2], weight: f64) -> f64 {
        let nothing = 0.0_f64.clamp(low, high);
        match self {
            Self::Pass => score,
            Self::Closed if weight < 0.0 => score.max(nothing),
            Self::Closed => score.min(nothing),
            Self::Vetoed if weight < 0.0 => high,
            Self::Vetoed => low,
        }
    }
}
