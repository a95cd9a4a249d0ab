//! Evaluates strategies on items on which they were not fitted: splits the items into halves many times, fits on one
//! half and evaluates on the other.

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use rlar_run::percent;

use super::{ScoreTable, Strategy};
use crate::bootstrap::{Bootstrap, Interval};
use crate::report::interval_cell;
use crate::statistics::mean;

/// Settings of [`cross_fit`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CrossFit {
    /// Number of random splits into halves. In every split a strategy is fitted on each half and evaluated on the
    /// other.
    pub splits: usize,
    /// Seed of the random splits.
    pub seed: u64,
    /// Number of items of each category of a half whose labels are used for fitting; all of them if `None`. The scores
    /// of the other items are used without their labels.
    pub labels: Option<usize>,
    /// Settings of the bootstrap intervals.
    pub bootstrap: Bootstrap,
}

impl Default for CrossFit {
    fn default() -> Self {
        Self { splits: 200, seed: 0, labels: None, bootstrap: Bootstrap { resamples: 2000, seed: 0 } }
    }
}

/// How good a strategy is on items on which it was not fitted.
#[derive(Clone, Debug, PartialEq)]
pub struct CrossFitResult {
    /// The strategy that was evaluated.
    pub strategy: Strategy,
    /// The mean value of the held-out items, averaged as the benchmark does, from 0 to 1; the mean over all splits.
    pub score: f64,
    /// The score minus that of [`Strategy::Static`] (the best single tool), which is fitted on the same halves.
    pub above: f64,
    /// 95 % bootstrap interval of `above`, from resampled items. An item's difference is its mean over the splits.
    /// `None` without resamples.
    pub above_interval: Option<Interval>,
    /// The 2.5th and 97.5th percentile of `above` over the splits; `None` without splits.
    pub above_splits: Option<Interval>,
    /// The score minus that of the single tool that is best on all items. That tool is chosen on the items on which it
    /// is evaluated, so this difference is pessimistic.
    pub above_best: f64,
    /// 95 % bootstrap interval of `above_best`, from resampled items; `None` without resamples.
    pub above_best_interval: Option<Interval>,
    /// The share of the splits in which the strategy has a higher score than [`Strategy::Static`]. A split with equal
    /// scores counts as half.
    pub wins: f64,
}

/// How far a strategy's value on one item is above that of single tools, summed over splits.
#[derive(Clone, Copy, Default)]
struct ItemLead {
    /// The strategy's value minus that of the static tool fitted on the same half; sum over splits.
    above_static: f64,
    /// The strategy's value minus that of the tool that is best on all items; sum over splits.
    above_best: f64,
    splits: u32,
}

impl ItemLead {
    fn mean(self, part: fn(&Self) -> f64) -> Option<f64> {
        (self.splits > 0).then(|| part(&self) / f64::from(self.splits))
    }
}

/// The results of one strategy in the splits evaluated so far.
#[derive(Clone)]
struct SplitResults {
    leads: Vec<ItemLead>,
    /// The strategy's score in each split.
    scores: Vec<f64>,
    /// The strategy's score minus that of [`Strategy::Static`] in each split.
    above_static: Vec<f64>,
}

/// Evaluates strategies on held-out halves of the items, each in comparison with [`Strategy::Static`] fitted on the
/// same half. Every category is split into halves by itself.
pub fn cross_fit(table: &ScoreTable, strategies: &[Strategy], settings: CrossFit) -> Vec<CrossFitResult> {
    let items: Vec<usize> = (0..table.len()).collect();
    let groups = table.by_category(&items);
    let best = table.best(&items);
    let mut rng = ChaCha8Rng::seed_from_u64(settings.seed);
    let empty =
        SplitResults { leads: vec![ItemLead::default(); table.len()], scores: Vec::new(), above_static: Vec::new() };
    let mut results = vec![empty; strategies.len()];
    for _ in 0..settings.splits {
        let halves = split_halves(&groups, &mut rng);
        let static_values = held_out_values(table, Strategy::Static, &halves, settings.labels);
        for (strategy, result) in strategies.iter().zip(&mut results) {
            let values = held_out_values(table, *strategy, &halves, settings.labels);
            let lead = |i: usize| Some(values[i]? - static_values[i]?);
            for (i, item) in result.leads.iter_mut().enumerate() {
                if let (Some(lead), Some(value)) = (lead(i), values[i]) {
                    item.above_static += lead;
                    item.above_best += value - table.value(best, i);
                    item.splits += 1;
                }
            }
            result.scores.push(table.mean(&items, |i| values[i]));
            result.above_static.push(table.mean(&items, lead));
        }
    }
    let strata: Vec<usize> = groups.iter().map(Vec::len).collect();
    let intervals = settings.bootstrap.intervals(&strata, |draws| {
        let drawn: Vec<usize> = groups.iter().zip(draws).flat_map(|(g, draw)| draw.iter().map(|k| g[*k])).collect();
        let parts: [fn(&ItemLead) -> f64; 2] = [|lead| lead.above_static, |lead| lead.above_best];
        let mean = |part, result: &SplitResults| table.mean(&drawn, |i| result.leads[i].mean(part));
        parts.iter().flat_map(|part| results.iter().map(|result| mean(*part, result))).collect()
    });
    let interval = |i: usize| intervals.get(i).copied().flatten();
    let result = |(s, (strategy, result)): (usize, (&Strategy, &SplitResults))| CrossFitResult {
        strategy: *strategy,
        score: mean(&result.scores),
        above: mean(&result.above_static),
        above_interval: interval(s),
        above_splits: Interval::of(result.above_static.clone()),
        above_best: table.mean(&items, |i| result.leads[i].mean(|lead| lead.above_best)),
        above_best_interval: interval(strategies.len() + s),
        wins: mean(&result.above_static.iter().map(|lead| win(*lead)).collect::<Vec<_>>()),
    };
    strategies.iter().zip(&results).enumerate().map(result).collect()
}

