//! Win rates of best-of-n picks over a reference model, as AlpacaEval's leaderboards record them.

use crate::item::Benchmark;
use crate::item_metric::item_value;
use crate::scores::BenchmarkScores;
use crate::statistics::{mean, sample_variance};

/// How often the picked completion wins over the reference model's, where the labels are the preference for a completion over
/// the reference model's. The names in brackets are AlpacaEval's.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct WinRate {
    /// Mean preference for the picks, in percent (`win_rate`).
    pub percent: f64,
    /// Standard error of the mean, in percent (`standard_error`).
    pub standard_error: f64,
    /// Picks that are preferred to the reference (`n_wins`).
    pub wins: usize,
    /// Picks to which the reference is preferred (`n_wins_base`).
    pub losses: usize,
    /// Picks that are neither (`n_draws`).
    pub draws: usize,
    /// Share of wins, with draws as half wins, in percent (`discrete_win_rate`).
    pub discrete: f64,
    /// Mean length of the picks in characters, of which `avg_length` is the whole part. Among equal maxima it is the first.
    pub length: f64,
    /// Picks without a label, and items without scores. Only the length takes the former into account.
    pub left_out: usize,
}

impl WinRate {
    /// The win rate of the completions with the highest scores.
    pub fn of(benchmark: &Benchmark, scores: &BenchmarkScores) -> Self {
        let mut rate = Self::default();
        let (mut preferences, mut lengths) = (Vec::new(), Vec::new());
        for (item, row) in benchmark.items.iter().zip(&scores.rows) {
            let Some(scores) = &row.scores else {
                rate.left_out += 1;
                continue;
            };
            let best = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let pick = scores.iter().position(|s| *s >= best).and_then(|p| item.completions.get(p));
            lengths.extend(pick.map(|text| text.chars().count() as f64));
            match item_value(item, scores) {
                Some(preference) => preferences.push(preference),
                None => rate.left_out += 1,
            }
        }
        let (n, centre) = (preferences.len() as f64, mean(&preferences));
        rate.percent = 100.0 * centre;
        rate.standard_error = 100.0 * (sample_variance(&preferences, centre) / n.max(1.0)).sqrt();
        rate.wins = preferences.iter().filter(|p| **p > 0.5).count();
        rate.losses = preferences.iter().filter(|p| **p < 0.5).count();
        rate.draws = preferences.len() - rate.wins - rate.losses;
        rate.discrete = 100.0 * (rate.wins as f64 + 0.5 * rate.draws as f64) / n.max(1.0);
        rate.length = mean(&lengths);
        rate
    }
}
