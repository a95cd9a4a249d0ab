//! Rotary position embedding, and how its frequencies are scaled for sequences beyond the trained length.

use std::f64::consts::TAU;
use std::sync::OnceLock;

/// Number of positions per chunk of the tables of cosines and sines.
const CHUNK: usize = 256;

simd!(
/// Rotates every head `[2 · half]` of one row in place. `sign` is 1, or −1 to rotate back.
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

/// How the frequencies are scaled, so that a model can read sequences beyond its trained length.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RopeKind {
    /// Frequencies are not scaled.
    Default,
    /// Linear interpolation: positions are divided by a factor (Chen et al., 2023).
    Linear {
        /// Number by which positions are divided.
        factor: f64,
    },
    /// The scaling of Llama 3.1: low frequencies are divided by a factor, high ones stay as they are, and between them
    /// is a smooth transition.
    Llama3 {
        /// Number by which low frequencies are divided.
        factor: f64,
        /// Low frequencies are those with wavelengths above `original / low`.
        low: f64,
        /// High frequencies are those with wavelengths below `original / high`.
        high: f64,
        /// Sequence length with which the model was trained, in tokens.
        original: f64,
    },
    /// YaRN (Peng et al., 2023): low frequencies are divided, high ones stay as they are, and a factor on cosines and
    /// sines changes the temperature of attention.
    Yarn {
        /// Number by which low frequencies are divided.
        factor: f64,
        /// Factor by which cosines and sines are multiplied.
        attention: f64,
        /// Frequencies with more full rotations than this over the trained length stay as they are.
        beta_fast: f64,
        /// Frequencies with fewer full rotations than this over the trained length are divided by `factor`.
        beta_slow: f64,
        /// Sequence length with which the model was trained, in tokens.
        original: f64,
        /// Whether the two ends of the transition between divided and unchanged frequencies are rounded to whole
        /// dimensions.
        truncate: bool,
    },
}

/// The parameters of rotary position embedding.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RopeConfig {
    /// Base of the frequencies: pair `i` of a head's elements rotates by `theta^(−2i/dim)` radians per position.
    pub theta: f64,
    /// Scaling of the frequencies for sequences beyond the trained length.
    pub kind: RopeKind,
}

impl RopeConfig {
    /// The rotation in radians per position of each pair of elements of a head, `[dim / 2]`, and the factor of cosines
    /// and sines.
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

/// Tables of the cosines and sines of rotary position embedding (Su et al., 2021), computed in chunks of positions when
/// they are first used. Element `i` of a head is rotated with element `i + dim / 2`, as in Hugging Face's
/// implementation.
#[derive(Debug)]
pub struct Rope {
    frequencies: Vec<f32>,
    scale: f32,
    chunks: Vec<OnceLock<Vec<f32>>>,
}

impl Rope {
    /// Makes tables for `positions` positions, and for heads of `dim` elements.
    pub fn new(positions: usize, dim: usize, config: &RopeConfig) -> Self {
        let (frequencies, scale) = config.frequencies(dim);
        Self { frequencies, scale, chunks: (0..positions.div_ceil(CHUNK)).map(|_| OnceLock::new()).collect() }
    }

    /// The cosines and the sines of a position, `[dim / 2]` each.
    ///
    /// # Panics
    /// When the tables were made for fewer positions.
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

    /// Rotates rows `[t, width]`, which have the positions from `start` on, in place.
    pub(super) fn apply(&self, rows: &mut [f32], width: usize, start: usize) {
        for (i, row) in rows.chunks_exact_mut(width).enumerate() {
            let (cos, sin) = self.at(start + i);
            rotate(row, cos, sin, 1.0);
        }
    }

    /// Rotates rows back: the transpose of [`Rope::apply`], which gradients need.
    pub(super) fn transpose(&self, rows: &mut [f32], width: usize, start: usize) {
        for (i, row) in rows.chunks_exact_mut(width).enumerate() {
            let (cos, sin) = self.at(start + i);
            rotate(row, cos, sin, -1.0);
        }
    }
}
