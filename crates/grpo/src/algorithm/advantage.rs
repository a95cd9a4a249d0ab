//! Advantages: how much better a reply is than the others of its group.
//!
//! A reply without a score from every tool has no advantage and enters no baseline; a group with fewer than two scored
//! replies has none at all.

// Scores are the same or they are not: a margin would make a difference of a small one.
#![allow(clippy::float_cmp)]

use crate::config::{Algorithm, Combine, Estimator};

/// What is added to a standard deviation before dividing by it.
const EPSILON: f64 = 1e-4;

/// The replies to one prompt, as the tools see them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Group {
    /// Per tool its weight and every reply's score.
    pub tools: Vec<(f64, Vec<Option<f64>>)>,
    /// Every reply's length, in tokens.
    pub lengths: Vec<usize>,
}

impl Group {
    /// The group with replies that any tool left without a score left out for all of them.
    fn whole(&self) -> Self {
        let kept = |i: usize| self.tools.iter().all(|(_, scores)| scores[i].is_some());
        let kept: Vec<bool> = (0..self.lengths.len()).map(kept).collect();
        let tools = self
            .tools
            .iter()
            .map(|(weight, scores)| (*weight, scores.iter().zip(&kept).map(|(s, kept)| s.filter(|_| *kept)).collect()));
        Self { tools: tools.collect(), lengths: self.lengths.clone() }
    }

    /// Tools that add to the sums; gates and vetoes do not.
    fn terms(&self) -> usize {
        self.tools.iter().filter(|(weight, _)| *weight != 0.0).count()
    }

    /// The weighted sums of the tools' scores.
    fn totals(&self) -> Vec<Option<f64>> {
        // What nobody was asked about has no sum.
        let known = |i: &usize| !self.tools.is_empty() && *i < self.lengths.len();
        let sum = |i: usize| self.tools.iter().map(|(weight, scores)| scores[i].map(|s| s * weight)).sum();
        let total = |i: usize| Some(i).filter(known).and_then(sum);
        (0..self.lengths.len()).map(total).collect()
    }

    /// The group with what its advantages are taken of: every tool's scores, or their weighted sums as one tool's.
    fn combined(&self, combine: Combine) -> Self {
        let whole = self.whole();
        match combine {
            Combine::NormaliseThenSum => whole,
            Combine::SumThenNormalise => Self { tools: vec![(1.0, whole.totals())], lengths: whole.lengths },
        }
    }

    /// Whether its scored replies differ in anything that makes an advantage.
    pub fn has_spread(&self, combine: Combine) -> bool {
        self.combined(combine).tools.iter().any(|(weight, scores)| {
            let mut known = scores.iter().flatten();
            *weight != 0.0 && known.next().is_some_and(|first| known.any(|s| !alike(*s, *first)))
        })
    }
}

/// The advantages of every reply of a batch of groups.
pub fn advantages(groups: &[Group], algorithm: &Algorithm) -> Vec<Vec<Option<f64>>> {
    let combined: Vec<Group> = groups.iter().map(|g| g.combined(algorithm.combine)).collect();
    let by_tool = |g: &Group| {
        let tools = g.tools.iter().map(|(weight, scores)| (*weight, in_group(scores, algorithm))).collect();
        Group { tools, lengths: g.lengths.clone() }.totals()
    };
    let mut advantages: Vec<Vec<Option<f64>>> = combined.iter().map(by_tool).collect();
    match algorithm.advantage {
        Estimator::GrpoBatchStd => {
            let totals: Vec<f64> = combined.iter().flat_map(Group::totals).flatten().collect();
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
        // GDPO normalises the sums over the batch once more; one tool's advantages are left as GRPO has them.
        Estimator::Grpo if combined.iter().any(|g| g.terms() > 1) => {
            let known: Vec<f64> = advantages.iter().flatten().flatten().copied().collect();
            let (_, deviation) = moments(&known);
            // Every group's sum is 0, so their mean is but rounding.
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

/// Whether two scores are the same but for rounding in their sums.
fn alike(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-12 * a.abs().max(b.abs())
}

/// What can be said of scores from their own group.
fn in_group(scores: &[Option<f64>], algorithm: &Algorithm) -> Vec<Option<f64>> {
    let known: Vec<f64> = scores.iter().flatten().copied().collect();
    if known.len() < 2 {
        return vec![None; scores.len()];
    }
    // Rounding in the mean must not pass for a difference.
    if known.iter().all(|s| alike(*s, known[0])) {
        return scores.iter().map(|s| s.map(|_| 0.0)).collect();
    }
    let n = known.len() as f64;
    let (mean, deviation) = moments(&known);
    let each = |of: &dyn Fn(f64) -> f64| scores.iter().map(|s| s.map(of)).collect();
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

/// What a reply adds, on average, to the best of `k` replies of which it is one. Sorted by score, the `j`-th of the
/// others is the best of the other `k − 1` with probability `C(j, k − 2) / C(n − 1, k − 1)`, j from 0.
fn pass_at_k(scores: &[Option<f64>], known: &[f64], k: usize) -> Vec<Option<f64>> {
    let mut sorted = known.to_vec();
    sorted.sort_by(f64::total_cmp);
    let others = sorted.len() - 1;
    let weights: Vec<f64> = (0..others).map(|j| choose_ratio(j, others, k)).collect();
    let of = |s: f64| {
        let own = sorted.iter().position(|x| *x == s).unwrap_or(0);
        let rest = sorted.iter().enumerate().filter(|(i, _)| *i != own).map(|(_, x)| *x);
        rest.zip(&weights).map(|(other, w)| w * (s - other).max(0.0)).sum()
    };
    scores.iter().map(|s| s.map(of)).collect()
}

/// `C(j, k − 2) / C(others, k − 1)`, without leaving the range of floats.
fn choose_ratio(j: usize, others: usize, k: usize) -> f64 {
    if j + 2 < k {
        return 0.0;
    }
    // C(j, k−2) / C(others, k−1) = (k−1)/others · Π_{i<k−2} (j − i)/(others − 1 − i)
    let product: f64 = (0..k - 2).map(|i| (j - i) as f64 / (others - 1 - i) as f64).product();
    (k - 1) as f64 / others as f64 * product
}

/// Mean and sample standard deviation.
pub fn moments(x: &[f64]) -> (f64, f64) {
    let n = x.len() as f64;
    if x.len() < 2 {
        return (x.iter().sum::<f64>() / n.max(1.0), 0.0);
    }
    let mean = x.iter().sum::<f64>() / n;
    let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (n - 1.0);
    (mean, variance.sqrt())
}
