//! Labelled pairs of replies: what is known about which reply to a prompt is better, and how the tools scored the two.

use serde::{Deserialize, Serialize};

/// Two replies to a prompt, of which one is known to be better.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LabelledPair {
    /// For each tool, the score of the better reply minus that of the worse one, in the unit of the tool; `None` where the
    /// tool did not score both. Tools behind the end of the list did not, either.
    pub differences: Vec<Option<f64>>,
    /// How much the pair counts. The pairs of one prompt together count as at most 1, because they are not independent.
    pub weight: f64,
}

impl LabelledPair {
    /// All pairs of replies of a group that have different labels. A pair weighs the difference of its labels, divided by
    /// the number of pairs. `scores` is `[tool][reply]`; `labels` are from 0 to 1, `None` for a reply without one.
    pub fn of_group(scores: &[Vec<Option<f64>>], labels: &[Option<f64>]) -> Vec<Self> {
        let mut pairs = Vec::new();
        for (a, better) in labels.iter().enumerate() {
            for (b, worse) in labels.iter().enumerate() {
                if let (Some(better), Some(worse)) = (better, worse)
                    && better > worse
                {
                    let difference = |of_tool: &Vec<Option<f64>>| Some((*of_tool.get(a)?)? - (*of_tool.get(b)?)?);
                    let differences = scores.iter().map(difference).collect();
                    pairs.push(Self { differences, weight: better - worse });
                }
            }
        }
        let share = 1.0 / pairs.len().max(1) as f64;
        for pair in &mut pairs {
            pair.weight *= share;
        }
        pairs
    }
}

/// How often a tool ranked pairs of a good and a bad reply right, where the pairs themselves are not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PairCounts {
    /// Number of pairs; it need not be whole.
    pub pairs: f64,
    /// Number of pairs in which the tool scored the better reply higher; a pair with equal scores counts as half.
    pub right: f64,
}

impl PairCounts {
    /// Counts for the probability `auc`, from 0 to 1, that a good reply scores above a bad one to the same prompt, which
    /// was measured on as many prompts as `pairs` says.
    pub fn from_auc(auc: f64, pairs: f64) -> Self {
        Self { pairs, right: auc * pairs }
    }
}
