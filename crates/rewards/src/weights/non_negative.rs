//! The non-negative weights themselves: from agreement and labelled pairs to one weight per task and tool.

use serde::{Deserialize, Serialize};

use super::{Agreement, PairCounts, loadings};

/// Number of labelled pairs as which the agreement of the tools counts, for the pooled weights of all tasks.
pub const PRIOR_PAIRS: f64 = 10.0;

/// How far the correlations are shrunk towards those of the one-factor model, from 0 to 1.
const SHRINKAGE: f64 = 0.5;

/// Smallest concentration `κ`: with this many labelled pairs of its own, a task counts as much as all tasks together.
const MIN_CONCENTRATION: f64 = 10.0;

/// Two tools whose scores correlate at least this much within groups count as one tool.
const DUPLICATE: f64 = 0.98;

/// Probabilities are kept this far from 0 and 1, so that log-odds stay finite.
const MARGIN: f64 = 0.01;

/// Largest weight before the weights of a task are divided by their sum.
const MAX_RAW_WEIGHT: f64 = 1e6;

const MAX_SWEEPS: usize = 2000;

/// Sweeps end when no weight changes by more than this.
const TOLERANCE: f64 = 1e-10;

/// The labelled pairs of one task.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TaskCounts {
    /// Each tool's counts, in the order of the tools of the [`Agreement`]; `None` for a tool that does not score the task,
    /// which gets the weight 0.
    pub counts: Vec<Option<PairCounts>>,
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

/// Log-odds that a tool ranks a pair of replies right.
#[derive(Clone, Copy, Debug)]
struct LogOdds {
    mean: f64,
    /// Variance of the estimate.
    variance: f64,
}

/// The fitted model: tools merged where they repeat each other, with their log-odds in each task.
#[derive(Clone, Debug)]
pub struct NonNegativeFit {
    /// For each tool, the index of the merged tool that it belongs to.
    merged: Vec<usize>,
    /// The shrunken correlations of the merged tools.
    correlations: Vec<Vec<f64>>,
    /// Whether each tool scores each task, `[task][tool]`.
    scores_task: Vec<Vec<bool>>,
    /// The log-odds of each merged tool in each task, `[task][merged tool]`; `None` where it does not score the task.
    log_odds: Vec<Vec<Option<LogOdds>>>,
}

impl NonNegativeFit {
    /// Fits the model, by the steps in the description of this module. `tasks` has one entry per task, with one count per
    /// tool of `agreement`.
    pub fn new(agreement: &Agreement, tasks: &[TaskCounts]) -> Self {
        let known = agreement.correlations();
        let merged = merge_duplicates(&known);
        let size = merged.iter().max().map_or(0, |last| last + 1);
        let known = merged_correlations(&known, &merged, size);
        let loadings = loadings(&known);
        let counts: Vec<Vec<Option<PairCounts>>> = tasks.iter().map(|t| merged_counts(t, &merged, size)).collect();
        let scores_task = tasks.iter().map(|t| t.counts.iter().map(Option::is_some).collect()).collect();
        let correlations = shrunken_correlations(&known, &loadings);
        Self { log_odds: pooled_log_odds(&counts, &loadings), merged, correlations, scores_task }
    }

    /// The weights of a task's tools, which sum to 1. If no tool is better than chance, all tools of the task have equal
    /// weights.
    pub fn weights(&self, task: usize) -> Vec<f64> {
        self.of_log_odds(task, |odds| odds.mean)
    }

    /// The weights of a task's tools with their 95 % intervals: percentiles over `draws` draws of the log-odds from their
    /// posterior distribution. `normal` gives standard normal random numbers.
    pub fn intervals(&self, task: usize, draws: usize, normal: &mut dyn FnMut() -> f64) -> Vec<ToolWeight> {
        let drawn: Vec<Vec<f64>> =
            (0..draws).map(|_| self.of_log_odds(task, |odds| odds.mean + odds.variance.sqrt() * normal())).collect();
        let interval = |(tool, weight): (usize, f64)| {
            let mut of_tool: Vec<f64> = drawn.iter().map(|weights| weights[tool]).collect();
            of_tool.sort_by(f64::total_cmp);
            let quantile = |q: f64| of_tool.get((q * (of_tool.len().max(1) - 1) as f64).round() as usize).copied();
            let (low, high) = (quantile(0.025).unwrap_or(0.0), quantile(0.975).unwrap_or(1.0));
            ToolWeight { weight, low: low.min(weight), high: high.max(weight) }
        };
        self.weights(task).into_iter().enumerate().map(interval).collect()
    }

