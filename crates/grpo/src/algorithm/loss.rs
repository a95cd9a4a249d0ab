//! The objective of a reply: what it costs, and how the cost moves with each token's log-prob and entropy.
//!
//! Plain numbers in, plain numbers out: the model's backward pass only needs the slopes.

use crate::algorithm::importance::weights;
use crate::algorithm::kl::kl;
use crate::algorithm::surrogate::{LOG_RATIO_MAX, cost};
use crate::config::{Aggregate, Algorithm, CorrectionMode, KlEstimator, KlPlace, Surrogate};

/// A reply as the objective sees it; every slice has one element per token.
#[derive(Clone, Copy, Debug)]
pub struct Reply<'a> {
    /// Log-probs under the policy that is being trained.
    pub log_probs: &'a [f32],
    /// Log-probs under the policy before this batch's first step.
    pub old: &'a [f32],
    /// Log-probs under the reference; empty where there is none.
    pub reference: &'a [f32],
    /// Log-probs under the distribution that drew them; empty where no correction is asked for.
    pub sampled: &'a [f32],
    /// Entropies of the next token under the policy that is being trained.
    pub entropies: &'a [f32],
    /// How much better it is than its group.
    pub advantage: f64,
}

/// What all replies of an optimizer step share.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Batch {
    /// Replies in the step.
    pub replies: usize,
    /// Their tokens.
    pub tokens: usize,
    /// `sampling.max_tokens`.
    pub max_tokens: usize,
    /// Least entropy of a token in the surrogate, and how many tokens have it; all when absent.
    pub entropy_floor: Option<(f32, usize)>,
}

/// The cost of a reply, its slopes, and what is worth knowing of its tokens.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Costed {
    /// Its share of the loss.
    pub loss: f64,
    /// Slopes of the loss by each token's log-prob.
    pub by_log_prob: Vec<f32>,
    /// Slopes of the loss by each token's entropy.
    pub by_entropy: Vec<f32>,
    /// Ratios: one per token, or one for the reply under a reply's ratio.
    pub ratios: Vec<f32>,
    /// How many ratios were clipped from below, where that changed the cost.
    pub clipped_low: usize,
    /// How many were clipped from above.
    pub clipped_high: usize,
    /// Sums over tokens of the KL estimates k1, k2, k3, and of the one in the loss as it stands there.
    pub kl: [f64; 4],
    /// Weights of the correction, one per token.
    pub corrections: Vec<f64>,
}

