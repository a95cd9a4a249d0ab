//! The outcomes of one completion, tool by tool, and their weighted sum.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::Outcome;
use crate::tool::composite::WeightedTool;

/// The outcomes of one completion, in the order of its assignment's tools.
///
/// Gates and vetoes have the weight 0: what they decided is already in the other tools' scores.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Scores {
    /// One outcome per tool. Empty when no tool was assigned to the example.
    pub tools: Vec<ToolScore>,
}

/// The outcome of one tool. On disk it is the triple `[tool, weight, outcome]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "(Arc<str>, f64, Outcome)", into = "(Arc<str>, f64, Outcome)")]
pub struct ToolScore {
    /// The tool's name.
    pub tool: Arc<str>,
    /// What the score is multiplied by in the weighted sum; 0 for gates and vetoes.
    pub weight: f64,
    /// The score, or why there is none.
    pub outcome: Outcome,
}

impl From<(Arc<str>, f64, Outcome)> for ToolScore {
    fn from((tool, weight, outcome): (Arc<str>, f64, Outcome)) -> Self {
        Self { tool, weight, outcome }
    }
}

impl From<ToolScore> for (Arc<str>, f64, Outcome) {
    fn from(score: ToolScore) -> Self {
        (score.tool, score.weight, score.outcome)
    }
}

impl Scores {
    /// The outcome of a tool; `None` when the tool did not score this completion.
    pub fn get(&self, tool: &str) -> Option<&ToolScore> {
        self.tools.iter().find(|score| &*score.tool == tool)
    }

    /// The weighted sum; `None` when there are no tools, or when any of them gave no score.
    pub fn total(&self) -> Option<f64> {
        self.total_beside(&[])
    }

    /// The weighted sum without the tools in `always`; `None` when no other tool is left, or when any tool gave no score.
    ///
    /// Whether a reply is correct does not depend on the terms that every prompt gets.
    pub fn total_beside(&self, always: &[WeightedTool]) -> Option<f64> {
        if self.tools.iter().any(|score| score.outcome.score().is_none()) {
            return None;
        }
        let is_counted = |score: &&ToolScore| !always.iter().any(|member| member.tool == *score.tool);
        let mut counted = self.tools.iter().filter(is_counted).peekable();
        counted.peek()?;
        counted.map(|score| score.outcome.score().map(|s| s * score.weight)).sum()
    }
}
