//! Fits strategies on one half of the items and evaluates them on the other, many times.

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::{ScoreTable, Strategy};
use crate::bootstrap::{Bootstrap, Interval};
use crate::report::{interval_cell, percent};
use crate::statistics::mean;

/// Settings of [`cross_fit`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CrossFit {
    /// Number of splits; a strategy is fitted on each half and evaluated on the other.
    pub splits: usize,
    /// Seed of the splits.
    pub seed: u64,
    /// Settings of the intervals.
    pub bootstrap: Bootstrap,
}

impl Default for CrossFit {
    fn default() -> Self {
        Self { splits: 200, seed: 0, bootstrap: Bootstrap { resamples: 2000, seed: 0 } }
    }
}

/// How good a strategy is on items that it was not fitted on.
#[derive(Clone, Debug, PartialEq)]
pub struct CrossFitResult {
    /// The strategy.
    pub strategy: Strategy,
    /// The benchmark's average, from 0 to 1; mean over the splits.
    pub score: f64,
    /// The score minus that of [`Strategy::Static`], fitted on the same halves.
    pub above: f64,
    /// 95 % bootstrap interval of `above` over items, where the difference on an item is its mean over the splits.
    pub above_interval: Option<Interval>,
    /// The central 95 % of `above` over the splits.
    pub above_splits: Option<Interval>,
    /// The score minus that of the tool that is best on all these items, which is chosen with hindsight.
    pub above_best: f64,
    /// 95 % bootstrap interval of `above_best` over items.
    pub above_best_interval: Option<Interval>,
    /// The share of the splits in which the strategy is above [`Strategy::Static`]; equal scores count half.
    pub wins: f64,
}

/// A strategy's differences on one item, summed over splits.
#[derive(Clone, Copy, Default)]
struct ItemLead {
    /// Above the static tool of the same half.
    above_static: f64,
    /// Above the tool that is best on all items.
    above_best: f64,
    splits: u32,
}

impl ItemLead {
    fn mean(self, part: fn(&Self) -> f64) -> Option<f64> {
        (self.splits > 0).then(|| part(&self) / f64::from(self.splits))
    }
}

/// A strategy's results over the splits so far.
#[derive(Clone)]
struct SplitResults {
    leads: Vec<ItemLead>,
    /// The score in each split.
    scores: Vec<f64>,
    /// The lead over the static tool in each split.
    above_static: Vec<f64>,
}

/// Evaluates strategies, each against [`Strategy::Static`] fitted on the same half. Halves are stratified by category.
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
        let static_values = held_out_values(table, Strategy::Static, &halves);
        for (strategy, result) in strategies.iter().zip(&mut results) {
            let values = held_out_values(table, *strategy, &halves);
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

/// Both halves of the items.
struct Halves {
    first: Vec<usize>,
    second: Vec<usize>,
}

/// The value of each item under a strategy that is fitted on the half without it.
fn held_out_values(table: &ScoreTable, strategy: Strategy, halves: &Halves) -> Vec<Option<f64>> {
    let mut values = vec![None; table.len()];
    for (fitted, held_out) in [(&halves.first, &halves.second), (&halves.second, &halves.first)] {
        let rule = strategy.fit(table, fitted);
        for i in held_out {
            values[*i] = rule.value(table, *i);
        }
    }
    values
}

fn win(lead: f64) -> f64 {
    // A sum of many quotients is not exactly zero.
    if lead.abs() < 1e-12 { 0.5 } else { f64::from(u8::from(lead > 0.0)) }
}

/// Splits every category at random into halves; the halves take turns in getting the odd item.
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

/// The rows of a table, for [`crate::table::render`] and [`crate::table::markdown`].
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
