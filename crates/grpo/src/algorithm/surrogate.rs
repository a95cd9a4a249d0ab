//! Surrogates: what a token's ratio `exp(log-prob − old)` and its reply's advantage cost.

// A ratio at its bound is the bound.
#![allow(clippy::float_cmp)]

use crate::config::{Algorithm, Surrogate};

/// A token's cost and its slopes; the log-ratio is the token's own or its whole reply's.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cost {
    /// The cost, to be minimised.
    pub value: f64,
    /// Its slope by the log-ratio.
    pub by_log_ratio: f64,
    /// Its slope by the log-prob where that enters directly.
    pub by_log_prob: f64,
}

/// Log-ratios beyond this are cut, so that none overflows.
pub const LOG_RATIO_MAX: f64 = 20.0;

/// The cost of a token. `reply_log_ratio` is the sum of the reply's log-ratios, corrections included.
pub fn cost(a: &Algorithm, advantage: f64, log_ratio: f64, log_prob: f64, reply_log_ratio: f64) -> Cost {
    let within = log_ratio.abs() <= LOG_RATIO_MAX;
    let ratio = log_ratio.clamp(-LOG_RATIO_MAX, LOG_RATIO_MAX).exp();
    match a.surrogate {
        Surrogate::Ppo | Surrogate::Gspo => {
            let mut cost = clipped(a, advantage, ratio);
            if !within {
                cost.by_log_ratio = 0.0;
            }
            cost
        }
        Surrogate::Cispo => {
            let weight = ratio.clamp(1.0 - a.clip_low, 1.0 + a.clip_high);
            weighted(weight, advantage, log_prob)
        }
        Surrogate::Sapo => {
            let t = a.sapo_temperature[usize::from(advantage <= 0.0)];
            let gate = 1.0 / (1.0 + (-t * (ratio - 1.0)).exp());
            let slope = -advantage * 4.0 * gate * (1.0 - gate) * ratio;
            Cost {
                value: -advantage * gate * 4.0 / t,
                by_log_ratio: if within { slope } else { 0.0 },
                by_log_prob: 0.0,
            }
        }
        Surrogate::Vespo => weighted(gamma_weight(advantage, reply_log_ratio), advantage, log_prob),
    }
}

/// `−min(r·A, clip(r)·A)`, with the bounds that are asked for beside the two of the clip.
fn clipped(a: &Algorithm, advantage: f64, ratio: f64) -> Cost {
    let bounded = ratio.clamp(1.0 - a.clip_low, 1.0 + a.clip_high);
    let free = a.ratio_max.map_or(ratio, |most| ratio.min(most));
    let (taken, moves) =
        if free * advantage <= bounded * advantage { (free, free == ratio) } else { (bounded, bounded == ratio) };
    let value = -taken * advantage;
    match a.dual_clip {
        Some(most) if advantage < 0.0 && value > -advantage * most => {
            Cost { value: -advantage * most, ..Cost::default() }
        }
        _ => Cost { value, by_log_ratio: if moves { value } else { 0.0 }, by_log_prob: 0.0 },
    }
}

/// A weight that does not move, on the log-prob.
fn weighted(weight: f64, advantage: f64, log_prob: f64) -> Cost {
    let slope = -weight * advantage;
    Cost { value: slope * log_prob, by_log_ratio: 0.0, by_log_prob: slope }
}

/// VESPO's `exp(λ) · w^k · exp(−λ·w)`, 1 at `w = 1`, with the constants that it was published with.
fn gamma_weight(advantage: f64, reply_log_ratio: f64) -> f64 {
    let (k, lambda) = if advantage >= 0.0 { (2.0, 3.0) } else { (3.0, 2.0) };
    let log_weight = reply_log_ratio.clamp(1e-8f64.ln(), LOG_RATIO_MAX);
    (lambda + k * log_weight - lambda * log_weight.exp()).exp()
}
