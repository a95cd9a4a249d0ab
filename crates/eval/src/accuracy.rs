//! Measures the share of a policy's replies that are correct, for each kind of task.

use std::collections::BTreeMap;

use rlar_data::{Completion, Example, ScoredPart};
use rlar_policy::{GenerationRequest, Policy, Sampling, StreamControl, TokenEvent, Tokenizer, with_prefill};
use rlar_rewards::{Orchestrator, Outcome, WeightedTool};
use rlar_run::OngoingWork;
use serde::{Deserialize, Serialize};

use crate::EvalError;
use crate::prompt_encoding::{PromptFormat, check_prompt_fits, encode_prompt};
use crate::reply_text::prefill;

/// Settings of [`accuracy`](fn@accuracy): how replies are sampled and scored.
#[derive(Clone, Debug)]
pub struct Protocol {
    /// How an example's messages become the prompt's text.
    pub format: PromptFormat,
    /// How tokens are sampled: temperature, `top_p` and the like.
    pub sampling: Sampling,
    /// Number of replies that are sampled per example.
    pub samples: usize,
    /// Seed of the sampling; example and reply number give every reply its own random numbers.
    pub seed: u64,
    /// Maximum number of replies that are decoded together.
    pub batch: usize,
    /// The part of a reply that the tools score, such as what follows `</think>`.
    pub scored: ScoredPart,
    /// Tools that score every reply in training, such as one for the length. Their scores do not count here, because
    /// they say nothing about correctness.
    pub always: Vec<WeightedTool>,
}

/// Counts of all, of correct and of unscored replies, for example to one kind of task.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accuracy {
    /// Number of replies.
    pub answers: usize,
    /// Number of correct replies: those whose score is at least one half.
    pub right: usize,
    /// Number of replies without a score, because a tool failed or abstained. They count as wrong.
    pub unscored: usize,
}

impl Accuracy {
    /// The percentage of correct replies, from 0 to 100; 0 where there are no replies.
    pub fn percent(&self) -> f64 {
        100.0 * self.right as f64 / self.answers.max(1) as f64
    }

    fn add(&mut self, score: Option<f64>) {
        self.answers += 1;
        self.right += usize::from(score.is_some_and(|s| s >= 0.5));
        self.unscored += usize::from(score.is_none());
    }
}

/// A sampled reply to an example, with its score.
#[derive(Clone, Debug)]
pub struct ScoredReply<'e> {
    /// The example that the reply answers.
    pub example: &'e Example,
    /// The whole text of the reply, with the parts that are not scored.
    pub text: String,
    /// The score of the audit tools, which check replies and are not trained on; where they abstain, the weighted sum
    /// of the scores of the tools assigned to the example. `None` where a tool gave no score. A reply is correct if its
    /// score is at least one half.
    pub score: Option<f64>,
}

/// Samples replies to examples and scores them. Returns the accuracy of each kind of task (see [`Example::kind`]) and,
/// under the key `all`, that of all replies; and the replies.
pub fn accuracy<'e>(
    policy: &Policy,
    examples: &'e [Example],
    rewards: &mut Orchestrator,
    protocol: &Protocol,
) -> Result<(BTreeMap<String, Accuracy>, Vec<ScoredReply<'e>>), EvalError> {
    let sample = |requests: &[GenerationRequest], progress: &OngoingWork| -> Result<Vec<Vec<String>>, EvalError> {
        for (example, request) in examples.iter().zip(requests) {
            check_prompt_fits(policy, example, request.prompt.len())?;
        }
        let mut count = |event: TokenEvent| {
            progress.add_token();
            progress.add(usize::from(event.finish.is_some()));
            StreamControl::Continue
        };
        let samples = policy.engine(protocol.batch).stream(requests, &protocol.sampling, &mut count)?;
        Ok(samples.into_iter().map(|samples| samples.into_iter().map(|sample| sample.text).collect()).collect())
    };
    sampled_accuracy(&policy.tokenizer, examples, rewards, protocol, sample)
}

/// Like [`accuracy`](fn@accuracy), for a policy that is not in this process: `sample` returns the texts of its replies to
/// every request, one per seed, and counts them in the work that it is given.
pub fn sampled_accuracy<'e, E: From<EvalError>>(
    tokenizer: &Tokenizer,
    examples: &'e [Example],
    rewards: &mut Orchestrator,
    protocol: &Protocol,
    sample: impl FnOnce(&[GenerationRequest], &OngoingWork) -> Result<Vec<Vec<String>>, E>,
) -> Result<(BTreeMap<String, Accuracy>, Vec<ScoredReply<'e>>), E> {
    let seed = |i: usize, s: usize| protocol.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ ((i as u64) << 20 | s as u64);
    let requests = examples.iter().enumerate().map(|(i, e)| {
        let seeds = (0..protocol.samples).map(|s| seed(i, s)).collect();
        Ok(GenerationRequest { prompt: encode_prompt(tokenizer, e, protocol.format)?, seeds })
    });
    let requests = requests.collect::<Result<Vec<_>, EvalError>>()?;
    let activity = rewards.activity().clone();
    let sampling = activity.phase("sampling", examples.len() * protocol.samples, "replies");
    let texts = sample(&requests, &sampling)?;
    drop(sampling);
    let mut replies: Vec<(&Example, Completion)> = Vec::new();
    for (example, texts) in examples.iter().zip(texts) {
        let prefill = prefill(tokenizer, example, protocol.format).map_err(EvalError::from)?;
        let completion = |text: String| protocol.scored.completion(with_prefill(&prefill, text));
        replies.extend(texts.into_iter().map(|text| (example, completion(text))));
    }
    let items: Vec<(&Example, &Completion)> = replies.iter().map(|(e, c)| (*e, c)).collect();
    let scoring = activity.phase(&format!("scoring {} replies", items.len()), 0, "replies");
    let scores = score(rewards, &items, &protocol.always)?;
    drop(scoring);
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

/// Scores replies. The audit tools (tools that check the rewards and are not trained on) come first; where they
/// abstain, the score is the weighted sum of the tools assigned to the example, without those in `always`. `None` where
/// a tool gave no score.
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