/// A split of the items: the indices of the items in each half.
struct Halves {
    first: Vec<usize>,
    second: Vec<usize>,
}

/// The value of each item under the strategy, which is fitted on the half that does not contain the item. `labels` is
/// [`CrossFit::labels`].
fn held_out_values(table: &ScoreTable, strategy: Strategy, halves: &Halves, labels: Option<usize>) -> Vec<Option<f64>> {
    let mut values = vec![None; table.len()];
    for (fitted, held_out) in [(&halves.first, &halves.second), (&halves.second, &halves.first)] {
        // The items of a half are in random order within their category.
        let first = |group: Vec<usize>| group.into_iter().take(labels.unwrap_or(usize::MAX));
        let labelled: Vec<usize> = table.by_category(fitted).into_iter().flat_map(first).collect();
        let rule = strategy.fit_with_unlabelled(table, &labelled, fitted);
        for i in held_out {
            values[*i] = rule.value(table, *i);
        }
    }
    values
}

fn win(lead: f64) -> f64 {
    // Differences below this are rounding errors of sums and count as 0.
    if lead.abs() < 1e-12 { 0.5 } else { f64::from(u8::from(lead > 0.0)) }
}

/// Splits the items of every category at random into two halves. Of categories with an odd number of items, the first
/// and the second half get the larger part in turn.
fn split_halves(groups: &[Vec<usize>], rng: &mut ChaCha8Rng) -> Halves {
    let mut halves = Halves { first: Vec::new(), second: Vec::new() };
    let mut larger_first = true;
    for group in groups {
        let mut group = group.clone();
        group.shuffle(rng);
        let middle = if larger_first { group.len().div_ceil(2) } else { group.len() / 2 };
        larger_first ^= group.len() % 2 == 1;
        halves.first.extend(&group[..middle]);
        halves.second.extend(&group[middle..]);
    }
    halves
}

/// Formats the results as the rows of a table, for [`crate::table::render`] and [`crate::table::markdown`].
pub fn cross_fit_rows(results: &[CrossFitResult]) -> Vec<Vec<String>> {
    let header = [
        "",
        "held-out score",
        "above static",
        "95 %, items",
        "95 %, splits",
        "splits above",
        "above best in hindsight",
        "95 %, items",
    ];
    let row = |r: &CrossFitResult| {
        vec![
            r.strategy.name(),
            percent(r.score),
            format!("{:+.1}", 100.0 * r.above),
            interval_cell(r.above_interval),
            interval_cell(r.above_splits),
            percent(r.wins),
            format!("{:+.1}", 100.0 * r.above_best),
            interval_cell(r.above_best_interval),
        ]
    };
    std::iter::once(header.map(str::to_owned).to_vec()).chain(results.iter().map(row)).collect()
}

/// Numbers of labels per category for which [`label_curve`] evaluates strategies.
pub const LABELS_PER_CATEGORY: [usize; 5] = [2, 5, 10, 20, 40];

/// How good strategies are that were fitted on few labels.
#[derive(Clone, Debug, PartialEq)]
pub struct LabelCurvePoint {
    /// Number of labelled items of each category (all, where a category has fewer in a half).
    pub labels: usize,
    /// The results of the strategies, in the given order.
    pub results: Vec<CrossFitResult>,
}

/// Evaluates strategies as [`cross_fit`] does, for each of [`LABELS_PER_CATEGORY`].
pub fn label_curve(table: &ScoreTable, strategies: &[Strategy], settings: CrossFit) -> Vec<LabelCurvePoint> {
    let point = |labels: usize| LabelCurvePoint {
        labels,
        results: cross_fit(table, strategies, CrossFit { labels: Some(labels), ..settings }),
    };
    LABELS_PER_CATEGORY.into_iter().map(point).collect()
}

/// Formats a curve as the rows of a table with one column per number of labels. A cell is the held-out score, with the
/// 95 % interval over items of what it is above the best static tool that was chosen by the same labels.
pub fn label_curve_rows(curve: &[LabelCurvePoint]) -> Vec<Vec<String>> {
    let strategies: Vec<Strategy> =
        curve.first().map_or(&[][..], |p| &p.results).iter().map(|result| result.strategy).collect();
    let cell = |p: &LabelCurvePoint, s: usize| score_and_lead(p.results[s].score, p.results[s].above_interval);
    strategy_rows(curve, |p| p.labels.to_string(), &strategies, cell)
}

/// The rows of a table with a column for each of `points`, and a row for each strategy, given by its index.
pub(super) fn strategy_rows<P>(
    points: &[P],
    title: impl Fn(&P) -> String,
    strategies: &[Strategy],
    cell: impl Fn(&P, usize) -> String,
) -> Vec<Vec<String>> {
    let header = std::iter::once(String::new()).chain(points.iter().map(title)).collect();
    let row = |(s, strategy): (usize, &Strategy)| {
        std::iter::once(strategy.name()).chain(points.iter().map(|point| cell(point, s))).collect()
    };
    std::iter::once(header).chain(strategies.iter().enumerate().map(row)).collect()
}

/// A score in percent, with the interval of its lead in percentage points: `65.5 (+0.8 to +4.9)`.
pub(super) fn score_and_lead(score: f64, lead: Option<Interval>) -> String {
    let lead = lead.map(|l| format!(" ({:+.1} to {:+.1})", 100.0 * l.low, 100.0 * l.high));
    percent(score) + &lead.unwrap_or_default()
}
