//! Counts the latest failures of every tool, to suspend tools that fail too often.

use std::collections::{BTreeMap, VecDeque};

/// Number of latest scores of a tool that are looked at.
const WINDOW: usize = 256;

/// Number of scores below which no tool is suspended.
const LEAST: usize = 64;

/// The latest scores of every tool, each failed or not.
#[derive(Debug, Default)]
pub struct ToolFailures {
    windows: BTreeMap<String, FailureWindow>,
}

#[derive(Debug, Default)]
struct FailureWindow {
    /// Whether each of the latest scores failed, the oldest first.
    latest: VecDeque<bool>,
    /// Number of those that failed.
    failures: usize,
}

impl ToolFailures {
    /// Adds a score of a tool, which failed or did not. Returns how many of the latest scores failed if their share is above
    /// `limit`; the tool's counts then begin anew.
    pub fn observe(&mut self, tool: &str, failed: bool, limit: f64) -> Option<FailureShare> {
        if !self.windows.contains_key(tool) {
            self.windows.insert(tool.to_owned(), FailureWindow::default());
        }
        let window = self.windows.get_mut(tool)?;
        window.latest.push_back(failed);
        window.failures += usize::from(failed);
        if window.latest.len() > WINDOW {
            window.failures -= usize::from(window.latest.pop_front() == Some(true));
        }
        let share = FailureShare { failures: window.failures, scores: window.latest.len() };
        let is_above = failed && share.scores >= LEAST && share.failures as f64 > limit * share.scores as f64;
        if is_above {
            self.windows.remove(tool);
        }
        is_above.then_some(share)
    }
}

/// How many of a tool's latest scores failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FailureShare {
    /// Number of scores that failed.
    pub failures: usize,
    /// Number of scores that were asked for.
    pub scores: usize,
}
