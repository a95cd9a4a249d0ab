//! Learning rates and the order of data: functions of the step, with no state to lose.

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How the learning rate falls after its warm-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Decay {
    /// Not at all.
    Constant,
    /// Straight to zero at the last step.
    Linear,
    /// Along half a cosine to zero at the last step.
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

/// Which of `n` items step `step` takes, `batch` at a time: every item once per epoch, in an order that
/// only seed and epoch decide.
pub fn batch(n: usize, batch: usize, step: u64, seed: u64) -> Vec<usize> {
    draw(n, batch, step * batch as u64, seed)
}

/// The `wanted` items after the first `drawn` in that order.
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

/// One seed out of several numbers (SplitMix64's finaliser, chained).
pub fn mix(parts: &[u64]) -> u64 {
    parts.iter().fold(0x9e37_79b9_7f4a_7c15, |h, part| {
        let mut z = (h ^ part).wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    })
}
