//! Importance correction: the trainer's probability of a reply over its sampler's, bounded (Yao et al., 2025).

use crate::config::{Correction, CorrectionMode};

/// The weight of every token, from the log-probs of trainer and sampler.
pub fn weights(correction: &Correction, old: &[f32], sampled: &[f32]) -> Vec<f64> {
    let difference = |(old, sampled): (&f32, &f32)| f64::from(*old) - f64::from(*sampled);
    let differences = old.iter().zip(sampled).map(difference);
    let (low, high) = (correction.low, correction.high);
    let truncate = |w: f64| w.clamp(low, high.max(low));
    let mask = |w: f64| if (low..=high).contains(&w) { w } else { 0.0 };
    let whole = |bound: &dyn Fn(f64) -> f64| vec![bound(differences.clone().sum::<f64>().exp()); old.len()];
    match correction.mode {
        CorrectionMode::None => vec![1.0; old.len()],
        CorrectionMode::TokenTruncate => differences.map(|d| truncate(d.exp())).collect(),
        CorrectionMode::TokenMask => differences.map(|d| mask(d.exp())).collect(),
        CorrectionMode::SequenceTruncate => whole(&truncate),
        CorrectionMode::SequenceMask => whole(&mask),
    }
}
