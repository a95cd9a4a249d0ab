//! The batch of a training step: the groups of replies that the policy is updated on.

use serde::{Deserialize, Serialize};

use crate::rollouts::learned_weights::DomainWeights;
use crate::rollouts::rollout::Group;

/// The batch of a training step. The journal holds it and, with `train.asynchronous`, also a checkpoint.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Batch {
    /// The groups that the policy is updated on.
    pub groups: Vec<Group>,
    /// Number of training steps that the policy which sampled the groups had taken.
    #[serde(rename = "policy")]
    pub policy_steps: u64,
    /// Number of prompts that the run has drawn, those of this batch included.
    pub cursor: u64,
    /// Groups whose replies all had the same reward, so that dynamic sampling drew other prompts instead. They were
    /// sampled and scored, but the policy is not updated on them.
    pub replaced: Vec<Group>,
    /// Names of the tools that were suspended because they failed too often on this batch.
    #[serde(default)]
    pub suspended: Vec<String>,
    /// The learned weights with which the replies were scored; `None` if weights are fixed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights: Option<DomainWeights>,
    /// Seconds of sampling, including the scoring done at the same time.
    pub sampling: f64,
    /// Seconds of scoring after the last reply was sampled.
    pub scoring: f64,
}

impl Batch {
    /// All groups that were sampled: those that the policy is updated on, then the replaced ones.
    pub fn sampled(&self) -> impl Iterator<Item = &Group> + Clone {
        self.groups.iter().chain(&self.replaced)
    }

    /// All groups that were sampled, as mutable references.
    pub fn sampled_mut(&mut self) -> impl Iterator<Item = &mut Group> {
        self.groups.iter_mut().chain(&mut self.replaced)
    }

    /// Number of reply tokens in all groups that were sampled.
    pub fn tokens(&self) -> usize {
        self.sampled().flat_map(|g| &g.replies).map(|r| r.tokens.len()).sum()
    }
}

/// The position in a run for which a batch is collected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchPosition {
    /// The step whose update uses the batch, from 0.
    pub step: u64,
    /// Number of training steps that the policy which samples the batch has taken.
    pub policy_steps: u64,
    /// Number of prompts that the run has drawn before the batch.
    pub cursor: u64,
}
