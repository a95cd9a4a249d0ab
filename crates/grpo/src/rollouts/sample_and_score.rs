//! Samples and scores a batch: prompts are drawn, and each reply is scored while later ones are still being sampled.

use std::sync::OnceLock;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rlar_data::{Completion, Example};
use rlar_eval::prefill;
use rlar_policy::{GenerationRequest, with_prefill};
use rlar_rewards::{Outcome, RewardError, Scores, ToolScore, domain};

use crate::TrainError;
use crate::algorithm::loss::soft_overlong;
use crate::engine::sampler::{FinishedReply, SampledReply, Sampler, SamplerError, check_replies};
use crate::rollouts::batch::{Batch, BatchPosition};
use crate::rollouts::collect::Collector;
use crate::rollouts::drawn_prompts::{DrawnPrompts, TrainingPrompts};
use crate::rollouts::rollout::{Group, Rollout};
use crate::schedule::mix;

/// Name of the soft overlong penalty, which is stored like the score of one more tool.
const SOFT_OVERLONG: &str = "soft_overlong";

/// Replies that wait until all replies to their prompt are complete, because a tool scores them together.
struct IncompleteGroups {
    /// One group per generation request, that is, per prompt; empty if no tool scores all replies to a prompt together.
    groups: Vec<IncompleteGroup>,
}

/// The complete replies to a prompt, while other replies to the same prompt are still being sampled.
struct IncompleteGroup {
    replies: Vec<(FinishedReply, Completion)>,
    /// Number of replies once the group is complete.
    size: usize,
}

impl IncompleteGroups {
    fn new(requests: &[GenerationRequest], scores_groups: bool) -> Self {
        let requests = if scores_groups { requests } else { &[] };
        let group = |r: &GenerationRequest| IncompleteGroup { replies: Vec::new(), size: r.seeds.len() };
        Self { groups: requests.iter().map(group).collect() }
    }

    /// Adds complete replies, and returns the replies that can be scored now: those of groups that are complete, or all
    /// if no tool scores groups.
    fn complete(
        &mut self,
        replies: impl Iterator<Item = (FinishedReply, Completion)>,
    ) -> Vec<(FinishedReply, Completion)> {
        let mut complete = Vec::new();
        for reply in replies {
            let Some(group) = self.groups.get_mut(reply.0.request) else {
                complete.push(reply);
                continue;
            };
            group.replies.push(reply);
            if group.replies.len() == group.size {
                // The order in which replies end depends on the batch.
                group.replies.sort_by_key(|(reply, _)| reply.index);
                complete.append(&mut group.replies);
            }
        }
        complete
    }
}

/// The error of a step whose replies could not be sampled. It names the example of the request that failed.
fn sampling_error(
    error: SamplerError,
    position: BatchPosition,
    chosen: &[usize],
    prompts: &DrawnPrompts,
) -> TrainError {
    match error {
        SamplerError::Policy(error) => error.into(),
        SamplerError::Request { request, message } => {
            let example = chosen.get(request).map_or("?", |example| prompts[*example].example.id.as_str());
            TrainError::Sampling { step: position.step + 1, example: example.to_owned(), message }
        }
    }
}

