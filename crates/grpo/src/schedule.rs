//! Learning rate, order of data and random streams: functions of seed and step, so that a checkpoint need not keep them.

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How the learning rate decays after its warm-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Decay {
    /// It stays at the peak.
    Constant,
    /// Linearly, to zero at the last step.
    Linear,
    /// Along half a cosine, to zero at the last step.
    Cosine,
}

/// Learning rate of step `step` (from 0) of `steps`: a linear rise over `warmup` steps, then the decay.
pub fn learning_rate(peak: f32, step: u64, steps: u64, warmup: u64, decay: Decay) -> f32 {
    if step < warmup {
        return peak * (step + 1) as f32 / warmup as f32;
    }
    let left = steps.saturating_sub(warmup).max(1);
    let progress = ((step - warmup) as f32 / left as f32).min(1.0);
    match decay {
        Decay::Constant => peak,
        Decay::Linear => peak * (1.0 - progress),
        Decay::Cosine => peak * 0.5 * (1.0 + (std::f32::consts::PI * progress).cos()),
    }
}

/// Indices of the `batch` of `n` items that step `step` (from 0) takes: every item once per epoch, in an order that depends
/// on seed and epoch alone.
pub fn batch(n: usize, batch: usize, step: u64, seed: u64) -> Vec<usize> {
    draw(n, batch, step * batch as u64, seed)
}

/// The next `wanted` indices in that order, after the first `drawn`.
pub fn draw(n: usize, wanted: usize, drawn: u64, seed: u64) -> Vec<usize> {
    let first = drawn as usize;
    let mut order = Vec::new();
    let mut shuffled_for = None;
    let mut items = Vec::with_capacity(wanted);
    for at in first..first + wanted {
        let epoch = at / n;
        if shuffled_for != Some(epoch) {
            order = (0..n).collect();
            order.shuffle(&mut ChaCha8Rng::seed_from_u64(mix(&[seed, epoch as u64])));
            shuffled_for = Some(epoch);
        }
        items.push(order[at % n]);
    }
    items
}

/// What random numbers are drawn for. Each purpose has a stream of its own, so that none repeats another's numbers: the
/// seed of a stream is [`Stream::seed`].
///
/// Sampled replies and the order of data have seeds of other forms: `[seed, step, prompt, sample]` and `[seed, epoch]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Initial weights of a model from scratch, or of a LoRA adapter.
    Weights = 1,
    /// Sampled replies to held-out prompts.
    HeldOut = 2,
    /// LoRA's dropout, by step.
    Dropout = 3,
    /// Sampled replies of suites while training.
    Suites = 4,
    /// The order of each domain's prompts, by domain and epoch.
    Mixture = 5,
    /// Initial weights of a reward model's head.
    RewardHead = 6,
}

impl Stream {
    /// The seed of this stream in a run with seed `seed`.
    pub fn seed(self, seed: u64) -> u64 {
        mix(&[seed, self as u64])
    }

    /// The same, for the `index`-th of several generators of the stream.
    pub fn seed_at(self, seed: u64, index: u64) -> u64 {
        mix(&[seed, self as u64, index])
    }
}

/// One seed from several numbers: the finaliser of SplitMix64 (Steele et al., 2014), chained.
pub fn mix(parts: &[u64]) -> u64 {
    parts.iter().fold(0x9e37_79b9_7f4a_7c15, |h, part| {
        let mut z = (h ^ part).wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    })
}
