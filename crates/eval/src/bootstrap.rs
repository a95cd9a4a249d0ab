//! Intervals by resampling (Efron, 1979): the percentile method, within strata.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// How often and from which seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bootstrap {
    /// Resamples; 1000 or more.
    pub resamples: usize,
    /// Seed of the draws.
    pub seed: u64,
}

impl Default for Bootstrap {
    fn default() -> Self {
        Self { resamples: 1000, seed: 0 }
    }
}

/// The middle 95 % of a statistic.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// The 2.5th percentile.
    pub low: f64,
    /// The 97.5th percentile.
    pub high: f64,
}

impl Interval {
    /// The middle 95 % of values, interpolated; `None` of none.
    pub fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let last = values.len().checked_sub(1)?;
        let at = |q: f64| {
            let place = q * last as f64;
            let (low, high) = (values[place.floor() as usize], values[place.ceil() as usize]);
            low + (high - low) * place.fract()
        };
        Some(Self { low: at(0.025), high: at(0.975) })
    }
}

impl Bootstrap {
    /// Intervals of a vector of statistics. Every resample draws as many units of each stratum as it has, with
    /// replacement, and `statistics` gets the positions drawn, stratum by stratum.
    pub fn intervals(
        &self,
        strata: &[usize],
        mut statistics: impl FnMut(&[Vec<usize>]) -> Vec<f64>,
    ) -> Vec<Option<Interval>> {
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        let mut draws: Vec<Vec<usize>> = strata.iter().map(|n| vec![0; *n]).collect();
        let mut values: Vec<Vec<f64>> = Vec::new();
        for _ in 0..self.resamples {
            for draw in &mut draws {
                let n = draw.len() as u32;
                for place in draw {
                    *place = rng.random_range(0..n) as usize;
                }
            }
            for (i, value) in statistics(&draws).into_iter().enumerate() {
                if values.len() <= i {
                    values.push(Vec::with_capacity(self.resamples));
                }
                values[i].push(value);
            }
        }
        values.into_iter().map(Interval::of).collect()
    }
}
