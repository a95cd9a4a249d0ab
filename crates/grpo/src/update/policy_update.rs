//! The policy update: optimizer steps that lower the policy loss of a batch of rollouts.

use std::ops::Range;

use rlar_policy::{Decoder, Finish, Sequence};

use crate::TrainError;
use crate::algorithm::advantage::{GroupScores, ScoreColumn};
use crate::algorithm::kl::kl;
use crate::algorithm::loss::{KlSums, LossTerms, Minibatch, ReplyInputs, entropy_floor, policy_loss};
use crate::config::{Config, CorrectionMode, KlEstimator, KlTarget};
use crate::engine::local::micro_batches::{BackwardOptions, CompletionLogProbs, LossGradients, gradient, log_probs};
use crate::rollouts::batch::Batch;
use crate::rollouts::rollout::{Group, Rollout};
use crate::schedule::mix;
use crate::update::train_state::TrainState;

/// One in this many of the replies without a gradient still gets a forward pass, to measure entropy and the difference
/// between the sampler's and the trainer's log-probs.
const MEASURED_WITHOUT_GRADIENT: usize = 8;

/// Log-probs of a batch's replies under the old policy and under the reference model. They do not change during the
/// update.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OldAndRefLogProbs {
    /// For each reply, the log-probs of its tokens under the old policy, the one before the update. These are the
    /// sampler's log-probs, unless importance correction needs those that the trainer computes.
    pub old_log_probs: Vec<Vec<f32>>,
    /// For each reply, the log-probs of its tokens under the reference model; empty without a reference model.
    pub ref_log_probs: Vec<Vec<f32>>,
}

impl OldAndRefLogProbs {
    /// Computes the log-probs for every reply of a batch, in order. `prompts` are the token ids of all prompts to train
    /// on.
    pub fn new(
        state: &TrainState,
        reference: Option<&Decoder>,
        batch: &Batch,
        prompts: &[Vec<u32>],
        config: &Config,
    ) -> Self {
        let options = options(state, config);
        let sequences: Vec<Sequence> = sequences(batch, prompts).collect();
        let old_log_probs = if config.algorithm.correction.mode == CorrectionMode::None {
            batch.groups.iter().flat_map(|g| &g.replies).map(|r| r.log_probs.clone()).collect()
        } else {
            by_reply(&log_probs(&state.model.decoder, &sequences, options).log_probs, &sequences)
        };
        let ref_log_probs = match reference {
            Some(reference) => by_reply(&log_probs(reference, &sequences, options).log_probs, &sequences),
            None => vec![Vec::new(); sequences.len()],
        };
        Self { old_log_probs, ref_log_probs }
    }
}

/// The scores from which advantages are computed, by group. With `algorithm.kl.in: reward`, the sum of a reply's KL
/// estimates is added as one more score with a negative weight.
pub fn scores_with_kl(batch: &Batch, known: &OldAndRefLogProbs, config: &Config) -> Vec<GroupScores> {
    let mut groups: Vec<GroupScores> = batch.groups.iter().map(Group::scores).collect();
    let settings = &config.algorithm.kl;
    if settings.target == KlTarget::Reward && settings.estimator != KlEstimator::None {
        let mut penalties = known.old_log_probs.iter().zip(&known.ref_log_probs).map(|(old, reference)| {
            let tokens = old.iter().zip(reference);
            tokens.map(|(o, r)| kl(settings.estimator, f64::from(*o), f64::from(*r)).value).sum::<f64>()
        });
        for group in &mut groups {
            let scores = penalties.by_ref().take(group.lengths.len()).map(Some).collect();
            group.tools.push(ScoreColumn { weight: -settings.weight, scores });
        }
    }
    groups
}

