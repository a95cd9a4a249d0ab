//! Surrogate losses of a token: functions of the ratio `exp(log_prob − old_log_prob)` and the advantage of its reply.

// A clamped ratio equals its bound exactly, so ratio and bound are compared without a tolerance.
#![allow(clippy::float_cmp)]

use crate::config::{Algorithm, Surrogate};

/// A token's loss and its derivatives.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct TokenLoss {
    /// The loss, to be minimised.
    pub value: f64,
    /// Derivative with respect to the log-ratio: the token's, or its reply's mean under GSPO.
    pub grad_log_ratio: f64,
    /// Derivative with respect to the log-prob, for surrogates that multiply it by a constant weight (CISPO, VESPO).
    pub grad_log_prob: f64,
}

/// Log-ratios are clamped to ± this before `exp`, so that no ratio overflows.
pub const LOG_RATIO_MAX: f64 = 20.0;

/// The surrogate loss of a token. `reply_log_ratio` is the sum of the log-ratios of the reply's tokens, importance
/// corrections included (VESPO).
pub fn token_loss(a: &Algorithm, advantage: f64, log_ratio: f64, log_prob: f64, reply_log_ratio: f64) -> TokenLoss {
    let within = log_ratio.abs() <= LOG_RATIO_MAX;
    let ratio = log_ratio.clamp(-LOG_RATIO_MAX, LOG_RATIO_MAX).exp();
    match a.surrogate {
        Surrogate::Ppo | Surrogate::Gspo => {
            let mut loss = clipped(a, advantage, ratio);
            if !within {
                loss.grad_log_ratio = 0.0;
            }
            loss
        }
        Surrogate::Cispo => {
            let weight = ratio.clamp(1.0 - a.clip_low, 1.0 + a.clip_high);
            weighted(weight, advantage, log_prob)
        }
        Surrogate::Sapo => {
            let t = a.sapo_temperature[usize::from(advantage <= 0.0)];
            let gate = 1.0 / (1.0 + (-t * (ratio - 1.0)).exp());
            let grad = -advantage * 4.0 * gate * (1.0 - gate) * ratio;
            TokenLoss {
                value: -advantage * gate * 4.0 / t,
                grad_log_ratio: if within { grad } else { 0.0 },
                grad_log_prob: 0.0,
            }
        }
        Surrogate::Vespo => weighted(gamma_weight(advantage, reply_log_ratio), advantage, log_prob),
    }
}

/// PPO's `−min(r·A, clip(r)·A)`, with the optional upper bound of the unclipped ratio and the optional dual clip.
fn clipped(a: &Algorithm, advantage: f64, ratio: f64) -> TokenLoss {
    let bounded = ratio.clamp(1.0 - a.clip_low, 1.0 + a.clip_high);
    let unclipped = a.ratio_max.map_or(ratio, |most| ratio.min(most));
    // A ratio that was replaced by a bound has no gradient.
    let (taken, has_grad) = if unclipped * advantage <= bounded * advantage {
        (unclipped, unclipped == ratio)
    } else {
        (bounded, bounded == ratio)
    };
    let value = -taken * advantage;
    match a.dual_clip {
        Some(most) if advantage < 0.0 && value > -advantage * most => {
            TokenLoss { value: -advantage * most, ..TokenLoss::default() }
        }
        _ => TokenLoss { value, grad_log_ratio: if has_grad { value } else { 0.0 }, grad_log_prob: 0.0 },
    }
}

/// `−weight · A · log_prob`, with the weight held constant (stop-gradient).
fn weighted(weight: f64, advantage: f64, log_prob: f64) -> TokenLoss {
    let grad = -weight * advantage;
    TokenLoss { value: grad * log_prob, grad_log_ratio: 0.0, grad_log_prob: grad }
}

/// VESPO's weight `exp(λ) · w^k · exp(−λ·w)` of a reply with ratio `w`; it is 1 at `w = 1`. `k` and `λ` are the published
/// constants.
fn gamma_weight(advantage: f64, reply_log_ratio: f64) -> f64 {
    let (k, lambda) = if advantage >= 0.0 { (2.0, 3.0) } else { (3.0, 2.0) };
    let log_weight = reply_log_ratio.clamp(1e-8f64.ln(), LOG_RATIO_MAX);
    (lambda + k * log_weight - lambda * log_weight.exp()).exp()
}