    fn of_log_odds(&self, task: usize, value: impl FnMut(LogOdds) -> f64) -> Vec<f64> {
        let odds = &self.log_odds[task];
        let present: Vec<usize> = (0..odds.len()).filter(|m| odds[*m].is_some()).collect();
        let linear: Vec<f64> = present.iter().filter_map(|m| odds[*m]).map(value).collect();
        let within = |a: &usize| present.iter().map(|b| self.correlations[*a][*b]).collect();
        let matrix: Vec<Vec<f64>> = present.iter().map(within).collect();
        let solved = minimise(&matrix, &linear);
        let all_zero = solved.iter().all(|w| *w <= 0.0);
        let mut of_merged = vec![0.0; odds.len()];
        for (m, w) in present.iter().zip(&solved) {
            of_merged[*m] = if all_zero { 1.0 } else { *w };
        }
        let is_scored = &self.scores_task[task];
        let members = |m: usize| (0..self.merged.len()).filter(|t| is_scored[*t] && self.merged[*t] == m).count();
        let sum: f64 = of_merged.iter().sum();
        let share = |(tool, m): (usize, &usize)| match is_scored[tool] && sum > 0.0 {
            true => of_merged[*m] / members(*m) as f64 / sum,
            false => 0.0,
        };
        self.merged.iter().enumerate().map(share).collect()
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

/// The counts of the merged tools in a task: the mean over their members that score it.
fn merged_counts(task: &TaskCounts, merged: &[usize], size: usize) -> Vec<Option<PairCounts>> {
    let of_merged = |m: usize| {
        let members = task.counts.iter().zip(merged).filter(|(_, of)| **of == m);
        let counts: Vec<PairCounts> = members.filter_map(|(counts, _)| *counts).collect();
        let mut sum = PairCounts::default();
        counts.iter().for_each(|c| sum.add(*c));
        let n = counts.len() as f64;
        (!counts.is_empty()).then(|| PairCounts { pairs: sum.pairs / n, right: sum.right / n })
    };
    (0..size).map(of_merged).collect()
}

/// The correlations, shrunk towards those of the one-factor model; where a correlation is unknown, that of the model.
fn shrunken_correlations(known: &[Vec<Option<f64>>], loadings: &[f64]) -> Vec<Vec<f64>> {
    let shrunken = |a: usize, b: usize| {
        let model = loadings[a] * loadings[b];
        match known[a][b] {
            _ if a == b => 1.0,
            Some(known) => known + SHRINKAGE * (model - known),
            None => model,
        }
    };
    (0..loadings.len()).map(|a| (0..loadings.len()).map(|b| shrunken(a, b)).collect()).collect()
}

/// The log-odds of each tool in each task, partially pooled over the tasks; `[task][tool]`.
fn pooled_log_odds(tasks: &[Vec<Option<PairCounts>>], loadings: &[f64]) -> Vec<Vec<Option<LogOdds>>> {
    let all = |tool: usize| {
        let mut sum = PairCounts::default();
        tasks.iter().filter_map(|counts| counts[tool]).for_each(|counts| sum.add(counts));
        sum
    };
    let pooled: Vec<PairCounts> = loadings
        .iter()
        .enumerate()
        .map(|(tool, loading)| {
            let mut counts = PairCounts::from_auc(1.0 / (1.0 + (-loading).exp()), PRIOR_PAIRS);
            counts.add(all(tool));
            counts
        })
        .collect();
    let concentration = concentration(tasks, &pooled);
    let of_task = |(counts, pooled): (&Option<PairCounts>, &PairCounts)| {
        counts.as_ref().map(|counts| {
            let share = if concentration.is_finite() { concentration / (counts.pairs + concentration) } else { 1.0 };
            let own = if counts.pairs > 0.0 { counts.right / counts.pairs } else { 0.0 };
            let p = ((1.0 - share) * own + share * pooled.right / pooled.pairs).clamp(MARGIN, 1.0 - MARGIN);
            // The variance of `p`: of the pairs of the task, and of the pooled estimate that they are combined with.
            let own_variance = if share < 1.0 { p * (1.0 - p) / (counts.pairs + concentration) } else { 0.0 };
            let variance = own_variance + share * share * p * (1.0 - p) / pooled.pairs;
            LogOdds { mean: (p / (1.0 - p)).ln(), variance: variance / (p * (1.0 - p)).powi(2) }
        })
    };
    tasks.iter().map(|counts| counts.iter().zip(&pooled).map(of_task).collect()).collect()
}

/// The concentration `κ` of the tasks around the pooled probabilities, by the method of moments: the mean squared
/// deviation of a task's share of right pairs, minus its sampling variance, is `p (1 − p) / (κ + 1)`. Infinite where the
/// tasks deviate no more than by chance, or where no task has two pairs.
fn concentration(tasks: &[Vec<Option<PairCounts>>], pooled: &[PairCounts]) -> f64 {
    let (mut excess, mut spread) = (0.0, 0.0);
    for counts in tasks {
        for (counts, pooled) in counts.iter().zip(pooled) {
            if let Some(PairCounts { pairs, right }) = counts.filter(|c| c.pairs >= 2.0) {
                let p = pooled.right / pooled.pairs;
                excess += (right / pairs - p).powi(2) - p * (1.0 - p) / pairs;
                spread += p * (1.0 - p);
            }
        }
    }
    if excess > 0.0 { (spread / excess - 1.0).max(MIN_CONCENTRATION) } else { f64::INFINITY }
}

/// The `w ≥ 0` that minimises `½ wᵀ A w − wᵀ b` for a matrix `A` with ones on its diagonal, by coordinate descent.
fn minimise(matrix: &[Vec<f64>], linear: &[f64]) -> Vec<f64> {
    let mut w = vec![0.0; linear.len()];
    for _ in 0..MAX_SWEEPS {
        let mut change = 0.0_f64;
        for (i, row) in matrix.iter().enumerate() {
            let others = row.iter().zip(&w).map(|(a, w)| a * w).sum::<f64>() - w[i];
            // The upper bound only matters for a matrix that is not positive definite, which few groups can give.
            let new = (linear[i] - others).clamp(0.0, MAX_RAW_WEIGHT);
            change = change.max((new - w[i]).abs());
            w[i] = new;
        }
        if change <= TOLERANCE {
            break;
        }
    }
    w
}