/// Statistics of the update on a batch, summed over its optimizer steps.
#[derive(Clone, Debug, Default)]
pub struct UpdateStats {
    /// Number of optimizer steps taken.
    pub steps: usize,
    /// Sum of the losses of the optimizer steps.
    pub loss: f64,
    /// Sum over the optimizer steps of the gradient's norm before clipping.
    pub grad_norm: f64,
    /// Number of reply tokens that went through a backward pass; with several epochs, each pass counts.
    pub tokens: usize,
    /// Entropies of next-token distributions, in nats: at the tokens that went through a backward pass, and at those of
    /// a sample of the replies without a gradient.
    pub entropies: Vec<f32>,
    /// KL estimates, summed over the tokens that went through a backward pass.
    pub kl: KlSums,
    /// Ratios of the policy's probability to the old policy's, per token, or per reply with GSPO.
    pub ratios: Vec<f32>,
    /// Number of ratios below the clip range with a negative advantage.
    pub clipped_low: usize,
    /// Number of ratios above the clip range with a positive advantage.
    pub clipped_high: usize,
    /// Importance weights of the tokens; empty without importance correction.
    pub importance_weights: Vec<f64>,
    /// Differences between sampler and trainer, measured before the first optimizer step.
    pub gap: SamplerTrainerGap,
    /// Whether a gradient contained NaN or infinity. No optimizer step was taken with it, and the update ended there.
    pub diverged: bool,
}

/// Absolute differences between the sampler's and the trainer's log-probs of the same tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SamplerTrainerGap {
    /// Sum of the absolute differences, in nats.
    pub sum: f64,
    /// Number of tokens that were compared.
    pub tokens: usize,
}

impl SamplerTrainerGap {
    fn add(&mut self, trainer: &[f32], sampler: &[f32]) {
        self.sum += trainer.iter().zip(sampler).map(|(a, b)| f64::from((a - b).abs())).sum::<f64>();
        self.tokens += sampler.len();
    }

    /// Mean absolute difference, in nats; `None` if no token was compared.
    pub fn mean(&self) -> Option<f64> {
        (self.tokens > 0).then(|| self.sum / self.tokens as f64)
    }
}

impl UpdateStats {
    /// Returns the statistics, or the error [`TrainError::Diverged`] of step `step` (from 1) if a gradient was not
    /// finite.
    pub fn finite(self, step: u64) -> Result<Self, TrainError> {
        if self.diverged { Err(TrainError::Diverged { step }) } else { Ok(self) }
    }

    fn add(&mut self, terms: &LossTerms, entropies: &[f32], is_corrected: bool) {
        self.loss += terms.loss;
        self.tokens += entropies.len();
        self.entropies.extend(entropies);
        self.kl.add(&terms.kl);
        self.ratios.extend(&terms.ratios);
        self.clipped_low += terms.clipped_low;
        self.clipped_high += terms.clipped_high;
        if is_corrected {
            self.importance_weights.extend(&terms.importance_weights);
        }
    }
}

/// A reply that is trained on, with its advantage and log-probs.
struct TrainSample<'a> {
    /// Index of the reply's group in the batch.
    group: usize,
    rollout: &'a Rollout,
    sequence: Sequence<'a>,
    advantage: f64,
    old_log_probs: &'a [f32],
    ref_log_probs: &'a [f32],
}

/// Updates the policy on a batch, at learning rate `lr`: `train.epochs` passes over `train.minibatches` minibatches,
/// with one optimizer step each. `advantages` has one entry per reply, by group; replies without an advantage are left
/// out.
pub fn policy_update(
    state: &mut TrainState,
    batch: &Batch,
    prompts: &[Vec<u32>],
    known: &OldAndRefLogProbs,
    advantages: &[Vec<Option<f64>>],
    config: &Config,
    lr: f32,
) -> UpdateStats {
    let options = options(state, config);
    let samples = train_samples(batch, prompts, known, advantages, config);
    let groups_per_step = batch.groups.len().div_ceil(config.train.minibatches).max(1);
    let mut stats = UpdateStats::default();
    for epoch in 0..config.train.epochs {
        for (number, first) in (0..batch.groups.len()).step_by(groups_per_step).enumerate() {
            let groups = first..first + groups_per_step;
            let minibatch: Vec<&TrainSample> = samples.iter().filter(|s| groups.contains(&s.group)).collect();
            let step = OptimizerStep {
                config,
                options: BackwardOptions { seed: mix(&[options.seed, epoch as u64, number as u64]), ..options },
                is_first: epoch == 0 && number == 0,
                lr,
            };
            step.take(state, &minibatch, &mut stats);
            if stats.diverged {
                return stats;
            }
        }
    }
    stats
}

