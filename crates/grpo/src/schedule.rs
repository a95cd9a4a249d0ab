//! Learning rate, order of data and seeds as functions of seed and step, so that a checkpoint need not keep them.

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How the learning rate changes after its linear rise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Decay {
    /// The learning rate stays at its peak.
    Constant,
    /// The learning rate falls linearly, to zero after the last step.
    Linear,
    /// The learning rate falls along half a cosine, to zero after the last step.
    Cosine,
}

/// Learning rate of step `step` (from 0) of `steps`: it rises linearly to `peak` over the first `warmup` steps, then
/// decays.
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

/// Indices of the `batch` items, out of `n`, that step `step` (from 0) takes. Every item is taken once per epoch, in an
/// order that depends only on seed and epoch.
pub fn batch(n: usize, batch: usize, step: u64, seed: u64) -> Vec<usize> {
    draw(n, batch, step * batch as u64, seed)
}

/// Indices of the next `wanted` items, out of `n`, when `drawn` items have been taken before. The order is that of
/// [`batch`]: shuffled anew in every epoch.
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

/// The purposes for which random numbers are drawn. Each variant has seeds of its own ([`Stream::seed`]).
///
/// Two purposes have no variant: sampled replies of training steps use the seed `mix(&[seed, step, prompt, reply])`,
/// and the order of data uses `mix(&[seed, epoch])`. The seed of an epoch equals [`Stream::seed`] of the variant with
/// the same number. This does no harm, because an order of data has nothing in common with weights or replies that are
/// drawn from the same random numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Random numbers for the initial weights of a model from scratch, or of a LoRA adapter.
    Weights = 1,
    /// Random numbers for sampling replies to held-out prompts.
    HeldOut = 2,
    /// Random numbers for LoRA's dropout; one generator per step.
    Dropout = 3,
    /// Random numbers for sampling replies to the prompts of evaluation suites.
    Suites = 4,
    /// Random numbers for the order of prompts in a mixture of domains; one generator per domain.
    Mixture = 5,
    /// Random numbers for the initial weights of a reward model's scalar head.
    RewardHead = 6,
    /// Random numbers for the intervals of learned weights of tools; one generator per step.
    WeightIntervals = 7,
    /// Random numbers that decide which prompts' audits teach the learned weights; one per prompt.
    TaughtPrompts = 8,
}

impl Stream {
    /// The seed for this purpose in a run with seed `seed`.
    pub fn seed(self, seed: u64) -> u64 {
        mix(&[seed, self as u64])
    }

    /// The seed of the generator with index `index`, for a purpose with several generators, such as one per step or
    /// domain.
    pub fn seed_at(self, seed: u64, index: u64) -> u64 {
        mix(&[seed, self as u64, index])
    }
}

/// Hashes several numbers to one seed with the finaliser of SplitMix64 (Steele et al., 2014), applied once per number.
pub fn mix(parts: &[u64]) -> u64 {
    parts.iter().fold(0x9e37_79b9_7f4a_7c15, |h, part| {
        let mut z = (h ^ part).wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    })
}