impl Collector<'_> {
    /// Samples and scores a new batch. The seed of a reply depends only on the config's seed, the step and the indices of
    /// prompt and reply. With dynamic sampling, groups whose replies all have the same reward are replaced by groups of
    /// further prompts. Replies of other weights than those after `position.policy_steps` steps are an error.
    pub fn sample_and_score(&mut self, sampler: &dyn Sampler, position: BatchPosition) -> Result<Batch, TrainError> {
        let (config, t) = (self.config, &self.config.train);
        let wanted = t.prompts.min(self.mixture.len());
        let rounds = config.algorithm.dynamic_sampling;
        let mut batch = Batch { policy_steps: position.policy_steps, cursor: position.cursor, ..Batch::default() };
        let mut drawn = 0;
        self.rewards.functions().set_step(position.step, t.steps);
        for _ in 0..=rounds {
            let missing = wanted - batch.groups.len();
            let chosen = self.mixture.draw(missing, batch.cursor, config.seed);
            batch.cursor += missing as u64;
            let drawn_prompts = self.prompts.drawn(chosen.iter().copied())?;
            let seed = |prompt: usize, reply: usize| mix(&[config.seed, position.step, prompt as u64, reply as u64]);
            let request = |(i, example): (usize, &usize)| GenerationRequest {
                prompt: drawn_prompts[*example].tokens.clone(),
                seeds: (0..t.group_size).map(|reply| seed(drawn + i, reply)).collect(),
            };
            let requests: Vec<GenerationRequest> = chosen.iter().enumerate().map(request).collect();
            drawn += missing;
            let groups = self.sample_groups(sampler, position, &chosen, &drawn_prompts, &requests, &mut batch)?;
            let (kept, flat): (Vec<Group>, Vec<Group>) =
                groups.into_iter().partition(|g| rounds == 0 || g.scores().has_spread(config.algorithm.combine));
            batch.replaced.extend(flat);
            batch.groups.extend(kept);
            if batch.groups.len() == wanted {
                break;
            }
        }
        Ok(batch)
    }

    /// Samples the replies to some prompts, and scores each as soon as it is complete. Adds the times to `batch`.
    fn sample_groups(
        &mut self,
        sampler: &dyn Sampler,
        position: BatchPosition,
        chosen: &[usize],
        prompts: &DrawnPrompts,
        requests: &[GenerationRequest],
        batch: &mut Batch,
    ) -> Result<Vec<Group>, TrainError> {
        let started = Instant::now();
        let sampling = &self.config.sampling;
        let part = self.config.rewards.scored.clone().unwrap_or_default();
        let TrainingPrompts { tokenizer, format, .. } = self.prompts;
        let prefill = |example: &usize| prefill(tokenizer, &prompts[*example].example, format);
        let prefills = chosen.iter().map(prefill).collect::<Result<Vec<String>, _>>()?;
        let rewards = &mut *self.rewards;
        // The time limit holds for the whole step, even if groups are replaced several times.
        let time_left = Duration::from_secs_f64((self.config.rewards.step_deadline - batch.scoring).max(0.0));
        let deadline = OnceLock::new();
        let is_over = &|| deadline.get().is_some_and(|d| Instant::now() >= *d);
        let replies: usize = requests.iter().map(|r| r.seeds.len()).sum();
        let sampling_progress = rewards.activity().phase("sampling", replies, "replies");
        let scoring_progress = &rewards.activity().phase("scoring", replies, "replies");
        let (send, finished) = mpsc::channel::<(FinishedReply, Completion)>();
        let (samples, scores, sampling_time) = std::thread::scope(|scope| {
            let scorer = scope.spawn(move || {
                let mut scores: Vec<Vec<Scores>> =
                    requests.iter().map(|r| vec![Scores::default(); r.seeds.len()]).collect();
                let mut incomplete = IncompleteGroups::new(requests, rewards.scores_groups());
                while let Ok(first) = finished.recv() {
                    let waiting = incomplete.complete(std::iter::once(first).chain(finished.try_iter()));
                    let items: Vec<_> = waiting.iter().map(|(r, c)| (&prompts[chosen[r.request]].example, c)).collect();
                    for ((reply, _), scored) in waiting.iter().zip(rewards.score_until(&items, is_over)?) {
                        scores[reply.request][reply.index] = scored;
                    }
                    scoring_progress.add(waiting.len());
                }
                Ok::<_, RewardError>(scores)
            });
            let mut on_reply = |reply: FinishedReply| {
                sampling_progress.add(1);
                let text = with_prefill(&prefills[reply.request], reply.text.clone());
                let completion = part.completion(text).with_tokens(reply.tokens.clone());
                // Sending fails only if the scorer has ended with an error, which is returned below.
                let _ = send.send((reply, completion));
            };
            let samples = sampler.sample(requests, sampling, &sampling_progress, &mut on_reply);
            drop(sampling_progress);
            let sampling_time = started.elapsed();
            deadline.get_or_init(|| Instant::now() + time_left);
            drop(send);
            let scores = scorer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            (samples, scores, sampling_time)
        });
        let sampling_error = |error| sampling_error(error, position, chosen, prompts);
        let samples = samples.map_err(sampling_error)?;
        check_replies(requests, &samples, position.policy_steps).map_err(sampling_error)?;
        let scores = scores?;
        batch.sampling += sampling_time.as_secs_f64();
        batch.scoring += started.elapsed().saturating_sub(sampling_time).as_secs_f64();
        let mut groups = Vec::with_capacity(chosen.len());
        for (((example, prefill), samples), scores) in chosen.iter().zip(&prefills).zip(samples).zip(scores) {
            let judged = |sample: SampledReply| SampledReply { text: with_prefill(prefill, sample.text), ..sample };
            let rollout = |(sample, scores)| self.rollout(&prompts[*example].example, judged(sample), scores);
            groups.push(Group { example: *example, replies: samples.into_iter().zip(scores).map(rollout).collect() });
        }
        Ok(groups)
    }

    /// The rollout of a sampled reply to the prompt of `example`.
    fn rollout(&self, example: &Example, sample: SampledReply, mut scores: Scores) -> Rollout {
        self.weigh(example, &mut scores);
        let overlong = &self.config.algorithm.overlong;
        // A reply that no tool scores gets no penalty either, so that it is not trained on.
        if overlong.soft_tokens > 0 && !scores.tools.is_empty() {
            let penalty = soft_overlong(sample.tokens.len(), self.config.sampling.max_tokens, overlong.soft_tokens);
            let outcome = Outcome::Scored(penalty);
            scores.tools.push(ToolScore::new(SOFT_OVERLONG.into(), overlong.weight, outcome));
        }
        Rollout {
            tokens: sample.tokens,
            log_probs: sample.log_probs,
            drawn_log_probs: sample.drawn_log_probs,
            text: sample.text,
            finish: sample.finish,
            scores,
            audit: None,
        }
    }

    /// Gives the scores of a reply to a prompt the learned weights of their tools, if weights are learned.
    fn weigh(&self, example: &Example, scores: &mut Scores) {
        if let Some(weights) = &self.weights {
            let always = &self.config.rewards.always;
            weights.apply(domain(example), scores, self.rewards.library(), always);
        }
    }

    /// Scores the groups of a batch for which `is_affected` is true again, with the tools that their prompts have now.
    pub fn rescore(&mut self, batch: &mut Batch, is_affected: impl Fn(&Group) -> bool) -> Result<(), TrainError> {
        let part = self.config.rewards.scored.clone().unwrap_or_default();
        let deadline = self.step_deadline();
        let prompts = self.prompts.of_batch(batch)?;
        for group in batch.sampled_mut().filter(|g| is_affected(g)) {
            let example = &prompts[group.example].example;
            let completion = |r: &Rollout| part.completion(r.text.clone()).with_tokens(r.tokens.clone());
            let completions: Vec<Completion> = group.replies.iter().map(completion).collect();
            let items: Vec<_> = completions.iter().map(|c| (example, c)).collect();
            let scores = self.rewards.score_until(&items, &|| Instant::now() >= deadline)?;
            for (reply, mut scores) in group.replies.iter_mut().zip(scores) {
                self.weigh(example, &mut scores);
                scores.tools.extend(reply.scores.get(SOFT_OVERLONG).cloned());
                reply.scores = scores;
            }
        }
        Ok(())
    }

    /// Lets the audit tools score the first replies of every group, a share of `rewards.audit.share`. Audit scores are
    /// recorded and monitored, but not trained on.
    pub fn audit(&mut self, batch: &mut Batch) -> Result<(), TrainError> {
        if !self.rewards.has_audit() {
            return Ok(());
        }
        let prompts = self.prompts.of_batch(batch)?;
        let part = self.config.rewards.scored.clone().unwrap_or_default();
        let share = self.config.rewards.audit.share;
        let audited = |replies: usize| ((share * replies as f64).ceil() as usize).min(replies);
        let completions: Vec<(usize, Completion)> = batch
            .sampled()
            .flat_map(|g| {
                g.replies.iter().take(audited(g.replies.len())).map(|r| (g.example, part.completion(r.text.clone())))
            })
            .collect();
        let items: Vec<_> = completions.iter().map(|(e, c)| (&prompts[*e].example, c)).collect();
        let deadline = self.step_deadline();
        let outcomes = self.rewards.audit(&items, &|| Instant::now() >= deadline).unwrap_or_else(|e| {
            tracing::warn!("the audit failed: {e}");
            Vec::new()
        });
        let mut outcomes = outcomes.into_iter();
        for group in batch.sampled_mut() {
            let n = audited(group.replies.len());
            for reply in group.replies.iter_mut().take(n) {
                reply.audit = outcomes.next().and_then(|outcome| outcome.score());
            }
        }
        Ok(())
    }

    fn step_deadline(&self) -> Instant {
        Instant::now() + Duration::from_secs_f64(self.config.rewards.step_deadline)
    }
}
