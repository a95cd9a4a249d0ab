//! Rollouts: the policy's replies to a prompt, with the log-probs and scores that the update needs.

use std::collections::BTreeMap;

use rlar_policy::Finish;
use rlar_rewards::{Failure, Outcome, Scores};
use serde::{Deserialize, Serialize};

use crate::algorithm::advantage::{GroupScores, ScoreColumn};

/// A sampled reply of the policy, with its log-probs and scores.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rollout {
    /// Token ids of the reply, the end token included.
    pub tokens: Vec<u32>,
    /// Log-prob of each token under the policy that sampled it, at the sampling temperature, over the whole vocabulary.
    pub log_probs: Vec<f32>,
    /// Log-prob of each token under the distribution that it was drawn from, after top-k, top-p, min-p and repetition
    /// penalty.
    pub drawn_log_probs: Vec<f32>,
    /// The reply as text, as the tools judge it. If the prompt ends with an opening tag, such as `<think>`, the text
    /// begins with this tag.
    pub text: String,
    /// Why the generation of the reply ended, such as an end token or the length limit.
    pub finish: Finish,
    /// The score of each reward tool of the prompt, or the reason why the tool gave none.
    pub scores: Scores,
    /// Score of the audit tool as a fraction of its range, from 0 to 1; `None` if the reply was not audited or the
    /// audit gave no score.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audit: Option<f64>,
}

/// The replies to one prompt, among which rewards are compared.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Group {
    /// Index of the prompt among the prompts to train on.
    pub example: usize,
    /// The sampled replies to the prompt.
    pub replies: Vec<Rollout>,
}

impl Group {
    /// The scores from which the group's advantages are computed. All replies of a group are scored by the same tools.
    pub fn scores(&self) -> GroupScores {
        let tools = self.replies.first().map_or(&[][..], |r| &r.scores.tools);
        let score = |r: &Rollout, tool: &str| r.scores.get(tool)?.outcome.score();
        let column = |tool: &str| self.replies.iter().map(|r| score(r, tool)).collect();
        GroupScores {
            tools: tools.iter().map(|t| ScoreColumn { weight: t.weight, scores: column(&t.tool) }).collect(),
            lengths: self.replies.iter().map(|r| r.tokens.len()).collect(),
        }
    }
}

/// Scores of one tool in a step, and numbers of its calls by how they ended.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ToolOutcomes {
    /// Number of scores requested.
    pub requested: usize,
    /// Number of scores that the tool failed to give; scores that were not begun in time (`late`) are not counted.
    pub failed: usize,
    /// Number of scores that were not begun before `rewards.step_deadline` was over.
    pub late: usize,
    /// Number of replies to prompts that the tool does not apply to.
    pub abstained: usize,
    /// All scores that the tool gave, in no particular order.
    pub scores: Vec<f64>,
    /// The last failure; `None` if no call failed.
    pub last_failure: Option<Failure>,
}

/// Scores and numbers of calls of every tool, by the tool's name.
pub fn tool_outcomes<'a>(groups: impl Iterator<Item = &'a Group>) -> BTreeMap<String, ToolOutcomes> {
    let mut tools: BTreeMap<String, ToolOutcomes> = BTreeMap::new();
    for score in groups.flat_map(|g| &g.replies).flat_map(|r| &r.scores.tools) {
        let t = tools.entry(score.tool.to_string()).or_default();
        t.requested += 1;
        match &score.outcome {
            Outcome::Scored(score) => t.scores.push(*score),
            Outcome::Abstained(_) => t.abstained += 1,
            Outcome::Failed(Failure::Late) => t.late += 1,
            Outcome::Failed(failure) => {
                t.failed += 1;
                t.last_failure = Some(failure.clone());
            }
        }
    }
    tools
}
