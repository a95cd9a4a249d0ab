//! What a step of reinforcement learning records.

use std::collections::BTreeMap;

use rlar_data::Example;
use rlar_policy::Finish;
use rlar_rewards::domain;
use serde::Serialize;
use serde_json::Value;

use crate::algorithm::advantage::moments;
use crate::config::{Config, KlEstimator, Surrogate};
use crate::report::step_record::PhaseSeconds;
use crate::rollouts::batch::Batch;
use crate::rollouts::rollout::{Group, Rollout, ToolOutcomes, tool_outcomes};
use crate::rollouts::zero_spread::ZeroSpread;
use crate::update::policy_update::UpdateStats;
use crate::update::train_state::Counters;

/// The numbers of a step. `docs/run.md` explains every key; `None` is written as `null`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GrpoMetrics {
    /// Weighted sums of the tools' scores.
    pub reward: Option<Distribution>,
    /// Share of the scored replies with a reward of at least 0.5, `rewards.always` not counted.
    pub accuracy: Option<f64>,
    /// Number of replies without a reward.
    pub unscored: usize,
    /// Number of replies to prompts without a tool.
    pub uncovered: usize,
    /// Mean score of the audit tools, from 0 to 1.
    pub audit: Option<f64>,
    /// Scores and outcomes of every tool.
    pub tools: BTreeMap<String, ToolMetrics>,
    /// Share of the groups whose replies all have the same advantage.
    pub zero_spread_groups: Option<f64>,
    /// Why these groups have no spread.
    #[serde(rename = "flat")]
    pub zero_spread: ZeroSpread,
    /// Number of groups that dynamic sampling replaced.
    pub replaced_groups: usize,
    /// Advantages of the replies.
    pub advantage: Option<Distribution>,
    /// Mean over optimizer steps of the loss.
    pub loss: Option<f64>,
    /// Mean over optimizer steps of the gradient's norm before clipping.
    pub grad_norm: Option<f64>,
    /// Learning rate.
    pub learning_rate: f32,
    /// Number of optimizer steps.
    pub optimizer_steps: usize,
    /// Ratios to the old policy.
    pub ratio: Option<Distribution>,
    /// Share of the ratios that were clipped.
    pub clipped: ClippedShare,
    /// KL to the reference model, in nats per token.
    pub kl: KlMeans,
    /// Mean entropy of the next-token distributions, in nats.
    pub entropy: Option<f64>,
    /// Mean absolute difference between the sampler's and the trainer's log-probs, in nats.
    pub sampler_trainer_gap: Option<f64>,
    /// Importance weights.
    pub correction: Option<Distribution>,
    /// Number of steps between the policy that sampled the batch and the one that was updated.
    pub staleness: u64,
    /// Lengths of the replies, in tokens.
    pub reply_tokens: Option<Distribution>,
    /// Share of the replies that ran into `sampling.max_tokens`.
    pub cut_off: Option<f64>,
    /// Reply tokens sampled by the run so far.
    pub tokens_drawn: u64,
    /// Tokens per second, by phase.
    pub tokens_per_second: TokenRates,
    /// Prompts, reward and accuracy by domain; `None` where there is only one.
    pub domains: Option<BTreeMap<String, DomainMetrics>>,
    /// What the agents were asked so far, and what came of the verifiers that they wrote; absent without agents.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agents: Option<Value>,
    /// Tools that are suspended.
    pub suspended: Vec<String>,
}

/// Mean, spread and quantiles of some numbers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Distribution {
    /// Mean.
    pub mean: f64,
    /// Sample standard deviation.
    pub std: f64,
    /// Least value.
    pub min: f64,
    /// 10 % quantile.
    pub q10: f64,
    /// Median.
    pub q50: f64,
    /// 90 % quantile.
    pub q90: f64,
    /// Greatest value.
    pub max: f64,
}

/// A tool's scores and outcomes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ToolMetrics {
    /// Its scores.
    pub score: Option<Distribution>,
    /// Counts of its outcomes.
    pub outcomes: OutcomeCounts,
}

