//! A batch of rollouts: prompts drawn, replies sampled and, while the others are still being written, scored.

use std::sync::OnceLock;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rlar_data::{Completion, Example};
use rlar_policy::{GenerationRequest, Policy};
use rlar_rewards::{Orchestrator, Outcome, RewardError, Scores, ToolScore};
use serde::{Deserialize, Serialize};

use crate::TrainError;
use crate::algorithm::loss::soft_overlong;
use crate::config::Config;
use crate::rollouts::evolution::Evolution;
use crate::rollouts::mixture::Mixture;
use crate::rollouts::rollout::{Group, Rollout, draw};
use crate::rollouts::tool_health::Health;
use crate::schedule::mix;

/// What a step learns from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Batch {
    /// The groups.
    pub groups: Vec<Group>,
    /// Steps of the policy that drew them.
    pub policy: u64,
    /// Prompts drawn by the run when the batch was whole.
    pub cursor: u64,
    /// Groups without spread that were replaced: drawn and scored, not learned from.
    pub replaced: Vec<Group>,
    /// Tools that failed too often on it and were suspended.
    #[serde(default)]
    pub suspended: Vec<String>,
    /// Seconds of sampling, scoring beside it included.
    pub sampling: f64,
    /// Seconds of scoring after the last reply was drawn.
    pub scoring: f64,
}

impl Batch {
    /// All groups that were drawn.
    pub fn drawn(&self) -> impl Iterator<Item = &Group> + Clone {
        self.groups.iter().chain(&self.replaced)
    }

    /// Their tokens.
    pub fn tokens(&self) -> usize {
        self.drawn().flat_map(|g| &g.replies).map(|r| r.tokens.len()).sum()
    }
}

/// Name of the penalty for length, which counts as one more tool.
pub const SOFT_OVERLONG: &str = "soft_overlong";

/// Where batches come from.
#[derive(Debug)]
pub struct Source<'a> {
    /// The config.
    pub config: &'a Config,
    /// Prompts to train on.
    pub examples: &'a [Example],
    /// Prompts to measure on.
    pub heldout: &'a [Example],
    /// Their tokens.
    pub prompts: &'a [Vec<u32>],
    /// In which order they are drawn.
    pub mixture: Mixture,
    /// Reward tools.
    pub rewards: &'a mut Orchestrator,
    /// How they do.
    pub health: Health,
    /// The agents that renew them.
    pub evolution: Option<Evolution<'a>>,
}

