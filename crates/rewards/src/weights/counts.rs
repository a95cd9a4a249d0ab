//! How often a tool ranks labelled pairs of replies right.

use serde::{Deserialize, Serialize};

/// Counts of labelled pairs of replies to the same prompt, one of which is known to be better, that a tool has ranked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PairCounts {
    /// Number of pairs. It need not be whole: the pairs of one prompt together count as at most 1, because they are not
    /// independent.
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

    /// Adds other counts of the same tool.
    pub fn add(&mut self, other: Self) {
        self.pairs += other.pairs;
        self.right += other.right;
    }

    /// The counts of one prompt: of all pairs of its replies that have different labels and a score of the tool. A pair
    /// weighs the difference of its labels, divided by the number of such pairs. `labels` are from 0 to 1, in the order
    /// of `scores`; a reply without a label or a score is left out. No pairs if there are none.
    pub fn of_group(scores: &[Option<f64>], labels: &[Option<f64>]) -> Self {
        let (mut sums, mut pairs) = (Self::default(), 0.0_f64);
        let known: Vec<(f64, f64)> = scores.iter().zip(labels).filter_map(|(s, l)| (*s).zip(*l)).collect();
        for (better_score, better) in &known {
            for (worse_score, worse) in known.iter().filter(|(_, worse)| worse < better) {
                let right = match better_score.total_cmp(worse_score) {
                    _ if better_score == worse_score => 0.5,
                    std::cmp::Ordering::Greater => 1.0,
                    _ => 0.0,
                };
                pairs += 1.0;
                sums.add(Self { pairs: better - worse, right: (better - worse) * right });
            }
        }
        Self { pairs: sums.pairs / pairs.max(1.0), right: sums.right / pairs.max(1.0) }
    }
}
