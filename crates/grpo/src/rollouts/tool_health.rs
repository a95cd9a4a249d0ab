//! Counts the failures of each reward tool over the last steps, to suspend tools that fail too often.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::rollouts::rollout::{Group, tool_outcomes};

/// Failures of each tool in the last steps, and the suspended tools. A checkpoint holds them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ToolHealth {
    /// For each of the last steps, the oldest first: numbers of failed and requested scores, by tool.
    window: VecDeque<BTreeMap<String, FailureCount>>,
    /// Names of the tools that were suspended; they score no further replies.
    pub suspended: Vec<String>,
}

/// Numbers of failed and requested scores of a tool; on disk the pair `[failed, requested]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "[usize; 2]", into = "[usize; 2]")]
struct FailureCount {
    failed: usize,
    requested: usize,
}

impl From<[usize; 2]> for FailureCount {
    fn from([failed, requested]: [usize; 2]) -> Self {
        Self { failed, requested }
    }
}

impl From<FailureCount> for [usize; 2] {
    fn from(count: FailureCount) -> Self {
        [count.failed, count.requested]
    }
}

/// A tool whose scores fail more often than `rewards.failure_limit` allows.
#[derive(Clone, Debug, PartialEq)]
pub struct FailingTool {
    /// Name of the tool in the library.
    pub tool: String,
    /// Number of scores that failed in the last `rewards.failure_window` steps.
    pub failed: usize,
    /// Number of scores that were requested from the tool in the last `rewards.failure_window` steps.
    pub requested: usize,
    /// Text of the tool's last failure.
    pub last_failure: String,
}

impl ToolHealth {
    /// The first tool, by name, that fails too often in the last steps, of which `groups` are the newest; `None` if no
    /// tool does.
    pub fn failing<'g>(&self, groups: impl Iterator<Item = &'g Group>, config: &Config) -> Option<FailingTool> {
        let earlier = self.window.len().saturating_sub(config.rewards.failure_window - 1);
        let mut now = tool_outcomes(groups).into_iter();
        now.find_map(|(tool, outcomes)| {
            let before = self.window.iter().skip(earlier).filter_map(|step| step.get(&tool));
            let this_step = FailureCount { failed: outcomes.failed, requested: outcomes.requested };
            let total = before.fold(this_step, |sum, step| FailureCount {
                failed: sum.failed + step.failed,
                requested: sum.requested + step.requested,
            });
            let limit = config.rewards.failure_limit * total.requested as f64;
            let last_failure = outcomes.last_failure.as_ref().map(ToString::to_string).unwrap_or_default();
            let FailureCount { failed, requested } = total;
            let fails_too_often = outcomes.failed > 0 && failed as f64 > limit;
            fails_too_often.then_some(FailingTool { tool, failed, requested, last_failure })
        })
    }

    /// Counts the failed and requested scores of a step's groups, and drops the counts of steps outside
    /// `rewards.failure_window`.
    pub fn observe<'g>(&mut self, groups: impl Iterator<Item = &'g Group>, config: &Config) {
        let outcomes = tool_outcomes(groups).into_iter();
        let counts = outcomes.map(|(tool, o)| (tool, FailureCount { failed: o.failed, requested: o.requested }));
        self.window.push_back(counts.collect());
        while self.window.len() >= config.rewards.failure_window.max(2) {
            self.window.pop_front();
        }
    }
}
