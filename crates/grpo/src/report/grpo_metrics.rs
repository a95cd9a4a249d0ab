//! The metrics of a step of reinforcement learning.

use std::collections::BTreeMap;

use rlar_policy::Finish;
use rlar_rewards::domain;
use serde::Serialize;
use serde_json::Value;

use crate::algorithm::advantage::moments;
use crate::config::{Config, KlEstimator, Surrogate};
use crate::report::step_record::PhaseSeconds;
use crate::rollouts::batch::Batch;
use crate::rollouts::drawn_prompts::DrawnPrompts;
use crate::rollouts::learned_weights::{DomainWeights, teaches_weights};
use crate::rollouts::rollout::{Group, Rollout, ToolOutcomes, tool_outcomes};
use crate::rollouts::zero_spread::ZeroSpread;
use crate::update::policy_update::UpdateStats;
use crate::update::train_state::Counters;

/// The metrics of a step of reinforcement learning. `docs/reference/run.md` explains every key. `None` is written as
/// `null`; unless a field says otherwise, it means that there was nothing to measure.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GrpoMetrics {
    /// Distribution of the rewards (weighted sums of the tools' scores) of the scored replies.
    pub reward: Option<Distribution>,
    /// Share of the scored replies whose reward, without the tools in `rewards.always`, is at least 0.5.
    pub accuracy: Option<f64>,
    /// Number of replies without a reward, because a tool gave no score or the prompt has no tool.
    pub unscored: usize,
    /// Number of replies to prompts that have no tool.
    pub uncovered: usize,
    /// Mean audit score of the audited replies, as a fraction of the audit tool's score range; without the replies from
    /// which weights are learned.
    pub audit: Option<f64>,
    /// The learned weights with which the step's replies were scored, with 95 % intervals, by domain and tool; absent if
    /// weights are fixed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weights: Option<DomainWeights>,
    /// Scores and outcomes of every tool, by the tool's name.
    pub tools: BTreeMap<String, ToolMetrics>,
    /// Share of the groups in which nothing can be learned from the rewards, because all replies have the same
    /// advantage.
    pub zero_spread_groups: Option<f64>,
    /// Numbers of the groups in which all replies have the same advantage, by reason.
    #[serde(rename = "flat")]
    pub zero_spread: ZeroSpread,
    /// Number of groups that dynamic sampling replaced by groups of further prompts, because all their replies had the
    /// same reward.
    pub replaced_groups: usize,
    /// Distribution of the replies' advantages.
    pub advantage: Option<Distribution>,
    /// Loss, as the mean over the optimizer steps of this training step.
    pub loss: Option<f64>,
    /// Norm of the gradient before clipping, as the mean over the optimizer steps of this training step.
    pub grad_norm: Option<f64>,
    /// Learning rate of the step.
    pub learning_rate: f32,
    /// Number of optimizer steps taken.
    pub optimizer_steps: usize,
    /// Distribution of the ratios of the policy's probability to the old policy's, per token, or per reply with GSPO.
    pub ratio: Option<Distribution>,
    /// Shares of the ratios that were clipped.
    pub clipped: ClippedShare,
    /// Mean estimates of the KL divergence from the reference model, in nats per token.
    pub kl: KlMeans,
    /// Mean entropy of the policy's next-token distributions, in nats.
    pub entropy: Option<f64>,
    /// Mean absolute difference between the sampler's and the trainer's log-probs of the same tokens, in nats.
    pub sampler_trainer_gap: Option<f64>,
    /// Distribution of the importance weights; `None` without importance correction.
    pub correction: Option<Distribution>,
    /// Number of steps by which the policy that sampled the batch is older than the policy that was updated: 0, or 1
    /// with `train.asynchronous`.
    pub staleness: u64,
    /// Distribution of the replies' lengths, in tokens.
    pub reply_tokens: Option<Distribution>,
    /// Share of the replies that reached the length limit `sampling.max_tokens`.
    pub cut_off: Option<f64>,
    /// Number of reply tokens that the run has sampled so far.
    pub tokens_drawn: u64,
    /// Throughput in tokens per second, by phase.
    pub tokens_per_second: TokenRates,
    /// Metrics of each domain; `None` if the step's prompts are of one domain.
    pub domains: Option<BTreeMap<String, DomainMetrics>>,
    /// Usage of the language model by the agents of this process so far, and numbers of verifiers that they wrote;
    /// absent without agents.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agents: Option<Value>,
    /// Names of the tools that are suspended because they failed too often.
    pub suspended: Vec<String>,
}

/// Mean, standard deviation and quantiles of a set of numbers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Distribution {
    /// Mean of the numbers.
    pub mean: f64,
    /// Sample standard deviation of the numbers (divisor `n − 1`).
    pub std: f64,
    /// Smallest of the numbers.
    pub min: f64,
    /// 10 % quantile of the numbers.
    pub q10: f64,
    /// Median of the numbers.
    pub q50: f64,
    /// 90 % quantile of the numbers.
    pub q90: f64,
    /// Largest of the numbers.
    pub max: f64,
}

