//! The policy loss of a reply, and its gradient with respect to each token's log-prob and entropy.
//!
//! Plain numbers in, plain numbers out: the backward pass of the model starts from these gradients.

use crate::algorithm::importance::importance_weights;
use crate::algorithm::kl::kl;
use crate::algorithm::surrogate::{LOG_RATIO_MAX, token_loss};
use crate::config::{Aggregate, Algorithm, CorrectionMode, KlEstimator, KlPlace, Surrogate};

/// What the loss of a reply depends on; every slice has one element per token of the reply.
#[derive(Clone, Copy, Debug)]
pub struct ReplyInputs<'a> {
    /// Log-probs under the policy that is trained.
    pub log_probs: &'a [f32],
    /// Log-probs under the policy before the first optimizer step on this batch.
    pub old_log_probs: &'a [f32],
    /// Log-probs under the reference model; empty without one.
    pub ref_log_probs: &'a [f32],
    /// Log-probs under the distribution that the sampler drew from; empty without importance correction.
    pub sampler_log_probs: &'a [f32],
    /// Entropies of the next-token distribution of the policy that is trained, in nats.
    pub entropies: &'a [f32],
    /// The reply's advantage.
    pub advantage: f64,
}

/// Totals of an optimizer step's minibatch, by which losses are normalised.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Minibatch {
    /// Number of replies.
    pub replies: usize,
    /// Number of their tokens.
    pub tokens: usize,
    /// `sampling.max_tokens`, the divisor of Dr. GRPO.
    pub max_tokens: usize,
    /// Which tokens enter the surrogate; `None` for all of them.
    pub entropy_floor: Option<EntropyFloor>,
}

/// The entropy from which on a token belongs to those of highest entropy.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EntropyFloor {
    /// The least entropy, in nats.
    pub entropy: f32,
    /// Number of tokens with at least that entropy.
    pub tokens: usize,
}

/// Sums over the tokens of a reply of the KL estimates.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct KlSums {
    /// Of k1.
    pub k1: f64,
    /// Of k2.
    pub k2: f64,
    /// Of k3.
    pub k3: f64,
    /// Of the estimate in the loss, before its weight.
    pub in_loss: f64,
}

impl KlSums {
    /// Adds another reply's sums.
    pub fn add(&mut self, other: &Self) {
        self.k1 += other.k1;
        self.k2 += other.k2;
        self.k3 += other.k3;
        self.in_loss += other.in_loss;
    }
}

/// The loss of a reply, its gradients, and what metrics need.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LossTerms {
    /// The reply's share of the minibatch's loss.
    pub loss: f64,
    /// Gradient with respect to each token's log-prob.
    pub grad_log_probs: Vec<f32>,
    /// Gradient with respect to each token's entropy.
    pub grad_entropies: Vec<f32>,
    /// Ratios to the old policy: one per token, or one for the reply under GSPO.
    pub ratios: Vec<f32>,
    /// Number of ratios clipped from below, where clipping changed the loss.
    pub clipped_low: usize,
    /// Number of ratios clipped from above, where clipping changed the loss.
    pub clipped_high: usize,
    /// KL to the reference; zeros without one.
    pub kl: KlSums,
    /// Importance weights, one per token; all 1 without correction.
    pub importance_weights: Vec<f64>,
}

/// The loss of a reply within its minibatch. `docs/algorithms.md` has the equations.
pub fn policy_loss(reply: &ReplyInputs, algorithm: &Algorithm, minibatch: &Minibatch) -> LossTerms {
    let a = algorithm;
    let n = reply.log_probs.len();
    let ratios = LogRatios::new(reply, a);
    let in_surrogate = |t: usize| minibatch.entropy_floor.is_none_or(|floor| reply.entropies[t] >= floor.entropy);
    let is_masked = is_off_policy(reply, a);
    let token_share = token_share(a.aggregate, n, minibatch);
    let has_reference = !reply.ref_log_probs.is_empty();
    let kl_in_loss = a.kl.place == KlPlace::Loss && has_reference;
    let entropy_tokens = minibatch.entropy_floor.map_or(minibatch.tokens, |floor| floor.tokens);
    let entropy_bonus = a.entropy_bonus / entropy_tokens.max(1) as f64;

    let mut out = LossTerms { grad_log_probs: vec![0.0; n], grad_entropies: vec![0.0; n], ..LossTerms::default() };
    let (mut grad_log_prob, mut grad_log_ratio) = (vec![0.0; n], vec![0.0; n]);
    for t in 0..n {
        let log_prob = f64::from(reply.log_probs[t]);
        if !is_masked && in_surrogate(t) {
            let weight = if a.surrogate == Surrogate::Vespo { 1.0 } else { ratios.importance_weights[t] };
            let token = token_loss(a, reply.advantage, ratios.of_token(t), log_prob, ratios.of_reply);
            out.loss += token_share * weight * token.value;
            grad_log_ratio[t] += token_share * weight * token.grad_log_ratio;
            grad_log_prob[t] += token_share * weight * token.grad_log_prob;
        }
        if kl_in_loss {
            let term = kl(a.kl.estimator, log_prob, f64::from(reply.ref_log_probs[t]));
            let ratio = if a.kl.unbiased { ratios.of_token(t).min(LOG_RATIO_MAX).exp() } else { 1.0 };
            out.kl.in_loss += term.value * ratio;
            out.loss += token_share * a.kl.weight * term.value * ratio;
            grad_log_prob[t] += token_share * a.kl.weight * term.grad * ratio;
            if a.kl.unbiased {
                grad_log_ratio[t] += token_share * a.kl.weight * term.value * ratio;
            }
        }
        if entropy_bonus > 0.0 && in_surrogate(t) {
            out.loss -= entropy_bonus * f64::from(reply.entropies[t]);
            out.grad_entropies[t] = -entropy_bonus as f32;
        }
        if has_reference {
            let estimate = |estimator| kl(estimator, log_prob, f64::from(reply.ref_log_probs[t])).value;
            out.kl.k1 += estimate(KlEstimator::K1);
            out.kl.k2 += estimate(KlEstimator::K2);
            out.kl.k3 += estimate(KlEstimator::K3);
        }
    }
    // GSPO's ratio is the mean over the reply, so every token gets the mean of the gradients.
    let mean_grad = grad_log_ratio.iter().sum::<f64>() / n as f64;
    for t in 0..n {
        out.grad_log_probs[t] =
            (grad_log_prob[t] + if ratios.is_per_reply { mean_grad } else { grad_log_ratio[t] }) as f32;
    }
    for t in 0..if ratios.is_per_reply { 1 } else { n } {
        let ratio = ratios.of_token(t).clamp(-LOG_RATIO_MAX, LOG_RATIO_MAX).exp();
        out.ratios.push(ratio as f32);
        out.clipped_low += usize::from(ratio < 1.0 - a.clip_low && reply.advantage < 0.0);
        out.clipped_high += usize::from(ratio > 1.0 + a.clip_high && reply.advantage > 0.0);
    }
    out.importance_weights = ratios.importance_weights;
    out
}

