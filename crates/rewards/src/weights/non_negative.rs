//! The non-negative weights themselves: from agreement and labelled pairs to one weight per task and tool.

use std::f64::consts::SQRT_2;

use serde::{Deserialize, Serialize};

use super::posterior::{Posterior, StandardisedPair};
use super::{Agreement, LabelledPair, PairCounts, loadings};

/// Strength of the penalty that draws the pooled weights to those without labels, and the weights of a task to the pooled
/// ones. The loss is a sum in which each prompt weighs at most 1.
const RIDGE: f64 = 10.0;

/// Deviation within groups of the weighted sum of standardised scores before the first label. It says how much the
/// agreement of the tools is trusted: a difference of one deviation then has odds of `exp(0.3)` to be right.
const PRIOR_DEVIATION: f64 = 0.3;

/// Two tools whose scores correlate at least this much within groups count as one tool.
const DUPLICATE: f64 = 0.98;

/// What is known of one task.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TaskPairs {
    /// Whether each tool scores the task, in the order of the tools of the [`Agreement`]; the others get the weight 0.
    pub scored: Vec<bool>,
    /// Labelled pairs of replies.
    pub pairs: Vec<LabelledPair>,
    /// For each tool, counts of further pairs, such as those of its admission checks.
    pub counts: Vec<PairCounts>,
}

/// The weight of a tool for a task.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ToolWeight {
    /// The share of the tool in the weighted sum of the scores, from 0 to 1. Scores must be divided by
    /// [`Agreement::deviations`], or be standardised within groups.
    pub weight: f64,
    /// Lower end of the 95 % interval of the weight.
    pub low: f64,
    /// Upper end of the 95 % interval of the weight.
    pub high: f64,
}

/// The fitted model: tools merged where they repeat each other, with the posterior of their weights in each task.
#[derive(Clone, Debug)]
pub struct NonNegativeFit {
    /// For each tool, the index of the merged tool that it belongs to.
    merged: Vec<usize>,
    /// Whether each tool scores each task, `[task][tool]`.
    scored: Vec<Vec<bool>>,
    /// The posterior of each task, over the merged tools.
    tasks: Vec<Posterior>,
}

impl NonNegativeFit {
    /// Fits the model, by the steps in the description of this module. Every list in `tasks` that has an entry per tool is
    /// in the order of the tools of `agreement`.
    pub fn new(agreement: &Agreement, tasks: &[TaskPairs]) -> Self {
        let correlations = agreement.correlations();
        let merged = merge_duplicates(&correlations);
        let size = merged.iter().max().map_or(0, |last| last + 1);
        let prior = prior(&merged_correlations(&correlations, &merged, size));
        let deviations = agreement.deviations();
        let standardised = |task: &TaskPairs| standardised_pairs(task, &deviations, &merged, size);
        let pairs: Vec<Vec<StandardisedPair>> = tasks.iter().map(standardised).collect();
        let pooled = Posterior::fit(pairs.iter().flatten(), &prior, RIDGE).mode;
        let tasks_fitted = pairs.iter().map(|of_task| Posterior::fit(of_task.iter(), &pooled, RIDGE)).collect();
        Self { merged, scored: tasks.iter().map(|t| t.scored.clone()).collect(), tasks: tasks_fitted }
    }

    /// The weights of the tools in a task, which sum to 1. If all weights are 0, because no tool is better than chance, the
    /// tools that score the task have equal ones.
    pub fn weights(&self, task: usize) -> Vec<f64> {
        self.shares(task, &self.tasks[task].mode)
    }

    /// The weights of a task's tools with their 95 % intervals: percentiles over `draws` draws from the normal
    /// approximation of the posterior. `normal` gives standard normal random numbers.
    pub fn intervals(&self, task: usize, draws: usize, normal: &mut dyn FnMut() -> f64) -> Vec<ToolWeight> {
        let posterior = &self.tasks[task];
        let drawn: Vec<Vec<f64>> = (0..draws).map(|_| self.shares(task, &posterior.draw(normal))).collect();
        let interval = |(tool, weight): (usize, f64)| {
            let mut of_tool: Vec<f64> = drawn.iter().map(|weights| weights[tool]).collect();
            of_tool.sort_by(f64::total_cmp);
            let quantile = |q: f64| of_tool.get((q * of_tool.len().saturating_sub(1) as f64).round() as usize).copied();
            let (low, high) = (quantile(0.025).unwrap_or(0.0), quantile(0.975).unwrap_or(1.0));
            ToolWeight { weight, low: low.min(weight), high: high.max(weight) }
        };
        self.weights(task).into_iter().enumerate().map(interval).collect()
    }