/// Counts of a tool's outcomes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OutcomeCounts {
    /// Scores requested.
    #[serde(rename = "asked")]
    pub requested: usize,
    /// Failed.
    pub failed: usize,
    /// Not begun before `rewards.step_deadline` was over.
    pub late: usize,
    /// Not applicable.
    pub abstained: usize,
    /// The last failure.
    pub last_failure: Option<rlar_rewards::Failure>,
}

/// Share of the ratios that were clipped; `None` for surrogates that do not clip.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ClippedShare {
    /// From below.
    pub low: Option<f64>,
    /// From above.
    pub high: Option<f64>,
}

/// Mean KL estimates; `None` without a reference.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct KlMeans {
    /// k1.
    pub k1: Option<f64>,
    /// k2.
    pub k2: Option<f64>,
    /// k3.
    pub k3: Option<f64>,
}

/// Tokens per second.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct TokenRates {
    /// Reply tokens, while sampling.
    pub sampling: Option<f64>,
    /// Tokens through the backward pass, while training.
    pub training: Option<f64>,
    /// Reply tokens, over the whole step.
    pub step: Option<f64>,
}

/// The numbers of one domain.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct DomainMetrics {
    /// Number of prompts.
    pub prompts: usize,
    /// Mean reward.
    pub reward: Option<f64>,
    /// Share of the scored replies with a reward of at least 0.5, `rewards.always` not counted.
    pub accuracy: Option<f64>,
    /// Number of replies without a reward.
    pub unscored: usize,
}

/// Everything that a step's metrics are computed from.
pub struct StepResults<'a> {
    /// The config.
    pub config: &'a Config,
    /// Prompts to train on.
    pub examples: &'a [Example],
    /// The batch.
    pub batch: &'a Batch,
    /// Advantages by group and reply.
    pub advantages: &'a [Vec<Option<f64>>],
    /// What the update did.
    pub update: &'a UpdateStats,
    /// Groups without spread.
    pub zero_spread: &'a ZeroSpread,
    /// The counters, with this step's tokens.
    pub counters: &'a Counters,
    /// Learning rate.
    pub lr: f32,
    /// Seconds by phase.
    pub seconds: PhaseSeconds,
}

impl GrpoMetrics {
    /// The metrics of a step; those of agents and suspended tools are for the caller to fill in.
    pub fn new(step: &StepResults) -> Self {
        let StepResults { config, batch, update, zero_spread, counters, seconds, .. } = *step;
        let replies: Vec<&Rollout> = batch.sampled().flat_map(|g| &g.replies).collect();
        let rewards: Vec<f64> = replies.iter().filter_map(|r| r.scores.total()).collect();
        let audits: Vec<f64> = replies.iter().filter_map(|r| r.audit).collect();
        let lengths: Vec<f64> = replies.iter().map(|r| r.tokens.len() as f64).collect();
        let advantages: Vec<f64> = step.advantages.iter().flatten().flatten().copied().collect();
        let ratios: Vec<f64> = update.ratios.iter().map(|r| f64::from(*r)).collect();
        let entropy: f64 = update.entropies.iter().map(|e| f64::from(*e)).sum();
        let per_step = |sum: f64| (update.steps > 0).then(|| sum / update.steps as f64);
        let has_reference = config.algorithm.kl.estimator != KlEstimator::None;
        let kl = |sum: f64| (has_reference && update.tokens > 0).then(|| sum / update.tokens as f64);
        let clips = !matches!(config.algorithm.surrogate, Surrogate::Sapo | Surrogate::Vespo);
        let clipped = |n: usize| if clips { share(n, ratios.len()) } else { None };
        let tokens = batch.tokens();
        Self {
            reward: Distribution::of(&rewards),
            accuracy: mean(&correct(replies.iter().copied(), config)),
            unscored: replies.len() - rewards.len(),
            uncovered: replies.iter().filter(|r| r.scores.tools.is_empty()).count(),
            audit: mean(&audits),
            tools: tool_outcomes(batch.sampled()).into_iter().map(|(name, t)| (name, ToolMetrics::new(&t))).collect(),
            zero_spread_groups: share(zero_spread.groups, batch.sampled().count()),
            zero_spread: zero_spread.clone(),
            replaced_groups: batch.replaced.len(),
            advantage: Distribution::of(&advantages),
            loss: per_step(update.loss),
            grad_norm: per_step(update.grad_norm),
            learning_rate: step.lr,
            optimizer_steps: update.steps,
            ratio: Distribution::of(&ratios),
            clipped: ClippedShare { low: clipped(update.clipped_low), high: clipped(update.clipped_high) },
            kl: KlMeans { k1: kl(update.kl.k1), k2: kl(update.kl.k2), k3: kl(update.kl.k3) },
            entropy: (!update.entropies.is_empty()).then(|| entropy / update.entropies.len() as f64),
            sampler_trainer_gap: update.gap.mean(),
            correction: Distribution::of(&update.importance_weights),
            staleness: counters.step - batch.policy_steps,
            reply_tokens: Distribution::of(&lengths),
            cut_off: share(replies.iter().filter(|r| r.finish == Finish::Length).count(), replies.len()),
            tokens_drawn: counters.reply_tokens,
            tokens_per_second: TokenRates {
                sampling: rate(tokens, batch.sampling),
                training: rate(update.tokens, seconds.training),
                step: rate(tokens, seconds.sampling + seconds.scoring + seconds.training),
            },
            domains: domains(step),
            agents: None,
            suspended: Vec::new(),
        }
    }
}