/// Scores of a tool in one step, and how its calls ended.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ToolMetrics {
    /// Distribution of the tool's scores; `None` if it gave none.
    pub score: Option<Distribution>,
    /// Numbers of the tool's calls by how they ended.
    pub outcomes: OutcomeCounts,
}

/// Numbers of a tool's calls in one step, by how they ended.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OutcomeCounts {
    /// Number of scores requested.
    #[serde(rename = "asked")]
    pub requested: usize,
    /// Number of scores that the tool failed to give; scores that were not begun in time (`late`) are not counted.
    pub failed: usize,
    /// Number of scores that were not begun before `rewards.step_deadline` was over.
    pub late: usize,
    /// Number of replies to prompts that the tool does not apply to.
    pub abstained: usize,
    /// The last failure; `None` if no call failed.
    pub last_failure: Option<rlar_rewards::Failure>,
}

/// Shares of the ratios that were clipped; `None` for surrogate losses that do not clip.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ClippedShare {
    /// Share of the ratios that are below the clip range and have a negative advantage; `None` if the surrogate loss
    /// does not clip.
    pub low: Option<f64>,
    /// Share of the ratios that are above the clip range and have a positive advantage; `None` if the surrogate loss
    /// does not clip.
    pub high: Option<f64>,
}

/// Mean estimates of the KL divergence from the reference model, in nats per token; `None` without a reference model.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct KlMeans {
    /// Mean of the k1 estimate.
    pub k1: Option<f64>,
    /// Mean of the k2 estimate.
    pub k2: Option<f64>,
    /// Mean of the k3 estimate.
    pub k3: Option<f64>,
}

/// Throughput of a step, in tokens per second.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct TokenRates {
    /// Reply tokens per second of sampling.
    pub sampling: Option<f64>,
    /// Reply tokens that went through a backward pass, per second of the policy update.
    pub training: Option<f64>,
    /// Reply tokens per second of the whole step, from sampling to training.
    pub step: Option<f64>,
}

/// Metrics of the prompts of one domain in a step.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct DomainMetrics {
    /// Number of prompts drawn from the domain.
    pub prompts: usize,
    /// Mean reward of the domain's scored replies.
    pub reward: Option<f64>,
    /// Share of the domain's scored replies whose reward, without the tools in `rewards.always`, is at least 0.5.
    pub accuracy: Option<f64>,
    /// Number of the domain's replies without a reward.
    pub unscored: usize,
}

/// The inputs from which the metrics of a step are computed.
pub struct StepResults<'a> {
    /// The config of the run.
    pub config: &'a Config,
    /// The prompts of the batch.
    pub prompts: &'a DrawnPrompts,
    /// The batch of the step: sampled and scored replies.
    pub batch: &'a Batch,
    /// Advantages of the replies, by group; `None` for a reply without an advantage.
    pub advantages: &'a [Vec<Option<f64>>],
    /// Statistics of the policy update.
    pub update: &'a UpdateStats,
    /// Counts of groups in which all replies have the same advantage.
    pub zero_spread: &'a ZeroSpread,
    /// The counters of the run, with this step's tokens already added.
    pub counters: &'a Counters,
    /// Learning rate of the step.
    pub lr: f32,
    /// Seconds that the step spent in each phase.
    pub seconds: PhaseSeconds,
}

impl GrpoMetrics {
    /// Computes the metrics of a step. `agents` and `suspended` stay empty; the caller fills them in.
    pub fn new(step: &StepResults) -> Self {
        let StepResults { config, batch, update, zero_spread, counters, seconds, .. } = *step;
        let replies: Vec<&Rollout> = batch.sampled().flat_map(|g| &g.replies).collect();
        let rewards: Vec<f64> = replies.iter().filter_map(|r| r.scores.total()).collect();
        let judging = batch.sampled().filter(|g| !teaches_weights(config, g.example));
        let audits: Vec<f64> = judging.flat_map(|g| &g.replies).filter_map(|r| r.audit).collect();
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
            weights: batch.weights.clone(),
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
    /// The distribution of some numbers; `None` if there are none.
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

/// The metrics of each domain; `None` if all prompts of the step are of one domain.
fn domains(step: &StepResults) -> Option<BTreeMap<String, DomainMetrics>> {
    let mut domains: BTreeMap<&str, Vec<&Group>> = BTreeMap::new();
    for group in step.batch.sampled() {
        domains.entry(domain(&step.prompts[group.example].example)).or_default().push(group);
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

/// For each scored reply, 1 if its reward without the tools in `rewards.always` is at least 0.5, otherwise 0.
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