    /// The share of each tool: that of its merged tool, divided by the number of members that score the task.
    fn shares(&self, task: usize, of_merged: &[f64]) -> Vec<f64> {
        let is_scored = |tool: usize| self.scored[task].get(tool).copied().unwrap_or(false);
        let mut members = vec![0.0; of_merged.len()];
        (0..self.merged.len()).filter(|tool| is_scored(*tool)).for_each(|tool| members[self.merged[tool]] += 1.0);
        let present = |weights: &[f64]| -> f64 {
            weights.iter().zip(&members).filter(|(_, members)| **members > 0.0).map(|(w, _)| w).sum()
        };
        let equal = vec![1.0; of_merged.len()];
        let weights: &[f64] = if present(of_merged) > 0.0 { of_merged } else { &equal };
        let sum = present(weights);
        let share = |tool: usize| {
            let m = self.merged[tool];
            if is_scored(tool) { weights[m] / members[m] / sum } else { 0.0 }
        };
        (0..self.merged.len()).map(share).collect()
    }
}

/// For each tool, the index of the merged tool that it belongs to: tools whose correlation is at least [`DUPLICATE`], and
/// those that are linked by such pairs, are one. Indices count from 0 without gaps.
fn merge_duplicates(correlations: &[Vec<Option<f64>>]) -> Vec<usize> {
    let tools = correlations.len();
    let mut first: Vec<usize> = (0..tools).collect();
    for a in 0..tools {
        for b in 0..a {
            if correlations[a][b].is_some_and(|r| r >= DUPLICATE) {
                let (from, to) = (first[a].max(first[b]), first[a].min(first[b]));
                first.iter_mut().filter(|f| **f == from).for_each(|f| *f = to);
            }
        }
    }
    let mut kept = first.clone();
    kept.sort_unstable();
    kept.dedup();
    first.iter().map(|f| kept.partition_point(|k| k < f)).collect()
}

/// The correlations of the merged tools: the mean over the pairs of their members. `None` where none is known.
fn merged_correlations(known: &[Vec<Option<f64>>], merged: &[usize], size: usize) -> Vec<Vec<Option<f64>>> {
    let members = |m: usize| (0..merged.len()).filter(move |t| merged[*t] == m);
    let correlation = |a: usize, b: usize| {
        let pairs: Vec<f64> = members(a).flat_map(|i| members(b).filter_map(move |j| known[i][j])).collect();
        (!pairs.is_empty()).then(|| pairs.iter().sum::<f64>() / pairs.len() as f64)
    };
    (0..size).map(|a| (0..size).map(|b| correlation(a, b)).collect()).collect()
}

/// The weights before the first label: in proportion to `λ / (1 − λ²)`, with [`PRIOR_DEVIATION`]. All 0 if no two tools
/// agree.
fn prior(correlations: &[Vec<Option<f64>>]) -> Vec<f64> {
    let loadings = loadings(correlations);
    let raw: Vec<f64> = loadings.iter().map(|l| l / (1.0 - l * l)).collect();
    let correlation = |a: usize, b: usize| match correlations[a][b] {
        _ if a == b => 1.0,
        known => known.unwrap_or(loadings[a] * loadings[b]),
    };
    let variance: f64 =
        (0..raw.len()).map(|a| (0..raw.len()).map(|b| raw[a] * raw[b] * correlation(a, b)).sum::<f64>()).sum();
    let scale = if variance > 0.0 { PRIOR_DEVIATION / variance.sqrt() } else { 0.0 };
    raw.iter().map(|w| w * scale).collect()
}

/// The pairs of a task as differences of the merged tools, each the mean of its members' standardised differences. Counts
/// become two pairs of the tool alone, one ranked right and one wrong, that differ by as much as two random replies do:
/// by √2 deviations.
fn standardised_pairs(task: &TaskPairs, deviations: &[f64], merged: &[usize], size: usize) -> Vec<StandardisedPair> {
    let mut members = vec![0.0; size];
    for m in merged {
        members[*m] += 1.0;
    }
    let mut all = Vec::with_capacity(task.pairs.len());
    for LabelledPair { differences, weight } in &task.pairs {
        let (mut sums, mut known) = (vec![0.0; size], vec![0.0; size]);
        for ((difference, deviation), m) in differences.iter().zip(deviations).zip(merged) {
            if let Some(difference) = difference {
                sums[*m] += difference / deviation;
                known[*m] += 1.0;
            }
        }
        let means = sums.iter().zip(&known).map(|(sum, known): (&f64, &f64)| sum / known.max(1.0)).collect();
        all.push(StandardisedPair { differences: means, weight: *weight });
    }
    for (counts, m) in task.counts.iter().zip(merged).filter(|(counts, _)| counts.pairs > 0.0) {
        let alone = |difference: f64, weight: f64| {
            let mut differences = vec![0.0; size];
            differences[*m] = difference;
            // Copies of a tool have the same counts, which are counted once.
            StandardisedPair { differences, weight: weight / members[*m] }
        };
        all.push(alone(SQRT_2, counts.right));
        all.push(alone(-SQRT_2, counts.pairs - counts.right));
    }
    all
}
