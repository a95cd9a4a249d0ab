//! The share of a policy's replies that are correct, per kind of task.

use std::collections::BTreeMap;

use rlar_data::{Completion, Example, ScoredPart};
use rlar_policy::{GenerationRequest, Policy, Sampling};
use rlar_rewards::{Orchestrator, Outcome, WeightedTool};
use serde::{Deserialize, Serialize};

use crate::EvalError;
use crate::prompt_encoding::{PromptFormat, encode_fitting_prompt};

/// How replies are sampled and scored.
#[derive(Clone, Debug)]
pub struct Protocol {
    /// How messages become text.
    pub format: PromptFormat,
    /// How tokens are sampled.
    pub sampling: Sampling,
    /// Replies per example.
    pub samples: usize,
    /// Seed of the sampling.
    pub seed: u64,
    /// Sequences that are decoded together.
    pub batch: usize,
    /// The part of a reply that is scored.
    pub scored: ScoredPart,
    /// Tools whose scores do not count, because they say nothing about correctness.
    pub always: Vec<WeightedTool>,
}

/// Counts of correct replies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accuracy {
    /// Replies.
    pub answers: usize,
    /// Replies whose weighted score is at least one half.
    pub right: usize,
    /// Replies without a score, because a tool failed or abstained. They count as wrong.
    pub unscored: usize,
}

impl Accuracy {
    /// The percentage of correct replies; 0 of none.
    pub fn percent(&self) -> f64 {
        100.0 * self.right as f64 / self.answers.max(1) as f64
    }

    fn add(&mut self, score: Option<f64>) {
        self.answers += 1;
        self.right += usize::from(score.is_some_and(|s| s >= 0.5));
        self.unscored += usize::from(score.is_none());
    }
}

/// A reply to an example, with its score.
#[derive(Clone, Debug)]
pub struct ScoredReply<'e> {
    /// The example.
    pub example: &'e Example,
    /// The whole reply.
    pub text: String,
    /// The weighted score; `None` where a tool gave none.
    pub score: Option<f64>,
}

/// Samples replies to examples and scores them. Returns the accuracy per kind of task, with that of all replies under `all`,
/// and the replies.
pub fn accuracy<'e>(
    policy: &Policy,
    examples: &'e [Example],
    rewards: &mut Orchestrator,
    protocol: &Protocol,
) -> Result<(BTreeMap<String, Accuracy>, Vec<ScoredReply<'e>>), EvalError> {
    let seed = |i: usize, s: usize| protocol.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ ((i as u64) << 20 | s as u64);
    let requests = examples.iter().enumerate().map(|(i, e)| {
        let seeds = (0..protocol.samples).map(|s| seed(i, s)).collect();
        Ok(GenerationRequest { prompt: encode_fitting_prompt(policy, e, protocol.format)?, seeds })
    });
    let requests = requests.collect::<Result<Vec<_>, EvalError>>()?;
    let samples = policy.engine(protocol.batch).generate(&requests, &protocol.sampling)?;
    let replies: Vec<(&Example, Completion)> = examples
        .iter()
        .zip(samples)
        .flat_map(|(e, samples)| samples.into_iter().map(move |s| (e, protocol.scored.completion(s.text))))
        .collect();
    let items: Vec<(&Example, &Completion)> = replies.iter().map(|(e, c)| (*e, c)).collect();
    let scores = score(rewards, &items, &protocol.always)?;
    let mut kinds: BTreeMap<String, Accuracy> = BTreeMap::new();
    let mut scored = Vec::with_capacity(replies.len());
    for ((example, completion), score) in replies.into_iter().zip(scores) {
        kinds.entry("all".to_owned()).or_default().add(score);
        if example.kind() != "all" {
            kinds.entry(example.kind().to_owned()).or_default().add(score);
        }
        scored.push(ScoredReply { example, text: completion.text, score });
    }
    Ok((kinds, scored))
}

/// The scores of the audit tools, and where these abstain, of the tools that are assigned to the example.
fn score(
    rewards: &mut Orchestrator,
    items: &[(&Example, &Completion)],
    always: &[WeightedTool],
) -> Result<Vec<Option<f64>>, EvalError> {
    let audited = rewards.audit(items, &|| false)?;
    let unaudited: Vec<usize> = (0..items.len()).filter(|i| matches!(audited[*i], Outcome::Abstained(_))).collect();
    let mut scores: Vec<Option<f64>> = audited.iter().map(Outcome::score).collect();
    let remaining: Vec<(&Example, &Completion)> = unaudited.iter().map(|i| items[*i]).collect();
    for (i, by_tool) in unaudited.into_iter().zip(rewards.score(&remaining)?) {
        scores[i] = by_tool.total_beside(always);
    }
    Ok(scores)
}
