//! Per-token estimates of KL(policy ‖ reference): k1, k2 and k3 (Schulman, 2020).

use crate::config::KlEstimator;

/// The KL estimate of one token, and its derivative.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct KlTerm {
    /// The estimate, in nats.
    pub value: f64,
    /// Derivative of the estimate with respect to the policy's log-prob.
    pub grad: f64,
}

/// The KL estimate of one token, from its log-prob under the policy and under the reference model.
pub fn kl(estimator: KlEstimator, log_prob: f64, ref_log_prob: f64) -> KlTerm {
    let d = ref_log_prob - log_prob;
    match estimator {
        KlEstimator::None => KlTerm { value: 0.0, grad: 0.0 },
        KlEstimator::K1 => KlTerm { value: -d, grad: 1.0 },
        KlEstimator::K2 => KlTerm { value: d * d / 2.0, grad: -d },
        KlEstimator::K3 => KlTerm { value: d.exp() - d - 1.0, grad: 1.0 - d.exp() },
    }
}