/// Log-ratios of the trained policy to the old one.
struct LogRatios {
    per_token: Vec<f64>,
    mean: f64,
    /// Whether all tokens share the reply's mean log-ratio (GSPO).
    is_per_reply: bool,
    /// The sum over the reply, importance corrections included (VESPO).
    of_reply: f64,
    importance_weights: Vec<f64>,
}

impl LogRatios {
    fn new(reply: &ReplyInputs, a: &Algorithm) -> Self {
        let n = reply.log_probs.len();
        let difference = |(new, old): (&f32, &f32)| f64::from(*new) - f64::from(*old);
        let per_token: Vec<f64> = reply.log_probs.iter().zip(reply.old_log_probs).map(difference).collect();
        let mean = per_token.iter().sum::<f64>() / n as f64;
        let is_corrected = a.correction.mode != CorrectionMode::None && !reply.sampler_log_probs.is_empty();
        let mut of_reply: f64 = per_token.iter().map(|r| r.clamp(-LOG_RATIO_MAX, LOG_RATIO_MAX)).sum();
        let importance_weights = if is_corrected {
            let weights = importance_weights(&a.correction, reply.old_log_probs, reply.sampler_log_probs);
            of_reply += weights.iter().map(|w| w.ln().clamp(1e-8f64.ln(), LOG_RATIO_MAX)).sum::<f64>();
            weights
        } else {
            vec![1.0; n]
        };
        Self { per_token, mean, is_per_reply: a.surrogate == Surrogate::Gspo, of_reply, importance_weights }
    }

    fn of_token(&self, t: usize) -> f64 {
        if self.is_per_reply { self.mean } else { self.per_token[t] }
    }
}

/// Whether a reply with a negative advantage is left out because the policy has moved too far from the one that drew it
/// (DeepSeek-V3.2, eq. 9).
fn is_off_policy(reply: &ReplyInputs, a: &Algorithm) -> bool {
    let drawn = if reply.sampler_log_probs.is_empty() { reply.old_log_probs } else { reply.sampler_log_probs };
    let n = reply.log_probs.len();
    let distance = (0..n).map(|t| f64::from(drawn[t]) - f64::from(reply.log_probs[t])).sum::<f64>() / n as f64;
    reply.advantage < 0.0 && a.off_policy_mask.is_some_and(|limit| distance > limit)
}

/// What the loss of one token is multiplied by, in a reply of `n` tokens.
fn token_share(aggregate: Aggregate, n: usize, minibatch: &Minibatch) -> f64 {
    match aggregate {
        Aggregate::TokenMean => 1.0 / minibatch.tokens as f64,
        Aggregate::SequenceMean => 1.0 / (n * minibatch.replies) as f64,
        Aggregate::SequenceSum => 1.0 / minibatch.replies as f64,
        Aggregate::Constant => 1.0 / (minibatch.replies * minibatch.max_tokens) as f64,
    }
}

/// The entropy floor of the `top` share of tokens with the highest entropy; `None` when all tokens count. The quantile is
/// interpolated linearly, as TRL and verl do.
pub fn entropy_floor(entropies: &[f32], top: f64) -> Option<EntropyFloor> {
    if top >= 1.0 || entropies.is_empty() {
        return None;
    }
    let mut sorted = entropies.to_vec();
    sorted.sort_by(f32::total_cmp);
    let at = (1.0 - top) * (sorted.len() - 1) as f64;
    let (below, above) = (sorted[at.floor() as usize], sorted[at.ceil() as usize]);
    let entropy = below + (above - below) * at.fract() as f32;
    Some(EntropyFloor { entropy, tokens: entropies.iter().filter(|e| **e >= entropy).count() })
}

/// The soft overlong penalty of a reply of `length` tokens (DAPO: Yu et al., 2025, eq. 13): 0 up to
/// `max_tokens − soft_tokens`, then falling linearly to −1 at `max_tokens`.
pub fn soft_overlong(length: usize, max_tokens: usize, soft_tokens: usize) -> f64 {
    let free = max_tokens.saturating_sub(soft_tokens);
    if length <= free {
        0.0
    } else if length > max_tokens {
        -1.0
    } else {
        (free as f64 - length as f64) / soft_tokens as f64
    }
}
