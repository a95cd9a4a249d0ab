//! Win rates of best-of-n picks against a reference model, computed as for AlpacaEval's leaderboards.

use crate::item::Benchmark;
use crate::item_metric::item_value;
use crate::scores::BenchmarkScores;
use crate::statistics::{mean, sample_variance};

/// How often the completion that a tool picks (scores highest) is better than a reference model's reply. The
/// benchmark's labels must be preferences for a completion over that reply, from 0 to 1. The names in brackets are
/// AlpacaEval's.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct WinRate {
    /// Mean preference for the picked completions, in percent (`win_rate`).
    pub percent: f64,
    /// Standard error of the mean preference, in percent (`standard_error`).
    pub standard_error: f64,
    /// Number of picked completions that are preferred to the reference model's reply: their label is above 0.5
    /// (`n_wins`).
    pub wins: usize,
    /// Number of picked completions to which the reference model's reply is preferred: their label is below 0.5
    /// (`n_wins_base`).
    pub losses: usize,
    /// Number of picked completions whose label is exactly 0.5 (`n_draws`).
    pub draws: usize,
    /// Share of wins, where a draw counts as half a win, in percent (`discrete_win_rate`).
    pub discrete: f64,
    /// Mean length of the picked completions, in characters; AlpacaEval's `avg_length` is its whole part. Of several
    /// completions with the highest score, the first one is measured.
    pub length: f64,
    /// Number of items that are left out because they have no scores, or because the picked completion has no label.
    /// The latter still count for `length`.
    pub left_out: usize,
}

impl WinRate {
    /// Computes the win rate of the completions that have the highest scores.
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
