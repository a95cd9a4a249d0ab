//! The parameters of an optimizer step.

use serde::Serialize;

/// The parameters of AdamW (arXiv 1711.05101), which every step may change.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct AdamParams {
    /// The learning rate.
    pub learning_rate: f64,
    /// Decay of the mean of gradients, at least 0 and below 1.
    pub beta1: f64,
    /// Decay of the mean of squared gradients, at least 0 and below 1.
    pub beta2: f64,
    /// Added to the denominator, above 0.
    pub eps: f64,
    /// The weight decay, which is not part of the gradient.
    pub weight_decay: f64,
}

impl Default for AdamParams {
    /// The API's defaults.
    fn default() -> Self {
        Self { learning_rate: 1e-4, beta1: 0.9, beta2: 0.95, eps: 1e-12, weight_decay: 0.0 }
    }
}
