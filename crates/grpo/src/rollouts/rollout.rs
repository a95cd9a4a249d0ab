//! Rollouts: the policy's replies to a prompt, with everything that the update needs of them.

use std::collections::BTreeMap;

use rlar_policy::{Engine, Finish, GenerationRequest, Policy, PolicyError, Sample, StreamControl, TokenEvent};
use rlar_rewards::{Failure, Outcome, Scores};
use serde::{Deserialize, Serialize};

use crate::algorithm::advantage::{GroupScores, ScoreColumn};
use crate::config::SamplingConfig;

/// A reply of the policy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rollout {
    /// Its token ids, the end token included.
    pub tokens: Vec<u32>,
    /// Log-probs of the tokens under the policy that sampled them, at the sampling temperature over the whole vocabulary.
    pub log_probs: Vec<f32>,
    /// Log-probs under the distribution that they were drawn from, with top-k, top-p, min-p and repetition penalty applied.
    pub drawn_log_probs: Vec<f32>,
    /// The decoded text.
    pub text: String,
    /// Why generation ended.
    pub finish: Finish,
    /// The outcomes of the prompt's reward tools.
    pub scores: Scores,
    /// The score of the audit tool, scaled to its range (0 to 1); `None` where the reply was not audited or the audit failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audit: Option<f64>,
}

/// The replies to one prompt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Group {
    /// Index of the prompt among the examples to train on.
    pub example: usize,
    /// The replies.
    pub replies: Vec<Rollout>,
}

impl Group {
    /// The scores that advantages are computed from. All replies of a group have the same tools.
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

/// A reply that has just been completed.
#[derive(Clone, Debug, PartialEq)]
pub struct FinishedReply {
    /// Index of its request.
    pub request: usize,
    /// Index among the replies to that request.
    pub index: usize,
    /// Its text.
    pub text: String,
}

/// Samples one reply per seed of every request, and calls `on_reply` with each as soon as it is complete.
pub fn sample(
    policy: &Policy,
    requests: &[GenerationRequest],
    sampling: &SamplingConfig,
    on_reply: &mut (dyn FnMut(FinishedReply) + Send),
) -> Result<Vec<Vec<Sample>>, PolicyError> {
    let mut texts: Vec<Vec<String>> = requests.iter().map(|r| vec![String::new(); r.seeds.len()]).collect();
    let mut on_token = |event: TokenEvent| {
        let text = &mut texts[event.request][event.index];
        text.push_str(event.text);
        if event.finish.is_some() {
            on_reply(FinishedReply { request: event.request, index: event.index, text: std::mem::take(text) });
        }
        StreamControl::Continue
    };
    let engine = Engine::new(&policy.decoder, &policy.tokenizer, sampling.batch);
    engine.stream(requests, &sampling.at(sampling.temperature), &mut on_token)
}

/// Counts of one tool's outcomes in a step.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ToolOutcomes {
    /// Scores requested.
    pub requested: usize,
    /// Scores that failed, late ones not counted.
    pub failed: usize,
    /// Scores that were not begun before `rewards.step_deadline` was over.
    pub late: usize,
    /// Replies that the tool does not apply to.
    pub abstained: usize,
    /// The scores, in no particular order.
    pub scores: Vec<f64>,
    /// The last failure.
    pub last_failure: Option<Failure>,
}

/// Counts of the outcomes of every tool, by the tool's name.
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
