//! The batch of a step: the groups that the policy is updated on.

use serde::{Deserialize, Serialize};

use crate::rollouts::rollout::Group;

/// What a step trains on. The journal and, with `train.asynchronous`, checkpoints hold it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Batch {
    /// The groups that are trained on.
    pub groups: Vec<Group>,
    /// Number of steps that the policy which sampled them had behind it.
    #[serde(rename = "policy")]
    pub policy_steps: u64,
    /// Number of prompts that the run has drawn, this batch included.
    pub cursor: u64,
    /// Groups without spread that dynamic sampling replaced: sampled and scored, but not trained on.
    pub replaced: Vec<Group>,
    /// Tools that failed too often on this batch and were suspended.
    #[serde(default)]
    pub suspended: Vec<String>,
    /// Seconds of sampling, the scoring beside it included.
    pub sampling: f64,
    /// Seconds of scoring after the last reply was sampled.
    pub scoring: f64,
}

impl Batch {
    /// All groups that were sampled, the replaced ones included.
    pub fn sampled(&self) -> impl Iterator<Item = &Group> + Clone {
        self.groups.iter().chain(&self.replaced)
    }

    /// All groups that were sampled, for changes.
    pub fn sampled_mut(&mut self) -> impl Iterator<Item = &mut Group> {
        self.groups.iter_mut().chain(&mut self.replaced)
    }

    /// Number of reply tokens that were sampled.
    pub fn tokens(&self) -> usize {
        self.sampled().flat_map(|g| &g.replies).map(|r| r.tokens.len()).sum()
    }
}

/// Where in a run a batch belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchPosition {
    /// The step that trains on it, from 0.
    pub step: u64,
    /// Number of steps that the sampling policy has behind it.
    pub policy_steps: u64,
    /// Number of prompts drawn before.
    pub cursor: u64,
}
