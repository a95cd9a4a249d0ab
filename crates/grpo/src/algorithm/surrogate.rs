//! Surrogate losses of a token, as functions of the ratio `exp(log_prob − old_log_prob)` and the advantage of its
//! reply.

// A clamped ratio equals its bound exactly, so ratio and bound are compared without a tolerance.
#![allow(clippy::float_cmp)]

use crate::config::{Algorithm, Surrogate};

/// The surrogate loss of a token and its derivatives.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct TokenLoss {
    /// The token's loss, which is minimised.
    pub value: f64,
    /// Derivative of the loss with respect to the token's log-ratio; with GSPO, with respect to the reply's mean
    /// log-ratio.
    pub grad_log_ratio: f64,
    /// Derivative of the loss with respect to the log-prob, for surrogates that are a constant weight times the
    /// log-prob (CISPO, VESPO); otherwise 0.
    pub grad_log_prob: f64,
}

/// Bound of log-ratios: they are clamped to ± this before `exp`, so that no ratio overflows.
pub const LOG_RATIO_MAX: f64 = 20.0;

/// The surrogate loss of a token. `log_ratio` is the token's, or the reply's mean with GSPO. `reply_log_ratio` is the
/// sum of the log-ratios of the reply's tokens, log importance weights included; only VESPO uses it.
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

/// PPO's loss `−min(r·A, clip(r)·A)`. `ratio_max` optionally bounds the unclipped ratio, and `dual_clip` the loss of a
/// token with a negative advantage.
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

/// The loss `−weight · A · log_prob`; the weight is treated as a constant (stop-gradient).
fn weighted(weight: f64, advantage: f64, log_prob: f64) -> TokenLoss {
    let grad = -weight * advantage;
    TokenLoss { value: grad * log_prob, grad_log_ratio: 0.0, grad_log_prob: grad }
}

/// VESPO's weight `exp(λ) · w^k · exp(−λ·w)` of a reply with ratio `w`, which is 1 at `w = 1`. `k` and `λ` are the
/// constants of the paper, for non-negative and for negative advantages.
fn gamma_weight(advantage: f64, reply_log_ratio: f64) -> f64 {
    let (k, lambda) = if advantage >= 0.0 { (2.0, 3.0) } else { (3.0, 2.0) };
    let log_weight = reply_log_ratio.clamp(1e-8f64.ln(), LOG_RATIO_MAX);
    (lambda + k * log_weight - lambda * log_weight.exp()).exp()
}