impl ToolMetrics {
    fn new(outcomes: &ToolOutcomes) -> Self {
        let ToolOutcomes { requested, failed, late, abstained, .. } = *outcomes;
        let last_failure = outcomes.last_failure.clone();
        Self {
            score: Distribution::of(&outcomes.scores),
            outcomes: OutcomeCounts { requested, failed, late, abstained, last_failure },
        }
    }
}

impl Distribution {
    /// Of some numbers; `None` without any.
    fn of(x: &[f64]) -> Option<Self> {
        if x.is_empty() {
            return None;
        }
        let mut sorted = x.to_vec();
        sorted.sort_by(f64::total_cmp);
        let quantile = |q: f64| sorted[(q * (sorted.len() - 1) as f64).round() as usize];
        let (mean, std) = moments(x);
        Some(Self {
            mean,
            std,
            min: quantile(0.0),
            q10: quantile(0.1),
            q50: quantile(0.5),
            q90: quantile(0.9),
            max: quantile(1.0),
        })
    }
}

/// Prompts, reward and accuracy by domain; `None` where there is only one.
fn domains(step: &StepResults) -> Option<BTreeMap<String, DomainMetrics>> {
    let mut domains: BTreeMap<&str, Vec<&Group>> = BTreeMap::new();
    for group in step.batch.sampled() {
        domains.entry(domain(&step.examples[group.example])).or_default().push(group);
    }
    if domains.len() < 2 {
        return None;
    }
    let metrics = |(domain, groups): (&str, Vec<&Group>)| {
        let replies = || groups.iter().flat_map(|g| &g.replies);
        let rewards: Vec<f64> = replies().filter_map(|r| r.scores.total()).collect();
        let metrics = DomainMetrics {
            prompts: groups.len(),
            reward: mean(&rewards),
            accuracy: mean(&correct(replies(), step.config)),
            unscored: replies().count() - rewards.len(),
        };
        (domain.to_owned(), metrics)
    };
    Some(domains.into_iter().map(metrics).collect())
}

/// 1 for each reply that counts as correct, 0 for each that does not; replies without a score are left out.
fn correct<'a>(replies: impl Iterator<Item = &'a Rollout>, config: &Config) -> Vec<f64> {
    let judged = replies.filter_map(|r| r.scores.total_beside(&config.rewards.always));
    judged.map(|score| f64::from(u8::from(score >= 0.5))).collect()
}

fn mean(x: &[f64]) -> Option<f64> {
    (!x.is_empty()).then(|| x.iter().sum::<f64>() / x.len() as f64)
}

fn share(n: usize, of: usize) -> Option<f64> {
    (of > 0).then(|| n as f64 / of as f64)
}

fn rate(n: usize, seconds: f64) -> Option<f64> {
    (seconds > 0.0).then(|| n as f64 / seconds)
}
