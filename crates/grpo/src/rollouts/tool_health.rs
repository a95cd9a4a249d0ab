//! Tools that fail too often are suspended.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::rollouts::rollout::{Group, tool_statistics};

/// What tools did in the last steps, and which of them are suspended.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Health {
    /// Per step and tool: scores that failed, and scores that were asked for.
    window: VecDeque<BTreeMap<String, [usize; 2]>>,
    /// Tools that are used no more.
    pub suspended: Vec<String>,
}

/// A tool that fails too often.
#[derive(Clone, Debug, PartialEq)]
pub struct Failing {
    /// The tool.
    pub tool: String,
    /// Failed scores in the window.
    pub failed: usize,
    /// Asked scores in the window.
    pub asked: usize,
    /// The last failure.
    pub last: String,
}

impl Health {
    /// The tool that fails too often with these groups as the window's last step, if there is one.
    pub fn failing<'g>(&self, groups: impl Iterator<Item = &'g Group>, config: &Config) -> Option<Failing> {
        let earlier = self.window.len().saturating_sub(config.rewards.failure_window - 1);
        let mut now = tool_statistics(groups).into_iter();
        now.find_map(|(tool, s)| {
            let before = self.window.iter().skip(earlier).filter_map(|step| step.get(&tool));
            let [failed, asked] = before.fold([s.failed, s.asked], |[f, a], [g, b]| [f + g, a + b]);
            let last = s.last_failure.as_ref().map(ToString::to_string).unwrap_or_default();
            let too_often = s.failed > 0 && failed as f64 > config.rewards.failure_limit * asked as f64;
            too_often.then_some(Failing { tool, failed, asked, last })
        })
    }

    /// Takes a step's groups into the window.
    pub fn observe<'g>(&mut self, groups: impl Iterator<Item = &'g Group>, config: &Config) {
        self.window
            .push_back(tool_statistics(groups).into_iter().map(|(tool, s)| (tool, [s.failed, s.asked])).collect());
        while self.window.len() >= config.rewards.failure_window.max(2) {
            self.window.pop_front();
        }
    }
}
