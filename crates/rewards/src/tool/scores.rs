//! The outcomes that the tools of a prompt have for one reply, and the weighted sum of their scores.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::Outcome;
use crate::tool::composite::WeightedTool;
use crate::tool::reason::Reason;

/// The outcomes of scoring one reply, in the order of the tools that are assigned to its prompt.
///
/// Gates and vetoes (tools that overrule the others when they score a reply too low) have the weight 0: their decisions
/// are already applied to the scores of the other tools.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Scores {
    /// One outcome per tool. The abstention of a gate or a veto is left out; so is the abstention of a term of the
    /// weighted sum, unless all terms abstain. Empty when no tool was assigned to the example.
    pub tools: Vec<ToolScore>,
}

/// The outcome that one tool has for a reply. In JSON it is the array `[tool, weight, outcome, reason]`, without its last
/// element if there is no reason.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "ToolScoreArray", into = "ToolScoreArray")]
pub struct ToolScore {
    /// The tool's name.
    pub tool: Arc<str>,
    /// The factor of the score in the weighted sum; 0 for gates and vetoes.
    pub weight: f64,
    /// The score, or why there is none.
    pub outcome: Outcome,
    /// Why the tool gave the score; for a reply without a score, what the tool's Python code printed. `None` if there
    /// is no such text.
    pub reason: Option<Reason>,
}

impl ToolScore {
    /// An outcome for which no reason is known.
    pub fn new(tool: Arc<str>, weight: f64, outcome: Outcome) -> Self {
        Self { tool, weight, outcome, reason: None }
    }

    /// Why the tool gave its score, or why it gave none, followed by what it printed; empty if there is no such text.
    pub fn why(&self) -> String {
        let unscored = match &self.outcome {
            Outcome::Scored(_) => String::new(),
            Outcome::Abstained(why) => format!("abstained: {why}"),
            Outcome::Failed(failure) => format!("it {failure}"),
        };
        let reason = self.reason.as_ref().map(|reason| reason.as_str().to_owned());
        std::iter::once(unscored).chain(reason).filter(|part| !part.is_empty()).collect::<Vec<_>>().join("\n")
    }
}

/// The JSON array of a [`ToolScore`].
#[derive(Serialize, Deserialize)]
struct ToolScoreArray(
    Arc<str>,
    f64,
    Outcome,
    #[serde(default, skip_serializing_if = "Option::is_none")] Option<Reason>,
);

impl From<ToolScoreArray> for ToolScore {
    fn from(ToolScoreArray(tool, weight, outcome, reason): ToolScoreArray) -> Self {
        Self { tool, weight, outcome, reason }
    }
}

impl From<ToolScore> for ToolScoreArray {
    fn from(ToolScore { tool, weight, outcome, reason }: ToolScore) -> Self {
        Self(tool, weight, outcome, reason)
    }
}

impl Scores {
    /// The outcome of the tool of this name; `None` when the tool has no outcome for this reply.
    pub fn get(&self, tool: &str) -> Option<&ToolScore> {
        self.tools.iter().find(|score| &*score.tool == tool)
    }

    /// The weighted sum of the scores; `None` when there are no tools, or when any of them gave no score.
    pub fn total(&self) -> Option<f64> {
        self.total_beside(&[])
    }

    /// The weighted sum of the scores without the tools in `always` (those that score the replies to every prompt).
    /// `None` when no other tool is left, or when any tool gave no score.
    ///
    /// This sum says whether a reply is correct, which does not depend on the tools that every prompt gets, such as a
    /// length penalty.
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