/// The replies of a batch that have an advantage, except those that `algorithm.overlong.filter` leaves out.
fn train_samples<'a>(
    batch: &'a Batch,
    prompts: &'a [Vec<u32>],
    known: &'a OldAndRefLogProbs,
    advantages: &[Vec<Option<f64>>],
    config: &Config,
) -> Vec<TrainSample<'a>> {
    let groups = batch.groups.iter().enumerate();
    let rollouts = groups.flat_map(|(group, g)| g.replies.iter().map(move |rollout| (group, rollout)));
    let log_probs = known.old_log_probs.iter().zip(&known.ref_log_probs);
    let all = rollouts.zip(sequences(batch, prompts)).zip(log_probs).zip(advantages.iter().flatten());
    all.filter_map(|((((group, rollout), sequence), (old_log_probs, ref_log_probs)), advantage)| {
        let is_overlong = config.algorithm.overlong.filter && rollout.finish == Finish::Length;
        let advantage = advantage.filter(|_| !is_overlong)?;
        Some(TrainSample { group, rollout, sequence, advantage, old_log_probs, ref_log_probs })
    })
    .collect()
}

/// The settings of one optimizer step of an update.
struct OptimizerStep<'a> {
    config: &'a Config,
    options: BackwardOptions,
    /// Whether this is the first optimizer step on the batch, before which the weights are still those of the old
    /// policy.
    is_first: bool,
    lr: f32,
}

