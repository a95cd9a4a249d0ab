//! Share of right answers of a policy, per kind of task.

use std::collections::BTreeMap;

use rlar_data::{Completion, Example, ScoredPart};
use rlar_policy::{GenerationRequest, Policy, Sampling};
use rlar_rewards::{Orchestrator, Outcome, WeightedTool};
use serde::{Deserialize, Serialize};

use crate::EvalError;
use crate::prompt_encoding::{PromptFormat, encode_fitting_prompt};

/// How answers are drawn.
#[derive(Clone, Debug)]
pub struct Protocol {
    /// How messages become text.
    pub format: PromptFormat,
    /// How tokens are drawn.
    pub sampling: Sampling,
    /// Answers per example.
    pub samples: usize,
    /// Seed of the draws.
    pub seed: u64,
    /// Sequences at a time.
    pub batch: usize,
    /// What part of an answer is judged.
    pub scored: ScoredPart,
    /// Tools that say nothing about whether an answer is right.
    pub always: Vec<WeightedTool>,
}

/// Right answers among those asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accuracy {
    /// Answers drawn.
    pub answers: usize,
    /// Answers whose weighted score is at least one half.
    pub right: usize,
    /// Answers without a score: a tool failed or abstained. They count as wrong.
    pub unscored: usize,
}

impl Accuracy {
    /// Percentage of right answers.
    pub fn percent(&self) -> f64 {
        100.0 * self.right as f64 / self.answers.max(1) as f64
    }
}

/// One answer as it was drawn and judged.
#[derive(Clone, Debug)]
pub struct Answer<'e> {
    /// The example.
    pub example: &'e Example,
    /// The reply.
    pub text: String,
    /// The weighted score, if every tool gave one.
    pub score: Option<f64>,
}

/// Draws answers and judges them. Gives the accuracy per kind, with all of them under `all`, and every
/// answer.
pub fn accuracy<'e>(
    policy: &Policy,
    examples: &'e [Example],
    rewards: &mut Orchestrator,
    protocol: &Protocol,
) -> Result<(BTreeMap<String, Accuracy>, Vec<Answer<'e>>), EvalError> {
    let seed = |i: usize, s: usize| protocol.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ ((i as u64) << 20 | s as u64);
    let requests = examples.iter().enumerate().map(|(i, e)| {
        let seeds = (0..protocol.samples).map(|s| seed(i, s)).collect();
        Ok(GenerationRequest { prompt: encode_fitting_prompt(policy, e, protocol.format)?, seeds })
    });
    let requests = requests.collect::<Result<Vec<_>, EvalError>>()?;
    let samples = policy.engine(protocol.batch).generate(&requests, &protocol.sampling)?;
    let answers: Vec<(&Example, Completion)> = examples
        .iter()
        .zip(samples)
        .flat_map(|(e, s)| s.into_iter().map(move |s| (e, protocol.scored.completion(s.text))))
        .collect();
    let items: Vec<(&Example, &Completion)> = answers.iter().map(|(e, c)| (*e, c)).collect();
    let scores = judge(rewards, &items, &protocol.always)?;
    let mut kinds: BTreeMap<String, Accuracy> = BTreeMap::new();
    let mut judged = Vec::with_capacity(answers.len());
    for ((example, completion), score) in answers.into_iter().zip(scores) {
        for kind in ["all", example.kind()] {
            let a = kinds.entry(kind.to_owned()).or_default();
            a.answers += 1;
            a.right += usize::from(score.is_some_and(|s| s >= 0.5));
            a.unscored += usize::from(score.is_none());
            if example.kind() == "all" {
                break;
            }
        }
        judged.push(Answer { example, text: completion.text, score });
    }
    Ok((kinds, judged))
}

/// What the audit says of answers, and of those that it does not judge the tools that train.
fn judge(
    rewards: &mut Orchestrator,
    items: &[(&Example, &Completion)],
    always: &[WeightedTool],
) -> Result<Vec<Option<f64>>, EvalError> {
    let audited = rewards.audit(items, &|| false)?;
    let open: Vec<usize> = (0..items.len()).filter(|i| matches!(audited[*i], Outcome::Abstained(_))).collect();
    let mut scores: Vec<Option<f64>> = audited.iter().map(Outcome::score).collect();
    let asked: Vec<(&Example, &Completion)> = open.iter().map(|i| items[*i]).collect();
    for (i, told) in open.into_iter().zip(rewards.score(&asked)?) {
        scores[i] = told.total_beside(always);
    }
    Ok(scores)
}
