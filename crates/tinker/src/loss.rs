//! The losses that a server computes.

use std::collections::BTreeMap;

/// A loss at every position of a datum, with `ratio = exp(logprob - old logprob)`.
///
/// What becomes of the positions differs between servers: SkyRL's JAX backend takes the mean over the positions with
/// weight 1 of every datum, then the mean over all data since the last optimizer step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum LossFunction {
    /// `-logprob`: supervised training on the target tokens.
    CrossEntropy,
    /// `-ratio · advantage`.
    ImportanceSampling,
    /// `-min(ratio · advantage, clip(ratio, clip_low, clip_high) · advantage)` (PPO, arXiv 1707.06347, equation 7).
    Ppo {
        /// The lower bound of the ratio, such as 0.8.
        clip_low: f32,
        /// The upper bound of the ratio, such as 1.2.
        clip_high: f32,
    },
}

impl LossFunction {
    /// The API's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::CrossEntropy => "cross_entropy",
            Self::ImportanceSampling => "importance_sampling",
            Self::Ppo { .. } => "ppo",
        }
    }

    /// Whether it needs old log-probs and advantages.
    pub fn needs_advantages(self) -> bool {
        self != Self::CrossEntropy
    }

    /// The API's settings of the loss; `None` if it has none.
    pub(crate) fn config(self) -> Option<BTreeMap<&'static str, f32>> {
        match self {
            Self::CrossEntropy | Self::ImportanceSampling => None,
            Self::Ppo { clip_low, clip_high } => {
                Some(BTreeMap::from([("clip_low_threshold", clip_low), ("clip_high_threshold", clip_high)]))
            }
        }
    }
}