impl OptimizerStep<'_> {
    fn take(&self, state: &mut TrainState, samples: &[&TrainSample], stats: &mut UpdateStats) {
        let a = &self.config.algorithm;
        let minibatch = self.minibatch(state, samples);
        // Replies with advantage 0 count in the loss's divisor but have no gradient, unless KL or entropy is in the
        // loss.
        let kl_in_loss = a.kl.target == KlTarget::Loss && a.kl.estimator != KlEstimator::None && a.kl.weight > 0.0;
        let has_gradient = |s: &&TrainSample| s.advantage != 0.0 || kl_in_loss || a.entropy_bonus > 0.0;
        let (with, without): (Vec<&TrainSample>, Vec<&TrainSample>) = samples.iter().copied().partition(has_gradient);
        let entropies = self.measure(state, &without, stats);
        stats.entropies.extend(entropies);
        // With dropout, the log-probs of the training pass are not those of the policy that sampled the replies.
        let uses_dropout = state.model.layout().lora().is_some_and(|lora| lora.lora_dropout > 0.0);
        if uses_dropout && self.is_first {
            self.measure(state, &with, stats);
        }
        if with.is_empty() {
            return;
        }
        let sequences: Vec<Sequence> = with.iter().map(|s| s.sequence).collect();
        let measures_gap = self.is_first && !uses_dropout;
        // The loss is summed within the step first, so that its rounding does not depend on the steps before it.
        let loss_before = std::mem::take(&mut stats.loss);
        let gradients = gradient(&state.model.decoder, &sequences, self.options, |range, known| {
            self.loss_gradients(&with[range], known, &minibatch, measures_gap, stats)
        });
        let norm = self.config.optimizer.adamw().step(&mut state.model.decoder, &mut state.moments, gradients, self.lr);
        stats.loss += loss_before;
        stats.diverged = !norm.is_finite();
        stats.steps += 1;
        stats.grad_norm += norm;
    }

    /// The totals by which the losses of this optimizer step are divided.
    fn minibatch(&self, state: &TrainState, samples: &[&TrainSample]) -> Minibatch {
        let top = self.config.algorithm.top_entropy;
        let sequences: Vec<Sequence> = samples.iter().map(|s| s.sequence).collect();
        let entropy_floor = if top < 1.0 {
            entropy_floor(&log_probs(&state.model.decoder, &sequences, self.options).entropies, top)
        } else {
            None
        };
        Minibatch {
            replies: samples.len(),
            tokens: sequences.iter().map(|s| s.completion.len()).sum(),
            max_tokens: self.config.sampling.max_tokens,
            entropy_floor,
        }
    }

    /// Computes the losses of a micro-batch's replies, adds them to `stats`, and returns their gradients with respect
    /// to log-probs and entropies.
    fn loss_gradients(
        &self,
        samples: &[&TrainSample],
        known: &CompletionLogProbs,
        minibatch: &Minibatch,
        measures_gap: bool,
        stats: &mut UpdateStats,
    ) -> LossGradients {
        let a = &self.config.algorithm;
        let is_corrected = a.correction.mode != CorrectionMode::None;
        let mut grads = LossGradients::default();
        for (sample, tokens) in samples.iter().zip(token_ranges(samples.iter().map(|s| s.old_log_probs.len()))) {
            let reply = ReplyInputs {
                log_probs: &known.log_probs[tokens.clone()],
                old_log_probs: sample.old_log_probs,
                ref_log_probs: sample.ref_log_probs,
                sampler_log_probs: if is_corrected { &sample.rollout.drawn_log_probs } else { &[] },
                entropies: &known.entropies[tokens],
                advantage: sample.advantage,
            };
            if measures_gap {
                stats.gap.add(reply.log_probs, &sample.rollout.log_probs);
            }
            let terms = policy_loss(&reply, a, minibatch);
            stats.add(&terms, reply.entropies, is_corrected);
            grads.log_probs.extend(terms.grad_log_probs);
            grads.entropies.extend(terms.grad_entropies);
        }
        grads
    }

    /// Entropies, in nats, of the next-token distributions in a sample of the replies (one in
    /// `MEASURED_WITHOUT_GRADIENT`), by a forward pass. In the first optimizer step, also adds the differences between
    /// the sampler's and the trainer's log-probs to `stats`.
    fn measure(&self, state: &TrainState, replies: &[&TrainSample], stats: &mut UpdateStats) -> Vec<f32> {
        let some: Vec<&TrainSample> = replies.iter().step_by(MEASURED_WITHOUT_GRADIENT).copied().collect();
        let sequences: Vec<Sequence> = some.iter().map(|s| s.sequence).collect();
        let known = log_probs(&state.model.decoder, &sequences, self.options);
        if self.is_first {
            let sampler: Vec<f32> = some.iter().flat_map(|s| &s.rollout.log_probs).copied().collect();
            stats.gap.add(&known.log_probs, &sampler);
        }
        known.entropies
    }
}

/// The backward options for the next training step, whose index (from 0) is `state.counters.step`.
fn options(state: &TrainState, config: &Config) -> BackwardOptions {
    let counters = &state.counters;
    BackwardOptions::new(config, config.sampling.temperature, counters.tokens_per_micro_batch, counters.step)
}

/// Every reply of a batch with the token ids of its prompt, in order.
fn sequences<'a>(batch: &'a Batch, prompts: &'a [Vec<u32>]) -> impl Iterator<Item = Sequence<'a>> {
    batch.groups.iter().flat_map(|group| {
        let prompt = &prompts[group.example];
        group.replies.iter().map(move |reply| Sequence { prompt, completion: &reply.tokens })
    })
}

/// Splits the concatenated values of all tokens by reply.
fn by_reply(values: &[f32], sequences: &[Sequence]) -> Vec<Vec<f32>> {
    let ranges = token_ranges(sequences.iter().map(|s| s.completion.len()));
    ranges.map(|range| values[range].to_vec()).collect()
}

/// The index range of each of several slices in their concatenation, given the lengths of the slices.
fn token_ranges(lengths: impl Iterator<Item = usize>) -> impl Iterator<Item = Range<usize>> {
    lengths.scan(0, |end, length| {
        let start = *end;
        *end += length;
        Some(start..*end)
    })
}
