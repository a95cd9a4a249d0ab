//! Rotary position embedding and its scalings for sequences beyond the trained length.

use std::f64::consts::TAU;
use std::sync::OnceLock;

/// Positions per chunk of the tables.
const CHUNK: usize = 256;

simd!(
/// Rotates every head `[2 · half]` of one row in place; `sign` −1 rotates back.
rotate(x: &mut [f32], cos: &[f32], sin: &[f32], sign: f32) {
    let half = cos.len();
    for head in x.chunks_exact_mut(2 * half) {
        let (a, b) = head.split_at_mut(half);
        for i in 0..half {
            let (p, q, s) = (a[i], b[i], sin[i] * sign);
            a[i] = p * cos[i] - q * s;
            b[i] = q * cos[i] + p * s;
        }
    }
});

/// The scaling of the frequencies for sequences beyond the trained length.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RopeKind {
    /// No scaling.
    Default,
    /// Linear interpolation: positions are divided by a factor (Chen et al., 2023).
    Linear {
        /// The divisor of positions.
        factor: f64,
    },
    /// Llama 3.1's: low frequencies are divided, high ones are kept, with a smooth transition.
    Llama3 {
        /// The divisor of low frequencies.
        factor: f64,
        /// Wavelengths above `original / low` are low frequencies.
        low: f64,
        /// Wavelengths below `original / high` are high frequencies.
        high: f64,
        /// The trained length.
        original: f64,
    },
    /// YaRN: interpolation by parts, with a temperature (Peng et al., 2023).
    Yarn {
        /// The divisor of low frequencies.
        factor: f64,
        /// Factor of cosines and sines.
        attention: f64,
        /// Frequencies with more rotations than this over the trained length are kept.
        beta_fast: f64,
        /// Frequencies with fewer rotations than this over the trained length are divided.
        beta_slow: f64,
        /// The trained length.
        original: f64,
        /// Whether the ends of the transition are rounded to whole dimensions.
        truncate: bool,
    },
}

/// The parameters of rotary positions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RopeConfig {
    /// Base of the frequencies.
    pub theta: f64,
    /// Their scaling.
    pub kind: RopeKind,
}

impl RopeConfig {
    /// Radians per position for each pair of elements of a head, `[dim / 2]`, and the factor of cosines and sines.
    fn frequencies(&self, dim: usize) -> (Vec<f32>, f32) {
        let plain = |i: usize| f64::from((1.0 / self.theta.powf(2.0 * i as f64 / dim as f64)) as f32);
        let half = 0..dim / 2;
        match self.kind {
            RopeKind::Default => (half.map(|i| plain(i) as f32).collect(), 1.0),
            RopeKind::Linear { factor } => (half.map(|i| (plain(i) / factor) as f32).collect(), 1.0),
            RopeKind::Llama3 { factor, low, high, original } => {
                let scaled = |i: usize| {
                    let f = plain(i);
                    let wave = TAU / f;
                    let smooth = (original / wave - low) / (high - low);
                    (if wave < original / high {
                        f
                    } else if wave > original / low {
                        f / factor
                    } else {
                        (1.0 - smooth) * f / factor + smooth * f
                    }) as f32
                };
                (half.map(scaled).collect(), 1.0)
            }
            RopeKind::Yarn { factor, attention, beta_fast, beta_slow, original, truncate } => {
                let turns = |n: f64| dim as f64 * (original / (n * TAU)).ln() / (2.0 * self.theta.ln());
                let (low, high) = (turns(beta_fast), turns(beta_slow));
                let (low, high) = if truncate { (low.floor(), high.ceil()) } else { (low, high) };
                let (low, high) = (low.max(0.0), high.min(dim as f64 - 1.0));
                let high = if (high - low).abs() < f64::EPSILON { high + 0.001 } else { high };
                let scaled = |i: usize| {
                    let divided = ((i as f64 - low) / (high - low)).clamp(0.0, 1.0);
                    (plain(i) / factor * divided + plain(i) * (1.0 - divided)) as f32
                };
                (half.map(scaled).collect(), attention as f32)
            }
        }
    }
}

/// Cosines and sines of rotary position embedding (Su et al., 2021), computed in chunks of positions on first use. The
/// two halves of a head are rotated against each other, as in Hugging Face's implementation.
#[derive(Debug)]
pub struct Rope {
    frequencies: Vec<f32>,
    scale: f32,
    chunks: Vec<OnceLock<Vec<f32>>>,
}

impl Rope {
    /// Tables for `positions` positions of heads of `dim` elements.
    pub fn new(positions: usize, dim: usize, config: &RopeConfig) -> Self {
        let (frequencies, scale) = config.frequencies(dim);
        Self { frequencies, scale, chunks: (0..positions.div_ceil(CHUNK)).map(|_| OnceLock::new()).collect() }
    }

    /// Cosines and sines of a position, `[dim / 2]` each.
    ///
    /// # Panics
    /// When the position is beyond those that the tables were made for.
    pub fn at(&self, position: usize) -> (&[f32], &[f32]) {
        let half = self.frequencies.len();
        let first = position / CHUNK * CHUNK;
        let table = self.chunks[position / CHUNK].get_or_init(|| {
            let mut table = Vec::with_capacity(CHUNK * 2 * half);
            for p in first..first + CHUNK {
                table.extend(self.frequencies.iter().map(|f| (p as f32 * f).cos() * self.scale));
                table.extend(self.frequencies.iter().map(|f| (p as f32 * f).sin() * self.scale));
            }
            table
        });
        table[(position - first) * 2 * half..][..2 * half].split_at(half)
    }

    /// Rotates rows `[t, width]` at positions `start..` in place.
    pub(super) fn apply(&self, rows: &mut [f32], width: usize, start: usize) {
        for (i, row) in rows.chunks_exact_mut(width).enumerate() {
            let (cos, sin) = self.at(start + i);
            rotate(row, cos, sin, 1.0);
        }
    }

    /// The transpose of [`Rope::apply`], for gradients.
    pub(super) fn transpose(&self, rows: &mut [f32], width: usize, start: usize) {
        for (i, row) in rows.chunks_exact_mut(width).enumerate() {
            let (cos, sin) = self.at(start + i);
            rotate(row, cos, sin, -1.0);
        }
    }
}
