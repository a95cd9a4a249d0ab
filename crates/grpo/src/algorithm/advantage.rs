//! Advantages: how much better a reply is than the other replies to its prompt.
//!
//! A reply that any of its tools gave no score has no advantage and does not enter the group's baseline. In a group
//! with fewer than two fully scored replies no reply has an advantage. So a missing score is never trained on as a 0.

// Exact comparisons are meant: weights with 0, and scores with their own copies. Scores of different replies use
// `is_equal`.
#![allow(clippy::float_cmp)]

use crate::config::{Algorithm, Combine, Estimator};

/// Added to a standard deviation before dividing by it, so that a tiny deviation does not give a huge advantage.
const EPSILON: f64 = 1e-4;

/// One tool's scores of the replies to one prompt.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ScoreColumn {
    /// Weight of the tool in the weighted sum of scores; 0 for gates and vetoes, which have already changed the other
    /// tools' scores.
    pub weight: f64,
    /// One score per reply; `None` where the tool gave the reply no score.
    pub scores: Vec<Option<f64>>,
}

/// The scores of a group, that is, of all replies to one prompt.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GroupScores {
    /// The scores of each tool of the prompt, one column per tool.
    pub tools: Vec<ScoreColumn>,
    /// Length of each reply, in tokens.
    pub lengths: Vec<usize>,
}

impl GroupScores {
    /// A copy of the group in which a reply that lacks any tool's score has no score from any tool (`None` in every
    /// column).
    fn fully_scored(&self) -> Self {
        let kept = |i: usize| self.tools.iter().all(|tool| tool.scores[i].is_some());
        let kept: Vec<bool> = (0..self.lengths.len()).map(kept).collect();
        let tools = self.tools.iter().map(|tool| {
            let scores = tool.scores.iter().zip(&kept).map(|(s, kept)| s.filter(|_| *kept)).collect();
            ScoreColumn { weight: tool.weight, scores }
        });
        Self { tools: tools.collect(), lengths: self.lengths.clone() }
    }

    /// Number of tools with a weight other than 0 in the weighted sum; gates and vetoes have weight 0.
    fn terms(&self) -> usize {
        self.tools.iter().filter(|tool| tool.weight != 0.0).count()
    }

    /// The weighted sum of the tools' scores, per reply; `None` where any tool gave no score, or where there are no
    /// tools.
    fn totals(&self) -> Vec<Option<f64>> {
        let known = |i: &usize| !self.tools.is_empty() && *i < self.lengths.len();
        let sum = |i: usize| self.tools.iter().map(|tool| tool.scores[i].map(|s| s * tool.weight)).sum();
        let total = |i: usize| Some(i).filter(known).and_then(sum);
        (0..self.lengths.len()).map(total).collect()
    }

    /// The columns that are normalised within the group: with `normalise_then_sum` one per tool; with
    /// `sum_then_normalise` a single column, the weighted sums.
    fn combined(&self, combine: Combine) -> Self {
        let scored = self.fully_scored();
        match combine {
            Combine::NormaliseThenSum => scored,
            Combine::SumThenNormalise => {
                Self { tools: vec![ScoreColumn { weight: 1.0, scores: scored.totals() }], lengths: scored.lengths }
            }
        }
    }

    /// Whether the group has spread: at least two scored replies have different scores, so that some advantage is not
    /// 0. `combine` says whether each tool's scores are compared, or their weighted sums.
    pub fn has_spread(&self, combine: Combine) -> bool {
        self.combined(combine).tools.iter().any(|tool| {
            let mut known = tool.scores.iter().flatten();
            tool.weight != 0.0 && known.next().is_some_and(|first| known.any(|s| !is_equal(*s, *first)))
        })
    }
}

/// The advantage of every reply, by group. It is `None` for a reply that any tool gave no score, and for all replies of
/// a group with fewer than two fully scored ones.
///
/// With several tools and the defaults (`grpo`, `normalise_then_sum`) this is GDPO (Liu et al., 2026): each tool's
/// scores are normalised within the group, and their weighted sums are normalised again over the batch.
pub fn advantages(groups: &[GroupScores], algorithm: &Algorithm) -> Vec<Vec<Option<f64>>> {
    let combined: Vec<GroupScores> = groups.iter().map(|g| g.combined(algorithm.combine)).collect();
    let summed = |g: &GroupScores| {
        let normalised =
            |tool: &ScoreColumn| ScoreColumn { weight: tool.weight, scores: within_group(&tool.scores, algorithm) };
        GroupScores { tools: g.tools.iter().map(normalised).collect(), lengths: g.lengths.clone() }.totals()
    };
    let mut advantages: Vec<Vec<Option<f64>>> = combined.iter().map(summed).collect();
    match algorithm.advantage {
        Estimator::GrpoBatchStd => {
            let totals: Vec<f64> = combined.iter().flat_map(GroupScores::totals).flatten().collect();
            let (_, deviation) = moments(&totals);
            rescale(&mut advantages, 0.0, deviation + EPSILON);
        }
        Estimator::ReinforcePlusPlusBaseline => {
            let lengths = combined.iter().flat_map(|g| &g.lengths);
            let known = advantages.iter().flatten().zip(lengths).filter_map(|(a, n)| a.map(|a| (a, *n)));
            let tokens: Vec<f64> = known.flat_map(|(a, n)| std::iter::repeat_n(a, n)).collect();
            let (mean, deviation) = moments(&tokens);
            rescale(&mut advantages, mean, (deviation.powi(2) + 1e-8).sqrt());
        }
        // GDPO: the sums of several tools are normalised over the batch once more. With one tool this is plain GRPO.
        Estimator::Grpo if combined.iter().any(|g| g.terms() > 1) => {
            let known: Vec<f64> = advantages.iter().flatten().flatten().copied().collect();
            let (_, deviation) = moments(&known);
            // The advantages of every group sum to 0, so their mean over the batch is 0 up to rounding.
            rescale(&mut advantages, 0.0, deviation + EPSILON);
        }
        _ => {}
    }
    advantages
}

