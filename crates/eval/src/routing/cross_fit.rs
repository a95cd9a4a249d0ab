//! Strategies fitted on one half of the items and measured on the other, many times.

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::{Strategy, Table};
use crate::bootstrap::{Bootstrap, Interval};
use crate::report::{between, percent};

/// How often items are split, and from which seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CrossFit {
    /// Splits; each half is fitted on and measured on once.
    pub splits: usize,
    /// Seed of the splits.
    pub seed: u64,
    /// For the intervals.
    pub bootstrap: Bootstrap,
}

impl Default for CrossFit {
    fn default() -> Self {
        Self { splits: 200, seed: 0, bootstrap: Bootstrap { resamples: 2000, seed: 0 } }
    }
}

/// A strategy on items that it was not fitted on.
#[derive(Clone, Debug, PartialEq)]
pub struct Fitted {
    /// The strategy.
    pub strategy: Strategy,
    /// The mean over splits of the benchmark's mean, from 0 to 1.
    pub score: f64,
    /// How far it is above the static tool that is chosen on the same halves.
    pub above: f64,
    /// 95 % of that from resampled items: what other items might have said. Each item's difference is its mean over
    /// the splits.
    pub above_interval: Option<Interval>,
    /// 95 % of that over the splits: what other halves might have said.
    pub above_splits: Option<Interval>,
    /// How far it is above the tool that is best on all these items, which is chosen with hindsight.
    pub above_best: f64,
    /// 95 % of that from resampled items.
    pub above_best_interval: Option<Interval>,
    /// Share of the splits in which it is above the static tool; equal ones count half.
    pub wins: f64,
}

/// An item's differences, added up over splits: above the static tool of its half, and above the best of all.
#[derive(Clone, Copy, Default)]
struct Held {
    above: f64,
    above_best: f64,
    count: u32,
}

impl Held {
    fn mean(self, part: fn(&Self) -> f64) -> Option<f64> {
        (self.count > 0).then(|| part(&self) / f64::from(self.count))
    }
}

/// Measures strategies, each beside [`Strategy::Static`] fitted on the same half. Halves are stratified by category.
pub fn cross_fit(table: &Table, strategies: &[Strategy], settings: CrossFit) -> Vec<Fitted> {
    let all: Vec<usize> = (0..table.len()).collect();
    let groups = table.grouped(&all);
    let best = table.best(&all);
    let mut rng = ChaCha8Rng::seed_from_u64(settings.seed);
    let mut held = vec![vec![Held::default(); table.len()]; strategies.len()];
    let mut scores = vec![Vec::with_capacity(settings.splits); strategies.len()];
    let mut leads = vec![Vec::with_capacity(settings.splits); strategies.len()];
    for _ in 0..settings.splits {
        let (first, second) = halves(&groups, &mut rng);
        let mut fixed = vec![None; table.len()];
        let mut worth = vec![vec![None; table.len()]; strategies.len()];
        for (fitted, measured) in [(&first, &second), (&second, &first)] {
            let rule = Strategy::Static.fit(table, fitted);
            for i in measured {
                fixed[*i] = rule.worth(table, *i);
            }
            for (strategy, worth) in strategies.iter().zip(&mut worth) {
                let rule = strategy.fit(table, fitted);
                for i in measured {
                    worth[*i] = rule.worth(table, *i);
                }
            }
        }
        for (s, worth) in worth.iter().enumerate() {
            let lead = |i: usize| Some(worth[i]? - fixed[i]?);
            for (i, held) in held[s].iter_mut().enumerate() {
                if let (Some(lead), Some(worth)) = (lead(i), worth[i]) {
                    held.above += lead;
                    held.above_best += worth - table.value(best, i);
                    held.count += 1;
                }
            }
            scores[s].push(table.mean(&all, |i| worth[i]));
            leads[s].push(table.mean(&all, lead));
        }
    }
    let strata: Vec<usize> = groups.iter().map(Vec::len).collect();
    let intervals = settings.bootstrap.intervals(&strata, |draws| {
        let drawn: Vec<usize> = groups.iter().zip(draws).flat_map(|(g, d)| d.iter().map(|k| g[*k])).collect();
        let parts: [fn(&Held) -> f64; 2] = [|h| h.above, |h| h.above_best];
        let mean = |part, held: &Vec<Held>| table.mean(&drawn, |i| held[i].mean(part));
        parts.iter().flat_map(|part| held.iter().map(|held| mean(*part, held))).collect()
    });
    let interval = |i: usize| intervals.get(i).copied().flatten();
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len().max(1) as f64;
    let fitted = |(s, strategy): (usize, &Strategy)| Fitted {
        strategy: *strategy,
        score: mean(&scores[s]),
        above: mean(&leads[s]),
        above_interval: interval(s),
        above_splits: Interval::of(leads[s].clone()),
        above_best: table.mean(&all, |i| held[s][i].mean(|h| h.above_best)),
        above_best_interval: interval(strategies.len() + s),
        wins: mean(&leads[s].iter().map(|lead| won(*lead)).collect::<Vec<_>>()),
    };
    strategies.iter().enumerate().map(fitted).collect()
}

fn won(lead: f64) -> f64 {
    // Sums of many quotients are not exactly zero.
    if lead.abs() < 1e-12 { 0.5 } else { f64::from(u8::from(lead > 0.0)) }
}

/// Random halves of every category; odd items go to each half in turn.
fn halves(groups: &[Vec<usize>], rng: &mut ChaCha8Rng) -> (Vec<usize>, Vec<usize>) {
    let (mut first, mut second) = (Vec::new(), Vec::new());
    let mut larger_first = true;
    for group in groups {
        let mut group = group.clone();
        group.shuffle(rng);
        let middle = if larger_first { group.len().div_ceil(2) } else { group.len() / 2 };
        larger_first ^= group.len() % 2 == 1;
        first.extend(&group[..middle]);
        second.extend(&group[middle..]);
    }
    (first, second)
}

/// As the rows of a table, for [`crate::table::render`] and [`crate::table::markdown`].
pub fn fitted_rows(fitted: &[Fitted]) -> Vec<Vec<String>> {
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
    let interval = |i: Option<Interval>| i.map_or("–".into(), |i| between(&i));
    let row = |f: &Fitted| {
        vec![
            f.strategy.name(),
            percent(f.score),
            format!("{:+.1}", 100.0 * f.above),
            interval(f.above_interval),
            interval(f.above_splits),
            percent(f.wins),
            format!("{:+.1}", 100.0 * f.above_best),
            interval(f.above_best_interval),
        ]
    };
    std::iter::once(header.map(str::to_owned).to_vec()).chain(fitted.iter().map(row)).collect()
}
