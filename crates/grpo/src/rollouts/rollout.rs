//! Rollouts: groups of replies to prompts, with everything needed to learn from them.

use std::collections::BTreeMap;

use rlar_policy::{Engine, Finish, GenerationRequest, Policy, PolicyError, Sample, StreamControl, TokenEvent};
use rlar_rewards::{Failure, Outcome, Scores};
use serde::{Deserialize, Serialize};

use crate::algorithm::advantage;
use crate::config::SamplingConfig;

/// A reply of the policy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rollout {
    /// Its tokens, the end token included.
    pub tokens: Vec<u32>,
    /// Their log-probs under the policy that drew them, at the sampling temperature over the whole vocabulary.
    pub log_probs: Vec<f32>,
    /// Their log-probs under the distribution that they were drawn from, cuts and penalty included.
    pub drawn_log_probs: Vec<f32>,
    /// Its text.
    pub text: String,
    /// Why it ended.
    pub finish: Finish,
    /// What the tools said.
    pub scores: Scores,
    /// What the audit said, as a part of its range, where it was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audit: Option<f64>,
}

/// Replies to one prompt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Group {
    /// The prompt's place among the examples to train on.
    pub example: usize,
    /// The replies.
    pub replies: Vec<Rollout>,
}

impl Group {
    /// The group as advantages see it. All replies were asked of the same tools.
    pub fn scored(&self) -> advantage::Group {
        let tools = self.replies.first().map_or(&[][..], |r| &r.scores.tools);
        let score = |r: &Rollout, tool: &str| r.scores.get(tool)?.outcome.score();
        let scores = |tool: &str| self.replies.iter().map(|r| score(r, tool)).collect();
        advantage::Group {
            tools: tools.iter().map(|t| (t.weight, scores(&t.tool))).collect(),
            lengths: self.replies.iter().map(|r| r.tokens.len()).collect(),
        }
    }
}

/// Continues every prompt once per seed, and tells of each reply when it is whole: which prompt, which of its replies,
/// the text.
pub fn draw(
    policy: &Policy,
    requests: &[GenerationRequest],
    sampling: &SamplingConfig,
    tell: &mut (dyn FnMut(usize, usize, String) + Send),
) -> Result<Vec<Vec<Sample>>, PolicyError> {
    let mut texts: Vec<Vec<String>> = requests.iter().map(|r| vec![String::new(); r.seeds.len()]).collect();
    let mut on_token = |event: TokenEvent| {
        let text = &mut texts[event.request][event.index];
        text.push_str(event.text);
        if event.finish.is_some() {
            tell(event.request, event.index, std::mem::take(text));
        }
        StreamControl::Continue
    };
    let engine = Engine::new(&policy.decoder, &policy.tokenizer, sampling.batch);
    engine.stream(requests, &sampling.at(sampling.temperature), &mut on_token)
}

/// What became of one tool's scores in a step.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ToolStatistics {
    /// Scores asked for.
    pub asked: usize,
    /// Broken tool.
    pub failed: usize,
    /// Not asked before the step's time for scoring was over.
    pub late: usize,
    /// Not applicable.
    pub abstained: usize,
    /// The scores that came, in no order.
    pub scores: Vec<f64>,
    /// The last failure.
    pub last_failure: Option<Failure>,
}

/// Statistics by tool.
pub fn tool_statistics<'a>(groups: impl Iterator<Item = &'a Group>) -> BTreeMap<String, ToolStatistics> {
    let mut tools: BTreeMap<String, ToolStatistics> = BTreeMap::new();
    for score in groups.flat_map(|g| &g.replies).flat_map(|r| &r.scores.tools) {
        let t = tools.entry(score.tool.to_string()).or_default();
        t.asked += 1;
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