/// The cost of a reply within its batch.
pub fn costed(reply: &Reply, algorithm: &Algorithm, batch: &Batch) -> Costed {
    let a = algorithm;
    let n = reply.log_probs.len();
    let at = |x: &[f32], t: usize| f64::from(x[t]);
    let log_ratios: Vec<f64> = (0..n).map(|t| at(reply.log_probs, t) - at(reply.old, t)).collect();
    let of_reply = a.surrogate == Surrogate::Gspo;
    let mean_log_ratio = log_ratios.iter().sum::<f64>() / n as f64;
    let log_ratio = |t: usize| if of_reply { mean_log_ratio } else { log_ratios[t] };

    let corrected = a.correction.mode != CorrectionMode::None && !reply.sampled.is_empty();
    let corrections = if corrected { weights(&a.correction, reply.old, reply.sampled) } else { vec![1.0; n] };
    let mut reply_log_ratio: f64 = log_ratios.iter().map(|r| r.clamp(-LOG_RATIO_MAX, LOG_RATIO_MAX)).sum();
    if corrected {
        reply_log_ratio += corrections.iter().map(|w| w.ln().clamp(1e-8f64.ln(), LOG_RATIO_MAX)).sum::<f64>();
    }
    let drawn_by = if reply.sampled.is_empty() { reply.old } else { reply.sampled };
    let moved = (0..n).map(|t| at(drawn_by, t) - at(reply.log_probs, t)).sum::<f64>() / n as f64;
    let in_policy = reply.advantage >= 0.0 || a.off_policy_mask.is_none_or(|most| moved <= most);
    let in_surrogate = |t: usize| batch.entropy_floor.is_none_or(|(floor, _)| reply.entropies[t] >= floor);

    let share = match a.aggregate {
        Aggregate::TokenMean => 1.0 / batch.tokens as f64,
        Aggregate::SequenceMean => 1.0 / (n * batch.replies) as f64,
        Aggregate::SequenceSum => 1.0 / batch.replies as f64,
        Aggregate::Constant => 1.0 / (batch.replies * batch.max_tokens) as f64,
    };
    let charged = a.kl.place == KlPlace::Loss && !reply.reference.is_empty();
    let bonus = a.entropy_bonus / batch.entropy_floor.map_or(batch.tokens, |(_, tokens)| tokens).max(1) as f64;

    let mut out = Costed { by_log_prob: vec![0.0; n], by_entropy: vec![0.0; n], ..Costed::default() };
    let (mut by_log_prob, mut by_log_ratio) = (vec![0.0; n], vec![0.0; n]);
    for t in 0..n {
        let log_prob = at(reply.log_probs, t);
        if in_policy && in_surrogate(t) {
            let weight = if a.surrogate == Surrogate::Vespo { 1.0 } else { corrections[t] };
            let cost = cost(a, reply.advantage, log_ratio(t), log_prob, reply_log_ratio);
            out.loss += share * weight * cost.value;
            by_log_ratio[t] += share * weight * cost.by_log_ratio;
            by_log_prob[t] += share * weight * cost.by_log_prob;
        }
        if charged {
            let (value, slope) = kl(a.kl.estimator, log_prob, at(reply.reference, t));
            let ratio = if a.kl.unbiased { log_ratio(t).min(LOG_RATIO_MAX).exp() } else { 1.0 };
            out.kl[3] += value * ratio;
            out.loss += share * a.kl.weight * value * ratio;
            by_log_prob[t] += share * a.kl.weight * slope * ratio;
            if a.kl.unbiased {
                by_log_ratio[t] += share * a.kl.weight * value * ratio;
            }
        }
        if bonus > 0.0 && in_surrogate(t) {
            out.loss -= bonus * at(reply.entropies, t);
            out.by_entropy[t] = -bonus as f32;
        }
        if !reply.reference.is_empty() {
            for (sum, estimator) in out.kl.iter_mut().zip([KlEstimator::K1, KlEstimator::K2, KlEstimator::K3]) {
                *sum += kl(estimator, log_prob, at(reply.reference, t)).0;
            }
        }
    }
    // A reply's ratio moves with the mean of its tokens' log-probs.
    let spread = by_log_ratio.iter().sum::<f64>() / n as f64;
    for t in 0..n {
        out.by_log_prob[t] = (by_log_prob[t] + if of_reply { spread } else { by_log_ratio[t] }) as f32;
    }
    for t in 0..if of_reply { 1 } else { n } {
        let ratio = log_ratio(t).clamp(-LOG_RATIO_MAX, LOG_RATIO_MAX).exp();
        out.ratios.push(ratio as f32);
        out.clipped_low += usize::from(ratio < 1.0 - a.clip_low && reply.advantage < 0.0);
        out.clipped_high += usize::from(ratio > 1.0 + a.clip_high && reply.advantage > 0.0);
    }
    out.corrections = corrections;
    out
}

/// The least entropy among the given share of tokens with the highest, and how many tokens have at least that; absent
/// when all tokens count. The quantile is interpolated as the reference implementations do it.
pub fn entropy_floor(entropies: &[f32], top: f64) -> Option<(f32, usize)> {
    if top >= 1.0 || entropies.is_empty() {
        return None;
    }
    let mut sorted = entropies.to_vec();
    sorted.sort_by(f32::total_cmp);
    let at = (1.0 - top) * (sorted.len() - 1) as f64;
    let (below, above) = (sorted[at.floor() as usize], sorted[at.ceil() as usize]);
    let floor = below + (above - below) * at.fract() as f32;
    Some((floor, entropies.iter().filter(|e| **e >= floor).count()))
}

/// The soft overlong penalty of a reply (Yu et al., 2025, eq. 13): 0 up to `max_tokens − soft_tokens`, then falling to −1
/// at `max_tokens`.
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
