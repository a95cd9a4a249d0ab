//! Win rates over a reference, with the figures that AlpacaEval's leaderboards record.

use crate::item::Benchmark;
use crate::metric::value;
use crate::scores::Scores;

/// How often picks win, where labels are the preference for a completion over the reference's.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct WinRate {
    /// Mean preference for the picks, in percent (`win_rate`).
    pub percent: f64,
    /// Its standard error, in percent (`standard_error`).
    pub standard_error: f64,
    /// Picks preferred to the reference (`n_wins`).
    pub wins: usize,
    /// Picks to which the reference is preferred (`n_wins_base`).
    pub losses: usize,
    /// Neither (`n_draws`).
    pub draws: usize,
    /// Share of wins, draws counting half, in percent (`discrete_win_rate`).
    pub discrete: f64,
    /// Mean length of the picks in characters; `avg_length` is its whole part. The first of equal picks counts.
    pub length: f64,
    /// Picks that nobody labelled, or items without scores: in no figure but the length.
    pub left_out: usize,
}

impl WinRate {
    /// Of the completions that scores pick.
    pub fn of(benchmark: &Benchmark, scores: &Scores) -> Self {
        let mut rate = Self::default();
        let (mut known, mut lengths) = (Vec::new(), Vec::new());
        for (item, row) in benchmark.items.iter().zip(&scores.rows) {
            let Some(scores) = &row.scores else {
                rate.left_out += 1;
                continue;
            };
            let best = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let pick = scores.iter().position(|s| *s >= best).and_then(|p| item.completions.get(p));
            lengths.extend(pick.map(|text| text.chars().count() as f64));
            match value(item, scores) {
                Some(preference) => known.push(preference),
                None => rate.left_out += 1,
            }
        }
        let mean = |x: &[f64]| x.iter().sum::<f64>() / x.len().max(1) as f64;
        let (n, centre) = (known.len() as f64, mean(&known));
        let variance = known.iter().map(|p| (p - centre).powi(2)).sum::<f64>() / (n - 1.0).max(1.0);
        rate.percent = 100.0 * centre;
        rate.standard_error = 100.0 * (variance / n.max(1.0)).sqrt();
        rate.wins = known.iter().filter(|p| **p > 0.5).count();
        rate.losses = known.iter().filter(|p| **p < 0.5).count();
        rate.draws = known.len() - rate.wins - rate.losses;
        rate.discrete = 100.0 * (rate.wins as f64 + 0.5 * rate.draws as f64) / n.max(1.0);
        rate.length = mean(&lengths);
        rate
    }
}
