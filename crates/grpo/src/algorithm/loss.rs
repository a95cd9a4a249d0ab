//! The policy loss of a reply, and its gradient with respect to each token's log-prob and entropy.
//!
//! All functions here take and return plain numbers, not tensors. The backward pass of the model starts from these
//! gradients.

use crate::algorithm::importance::importance_weights;
use crate::algorithm::kl::kl;
use crate::algorithm::surrogate::{LOG_RATIO_MAX, token_loss};
use crate::config::{Aggregate, Algorithm, CorrectionMode, KlEstimator, KlTarget, Surrogate};

/// The inputs of a reply's loss. Every slice has one element per token of the reply.
#[derive(Clone, Copy, Debug)]
pub struct ReplyInputs<'a> {
    /// Log-prob of each token under the policy that is being trained.
    pub log_probs: &'a [f32],
    /// Log-prob of each token under the old policy, the one before the first optimizer step on this batch.
    pub old_log_probs: &'a [f32],
    /// Log-prob of each token under the reference model; empty without a reference model.
    pub ref_log_probs: &'a [f32],
    /// Log-prob of each token under the distribution that the sampler drew from; empty without importance correction.
    pub sampler_log_probs: &'a [f32],
    /// Entropy of the policy's next-token distribution at each token, in nats.
    pub entropies: &'a [f32],
    /// The reply's advantage, the same for all its tokens.
    pub advantage: f64,
}

/// Totals of the minibatch of one optimizer step, by which the losses of its replies are divided.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Minibatch {
    /// Number of replies in the minibatch.
    pub replies: usize,
    /// Number of tokens of all replies in the minibatch.
    pub tokens: usize,
    /// The config's `sampling.max_tokens`, by which Dr. GRPO divides the loss.
    pub max_tokens: usize,
    /// Restricts the surrogate loss to tokens of high entropy (`algorithm.top_entropy`); `None` if all tokens count.
    pub entropy_floor: Option<EntropyFloor>,
}

/// The threshold by which only the tokens of highest entropy enter the surrogate loss.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EntropyFloor {
    /// Lowest entropy, in nats, with which a token enters the surrogate loss.
    pub entropy: f32,
    /// Number of tokens of the minibatch that have at least this entropy, and so enter the surrogate loss.
    pub tokens: usize,
}

/// KL estimates to the reference model, summed over the tokens of one or several replies, in nats.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct KlSums {
    /// Sum of the k1 estimates.
    pub k1: f64,
    /// Sum of the k2 estimates.
    pub k2: f64,
    /// Sum of the k3 estimates.
    pub k3: f64,
    /// Sum of the estimates that are in the loss (`algorithm.kl.estimator`), before multiplication by the KL weight.
    pub in_loss: f64,
}

impl KlSums {
    /// Adds the sums of another reply.
    pub fn add(&mut self, other: &Self) {
        self.k1 += other.k1;
        self.k2 += other.k2;
        self.k3 += other.k3;
        self.in_loss += other.in_loss;
    }
}

/// The loss of a reply, its gradients, and values for the metrics.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LossTerms {
    /// The reply's share of the loss of its minibatch; the shares of all replies add up to the loss.
    pub loss: f64,
    /// Gradient of the loss with respect to each token's log-prob.
    pub grad_log_probs: Vec<f32>,
    /// Gradient of the loss with respect to each token's entropy.
    pub grad_entropies: Vec<f32>,
    /// Ratios of the trained policy's probability to the old policy's: one per token, or one for the whole reply with
    /// GSPO.
    pub ratios: Vec<f32>,
    /// Number of ratios below the clip range with a negative advantage, where clipping changed the loss.
    pub clipped_low: usize,
    /// Number of ratios above the clip range with a positive advantage, where clipping changed the loss.
    pub clipped_high: usize,
    /// KL estimates to the reference model, summed over the reply's tokens; zeros without a reference model.
    pub kl: KlSums,
    /// Importance weight of each token; all 1 without importance correction.
    pub importance_weights: Vec<f64>,
}

/// Computes the loss of a reply as its share of the minibatch's loss. `docs/reference/algorithms.md` has the equations.
pub fn policy_loss(reply: &ReplyInputs, algorithm: &Algorithm, minibatch: &Minibatch) -> LossTerms {
    let a = algorithm;
    let n = reply.log_probs.len();
    let ratios = LogRatios::new(reply, a);
    let in_surrogate = |t: usize| minibatch.entropy_floor.is_none_or(|floor| reply.entropies[t] >= floor.entropy);
    let is_masked = is_off_policy(reply, a);
    let token_share = token_share(a.aggregate, n, minibatch);
    let has_reference = !reply.ref_log_probs.is_empty();
    let kl_in_loss = a.kl.target == KlTarget::Loss && has_reference;
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
            let log_ratio = if a.kl.unbiased { ratios.of_token(t) } else { 0.0 };
            let ratio = log_ratio.min(LOG_RATIO_MAX).exp();
            out.kl.in_loss += term.value * ratio;
            out.loss += token_share * a.kl.weight * term.value * ratio;
            grad_log_prob[t] += token_share * a.kl.weight * term.grad * ratio;
            // A ratio that was replaced by its bound has no gradient.
            if a.kl.unbiased && log_ratio <= LOG_RATIO_MAX {
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
    // GSPO has one ratio per reply, from the mean of the log-ratios, so every token gets the mean of the gradients.
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

/// Log-ratios of the trained policy to the old policy, and the importance weights, of one reply.
struct LogRatios {
    per_token: Vec<f64>,
    mean: f64,
    /// Whether every token uses the mean log-ratio of the reply (GSPO).
    is_per_reply: bool,
    /// Sum of the token log-ratios over the reply, log importance weights included (VESPO).
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

/// Whether a reply with a negative advantage is left out of the surrogate loss, because the trained policy is too far
/// from the policy that sampled the reply (`algorithm.off_policy_mask`; DeepSeek-V3.2, eq. 9).
fn is_off_policy(reply: &ReplyInputs, a: &Algorithm) -> bool {
    let drawn = if reply.sampler_log_probs.is_empty() { reply.old_log_probs } else { reply.sampler_log_probs };
    let n = reply.log_probs.len();
    let distance = (0..n).map(|t| f64::from(drawn[t]) - f64::from(reply.log_probs[t])).sum::<f64>() / n as f64;
    reply.advantage < 0.0 && a.off_policy_mask.is_some_and(|limit| distance > limit)
}

/// The factor by which the loss of each token is multiplied, in a reply of `n` tokens.
pub fn token_share(aggregate: Aggregate, n: usize, minibatch: &Minibatch) -> f64 {
    match aggregate {
        Aggregate::TokenMean => 1.0 / minibatch.tokens as f64,
        Aggregate::SequenceMean => 1.0 / (n * minibatch.replies) as f64,
        Aggregate::SequenceSum => 1.0 / minibatch.replies as f64,
        Aggregate::Constant => 1.0 / (minibatch.replies * minibatch.max_tokens) as f64,
    }
}

/// The entropy threshold above which a share `top` of the tokens lies; `None` when all tokens count. The quantile is
/// interpolated linearly, as in TRL and verl.
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

/// The soft overlong penalty (DAPO: Yu et al., 2025, eq. 13): a score that discourages replies close to the length
/// limit. For a reply of `length` tokens it is 0 up to `max_tokens − soft_tokens` tokens, then falls linearly to −1 at
/// `max_tokens`.
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