impl Source<'_> {
    /// Draws and scores the batch of step `step` (from 0) with a policy that has `policy_steps` behind it; `cursor`
    /// prompts were drawn before. A reply's random numbers depend on seed, step and its place in the batch only.
    pub fn collect(&mut self, policy: &Policy, policy_steps: u64, step: u64, cursor: u64) -> Result<Batch, TrainError> {
        let (config, t) = (self.config, &self.config.train);
        let wanted = t.prompts.min(self.mixture.len());
        let rounds = config.algorithm.dynamic_sampling;
        let mut batch = Batch {
            groups: Vec::new(),
            policy: policy_steps,
            cursor,
            replaced: Vec::new(),
            suspended: Vec::new(),
            sampling: 0.0,
            scoring: 0.0,
        };
        let mut drawn = 0;
        for _ in 0..=rounds {
            let missing = wanted - batch.groups.len();
            let chosen = self.mixture.draw(missing, batch.cursor, config.seed);
            batch.cursor += missing as u64;
            let seeds = |i: usize| (0..t.group_size).map(|s| mix(&[config.seed, step, i as u64, s as u64])).collect();
            let request = |(i, e): (usize, &usize)| GenerationRequest {
                prompt: self.prompts[*e].clone(),
                seeds: seeds(drawn + i),
            };
            let requests: Vec<GenerationRequest> = chosen.iter().enumerate().map(request).collect();
            drawn += missing;
            let fresh = self.draw_and_score(policy, &chosen, &requests, &mut batch)?;
            let (kept, flat): (Vec<Group>, Vec<Group>) =
                fresh.into_iter().partition(|g| rounds == 0 || g.scored().has_spread(config.algorithm.combine));
            batch.replaced.extend(flat);
            batch.groups.extend(kept);
            if batch.groups.len() == wanted {
                break;
            }
        }
        Ok(batch)
    }

    /// Uses a tool no more.
    pub fn suspend(&mut self, tool: String) {
        self.rewards.suspend(&tool);
        self.health.suspended.push(tool);
    }

    /// Asks the audit about the first replies of every group.
    pub fn audit(&mut self, batch: &mut Batch) {
        if !self.rewards.has_audit() {
            return;
        }
        let part = self.config.rewards.scored.clone().unwrap_or_default();
        let share = self.config.rewards.audit.share;
        let asked = |n: usize| ((share * n as f64).ceil() as usize).min(n);
        let groups = || batch.groups.iter().chain(&batch.replaced);
        let texts: Vec<(usize, Completion)> = groups()
            .flat_map(|g| {
                g.replies.iter().take(asked(g.replies.len())).map(|r| (g.example, part.completion(r.text.clone())))
            })
            .collect();
        let items: Vec<_> = texts.iter().map(|(e, c)| (&self.examples[*e], c)).collect();
        let deadline = Instant::now() + Duration::from_secs_f64(self.config.rewards.step_deadline);
        // Nothing that is learned from depends on it.
        let said = self.rewards.audit(&items, &|| Instant::now() >= deadline).unwrap_or_else(|e| {
            tracing::warn!("the audit failed: {e}");
            Vec::new()
        });
        let mut said = said.into_iter();
        for group in batch.groups.iter_mut().chain(&mut batch.replaced) {
            let n = asked(group.replies.len());
            for reply in group.replies.iter_mut().take(n) {
                reply.audit = said.next().and_then(|outcome| outcome.score());
            }
        }
    }

    /// Scores groups of a batch again with the tools that their examples have now.
    pub fn score_again(&mut self, batch: &mut Batch, is_meant: impl Fn(&Group) -> bool) -> Result<(), TrainError> {
        let part = self.config.rewards.scored.clone().unwrap_or_default();
        let deadline = Instant::now() + Duration::from_secs_f64(self.config.rewards.step_deadline);
        for group in batch.groups.iter_mut().chain(&mut batch.replaced).filter(|g| is_meant(g)) {
            let example = &self.examples[group.example];
            let completions: Vec<Completion> = group.replies.iter().map(|r| part.completion(r.text.clone())).collect();
            let items: Vec<_> = completions.iter().map(|c| (example, c)).collect();
            let scores = self.rewards.score_until(&items, &|| Instant::now() >= deadline)?;
            for (reply, mut scores) in group.replies.iter_mut().zip(scores) {
                let penalty = reply.scores.get(SOFT_OVERLONG).cloned();
                scores.tools.extend(penalty);
                reply.scores = scores;
            }
        }
        Ok(())
    }

    fn draw_and_score(
        &mut self,
        policy: &Policy,
        chosen: &[usize],
        requests: &[GenerationRequest],
        batch: &mut Batch,
    ) -> Result<Vec<Group>, TrainError> {
        let began = Instant::now();
        let sampling = &self.config.sampling;
        let part = self.config.rewards.scored.clone().unwrap_or_default();
        let (rewards, examples) = (&mut *self.rewards, self.examples);
        // One budget for the step, however often its groups are refilled.
        let patience = Duration::from_secs_f64((self.config.rewards.step_deadline - batch.scoring).max(0.0));
        let deadline = OnceLock::new();
        let over = &|| deadline.get().is_some_and(|d| Instant::now() >= *d);
        let (send, replies) = mpsc::channel();
        let (samples, scores, sampling_took) = std::thread::scope(|scope| {
            let scorer = scope.spawn(move || {
                let mut scores: Vec<Vec<Scores>> =
                    requests.iter().map(|r| vec![Scores::default(); r.seeds.len()]).collect();
                while let Ok(first) = replies.recv() {
                    let waiting: Vec<(usize, usize, Completion)> =
                        std::iter::once(first).chain(replies.try_iter()).collect();
                    let items: Vec<_> = waiting.iter().map(|(i, _, c)| (&examples[chosen[*i]], c)).collect();
                    for ((i, index, _), scored) in waiting.iter().zip(rewards.score_until(&items, over)?) {
                        scores[*i][*index] = scored;
                    }
                }
                Ok::<_, RewardError>(scores)
            });
            let mut tell = |i: usize, index: usize, text: String| {
                // The scorer has gone only when it has an error to give.
                let _ = send.send((i, index, part.completion(text)));
            };
            let samples = draw(policy, requests, sampling, &mut tell);
            let took = began.elapsed();
            deadline.get_or_init(|| Instant::now() + patience);
            drop(send);
            let scores = scorer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            (samples, scores, took)
        });
        let (samples, scores) = (samples?, scores?);
        batch.sampling += sampling_took.as_secs_f64();
        batch.scoring += began.elapsed().saturating_sub(sampling_took).as_secs_f64();
        let overlong = &self.config.algorithm.overlong;
        let group = |((example, samples), scores): ((&usize, Vec<rlar_policy::Sample>), Vec<Scores>)| {
            let rollout = |(s, mut scores): (rlar_policy::Sample, Scores)| {
                // What no tool judges is not learned from, long or short.
                if overlong.soft_tokens > 0 && !scores.tools.is_empty() {
                    let penalty = soft_overlong(s.tokens.len(), sampling.max_tokens, overlong.soft_tokens);
                    let (tool, outcome) = (SOFT_OVERLONG.into(), Outcome::Scored(penalty));
                    scores.tools.push(ToolScore { tool, weight: overlong.weight, outcome });
                }
                Rollout {
                    tokens: s.tokens,
                    log_probs: s.log_probs,
                    drawn_log_probs: s.drawn_log_probs,
                    text: s.text,
                    finish: s.finish,
                    scores,
                    audit: None,
                }
            };
            Group { example: *example, replies: samples.into_iter().zip(scores).map(rollout).collect() }
        };
        Ok(chosen.iter().zip(samples).zip(scores).map(group).collect())
    }
}