fn rescale(advantages: &mut [Vec<Option<f64>>], mean: f64, divisor: f64) {
    for a in advantages.iter_mut().flatten().flatten() {
        *a = (*a - mean) / divisor;
    }
}

/// Whether two scores are equal, apart from the rounding errors of a weighted sum.
fn is_equal(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-12 * a.abs().max(b.abs())
}

/// Advantages of one column of scores within its group; all `None` where fewer than two scores are known.
fn within_group(scores: &[Option<f64>], algorithm: &Algorithm) -> Vec<Option<f64>> {
    let known: Vec<f64> = scores.iter().flatten().copied().collect();
    if known.len() < 2 {
        return vec![None; scores.len()];
    }
    // Equal scores give exactly 0; subtracting a rounded mean would leave a tiny difference.
    if known.iter().all(|s| is_equal(*s, known[0])) {
        return scores.iter().map(|s| s.map(|_| 0.0)).collect();
    }
    let n = known.len() as f64;
    let (mean, deviation) = moments(&known);
    let each = |advantage: &dyn Fn(f64) -> f64| scores.iter().map(|s| s.map(advantage)).collect();
    match algorithm.advantage {
        Estimator::Grpo => each(&|s| (s - mean) / (deviation + EPSILON)),
        Estimator::GrpoBatchStd | Estimator::DrGrpo | Estimator::ReinforcePlusPlusBaseline => each(&|s| s - mean),
        Estimator::Rloo => each(&|s| (s - mean) * n / (n - 1.0)),
        Estimator::MaxRl => each(&|s| (s - mean) / mean),
        Estimator::PassAtK => {
            let k = if algorithm.pass_k == 0 { scores.len() } else { algorithm.pass_k };
            pass_at_k(scores, &known, k.min(known.len()))
        }
    }
}

/// pass@k advantages: how much a reply raises, on average, the best score of `k` replies that contain it. Of the
/// `n − 1` other replies, `k − 1` are drawn. With the others sorted by score, the `j`-th (from 0) is the best drawn one
/// with probability `C(j, k − 2) / C(n − 1, k − 1)`.
fn pass_at_k(scores: &[Option<f64>], known: &[f64], k: usize) -> Vec<Option<f64>> {
    let mut sorted = known.to_vec();
    sorted.sort_by(f64::total_cmp);
    let others = sorted.len() - 1;
    let weights: Vec<f64> = (0..others).map(|j| choose_ratio(j, others, k)).collect();
    let gain = |s: f64| {
        let this = sorted.iter().position(|x| *x == s).unwrap_or(0);
        let rest = sorted.iter().enumerate().filter(|(i, _)| *i != this).map(|(_, x)| *x);
        rest.zip(&weights).map(|(other, w)| w * (s - other).max(0.0)).sum()
    };
    scores.iter().map(|s| s.map(gain)).collect()
}

/// The ratio of binomial coefficients `C(j, k − 2) / C(others, k − 1)`, as a product of ratios so that neither
/// overflows.
fn choose_ratio(j: usize, others: usize, k: usize) -> f64 {
    if j + 2 < k {
        return 0.0;
    }
    // C(j, k−2) / C(others, k−1) = (k−1)/others · Π_{i<k−2} (j − i)/(others − 1 − i)
    let product: f64 = (0..k - 2).map(|i| (j - i) as f64 / (others - 1 - i) as f64).product();
    (k - 1) as f64 / others as f64 * product
}

/// Mean and sample standard deviation (divisor `n − 1`). The deviation is 0 for fewer than two numbers; the mean of
/// none is 0.
pub fn moments(x: &[f64]) -> (f64, f64) {
    let n = x.len() as f64;
    if x.len() < 2 {
        return (x.iter().sum::<f64>() / n.max(1.0), 0.0);
    }
    let mean = x.iter().sum::<f64>() / n;
    let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (n - 1.0);
    (mean, variance.sqrt())
}
