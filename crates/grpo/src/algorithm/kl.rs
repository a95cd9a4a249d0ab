//! Per-token estimates of KL(policy ‖ reference): k1, k2 and k3 (Schulman, 2020).

use crate::algorithm::surrogate::LOG_RATIO_MAX;
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
///
/// The exponent of k3 is at most [`LOG_RATIO_MAX`], as that of every ratio: beyond it the estimate is constant and has
/// no gradient. Otherwise one token whose probability collapsed would be the whole gradient of a step, or overflow it.
pub fn kl(estimator: KlEstimator, log_prob: f64, ref_log_prob: f64) -> KlTerm {
    let d = ref_log_prob - log_prob;
    match estimator {
        KlEstimator::None => KlTerm { value: 0.0, grad: 0.0 },
        KlEstimator::K1 => KlTerm { value: -d, grad: 1.0 },
        KlEstimator::K2 => KlTerm { value: d * d / 2.0, grad: -d },
        KlEstimator::K3 => {
            let bounded = d.min(LOG_RATIO_MAX);
            let grad = if d > LOG_RATIO_MAX { 0.0 } else { 1.0 - bounded.exp() };
            KlTerm { value: bounded.exp() - bounded - 1.0, grad }
        }
    }
}
