//! Bootstrap confidence intervals (Efron, 1979) by the percentile method. Resamples are drawn within strata, such as
//! the categories of a benchmark.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Settings of bootstrap intervals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bootstrap {
    /// Number of resamples. For 95 % intervals at least 1000 should be drawn.
    pub resamples: usize,
    /// Seed of the resampling.
    pub seed: u64,
}

impl Default for Bootstrap {
    fn default() -> Self {
        Self { resamples: 1000, seed: 0 }
    }
}

/// The 95 % interval of a statistic: the central 95 % of the values that the statistic has in the resamples.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    /// Lower end of the interval: the 2.5th percentile.
    pub low: f64,
    /// Upper end of the interval: the 97.5th percentile.
    pub high: f64,
}

impl Interval {
    /// The interval from the 2.5th to the 97.5th percentile of `values`, interpolated linearly between neighbouring
    /// values; `None` where there are no values.
    pub fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let last = values.len().checked_sub(1)?;
        let quantile = |q: f64| {
            let rank = q * last as f64;
            let (low, high) = (values[rank.floor() as usize], values[rank.ceil() as usize]);
            low + (high - low) * rank.fract()
        };
        Some(Self { low: quantile(0.025), high: quantile(0.975) })
    }
}

impl Bootstrap {
    /// Computes the bootstrap intervals of several statistics of the same data.
    ///
    /// `strata` holds the number of units (such as items) in each stratum. A resample draws as many units from each
    /// stratum as there are, with replacement. `statistics` gets the indices of the drawn units, one list per stratum,
    /// and returns one value per statistic. The result has one interval per statistic; it is empty where there are no
    /// resamples.
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
                for index in draw {
                    *index = rng.random_range(0..n) as usize;
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
