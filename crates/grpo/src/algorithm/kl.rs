//! Estimates of KL(policy ‖ reference), token by token (Schulman, 2020).

use crate::config::KlEstimator;

/// The estimate and its slope by the policy's log-prob; nats.
pub fn kl(estimator: KlEstimator, log_prob: f64, reference: f64) -> (f64, f64) {
    let d = reference - log_prob;
    match estimator {
        KlEstimator::None => (0.0, 0.0),
        KlEstimator::K1 => (-d, 1.0),
        KlEstimator::K2 => (d * d / 2.0, -d),
        KlEstimator::K3 => (d.exp() - d - 1.0, 1.0 - d.exp()),
    }
}
