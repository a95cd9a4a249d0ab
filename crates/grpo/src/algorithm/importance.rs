//! Importance correction for a sampler whose token probabilities differ from the trainer's: each token is weighted by
//! the ratio of the two, truncated or masked (TIS: Yao et al., 2025).

use crate::config::{Correction, CorrectionMode};

/// The importance weight of every token of a reply: `exp(old log-prob − sampler log-prob)`, or the product of these
/// ratios over the reply, kept within `correction`'s bounds. `old_log_probs` are the trainer's log-probs before the
/// update, `sampler_log_probs` those of the distribution that the tokens were drawn from.
pub fn importance_weights(correction: &Correction, old_log_probs: &[f32], sampler_log_probs: &[f32]) -> Vec<f64> {
    let n = old_log_probs.len();
    let difference = |(old, sampler): (&f32, &f32)| f64::from(*old) - f64::from(*sampler);
    let differences = old_log_probs.iter().zip(sampler_log_probs).map(difference);
    let (low, high) = (correction.low, correction.high);
    let truncate = |w: f64| w.clamp(low, high.max(low));
    let mask = |w: f64| if (low..=high).contains(&w) { w } else { 0.0 };
    let sequence = |bound: &dyn Fn(f64) -> f64| vec![bound(differences.clone().sum::<f64>().exp()); n];
    match correction.mode {
        CorrectionMode::None => vec![1.0; n],
        CorrectionMode::TokenTruncate => differences.map(|d| truncate(d.exp())).collect(),
        CorrectionMode::TokenMask => differences.map(|d| mask(d.exp())).collect(),
        CorrectionMode::SequenceTruncate => sequence(&truncate),
        CorrectionMode::SequenceMask => sequence(&mask),
    }
}
