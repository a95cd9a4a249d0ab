//! The policy update: optimizer steps that lower the policy loss of a batch of rollouts.

use rlar_policy::{Finish, Sequence};

use crate::TrainError;
use crate::algorithm::advantage::{GroupScores, ScoreColumn};
use crate::algorithm::kl::kl;
use crate::algorithm::loss::{KlSums, LossTerms, Minibatch, entropy_floor};
use crate::config::{Config, CorrectionMode, KlEstimator, KlTarget};
use crate::engine::trainer::{
    CompletionLogProbs, ForwardBackward, Objective, OneCompletion, PassOptions, TrainSample, Trainer,
};
use crate::rollouts::batch::Batch;
use crate::rollouts::drawn_prompts::DrawnPrompts;
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
    /// Computes the log-probs for every reply of a batch, in order. `prompts` are those of the batch.
    pub fn new<T: Trainer>(
        state: &TrainState<T>,
        batch: &Batch,
        prompts: &DrawnPrompts,
        config: &Config,
    ) -> Result<Self, TrainError> {
        let (options, step) = (options(state, config), state.counters.step + 1);
        let sequences: Vec<Sequence> = sequences(batch, prompts).collect();
        let checked = |known: CompletionLogProbs| match known.fault(&sequences, !known.entropies.is_empty()) {
            Some(fault) => Err(fault.at_step(step)),
            None => Ok(by_reply(&known, &sequences)),
        };
        let old_log_probs = if config.algorithm.correction.mode == CorrectionMode::None {
            batch.groups.iter().flat_map(|g| &g.replies).map(|r| r.log_probs.clone()).collect()
        } else {
            checked(state.trainer.log_probs(&sequences, options)?)?
        };
        let ref_log_probs = match state.trainer.ref_log_probs(&sequences, options)? {
            Some(known) => checked(known)?,
            None => vec![Vec::new(); sequences.len()],
        };
        Ok(Self { old_log_probs, ref_log_probs })
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

    fn add(&mut self, terms: &LossTerms, completion: &OneCompletion, is_corrected: bool) {
        self.loss += terms.loss;
        self.tokens += completion.log_probs.len();
        self.entropies.extend(completion.entropies);
        self.kl.add(&terms.kl);
        self.ratios.extend(&terms.ratios);
        self.clipped_low += terms.clipped_low;
        self.clipped_high += terms.clipped_high;
        if is_corrected {
            self.importance_weights.extend(&terms.importance_weights);
        }
    }
}

/// A reply of the batch that is trained on.
struct TrainedReply<'a> {
    /// Index of the reply's group in the batch.
    group: usize,
    rollout: &'a Rollout,
    sample: TrainSample<'a>,
}

/// Updates the policy on a batch, at learning rate `lr`: `train.epochs` passes over `train.minibatches` minibatches,
/// with one optimizer step each. `advantages` has one entry per reply, by group; replies without an advantage are left
/// out.
pub fn policy_update<T: Trainer>(
    state: &mut TrainState<T>,
    batch: &Batch,
    prompts: &DrawnPrompts,
    known: &OldAndRefLogProbs,
    advantages: &[Vec<Option<f64>>],
    config: &Config,
    lr: f32,
) -> Result<UpdateStats, TrainError> {
    check_entropies(state, config)?;
    let (options, training_step) = (options(state, config), state.counters.step + 1);
    let replies = trained_replies(batch, prompts, known, advantages, config);
    let groups_per_step = batch.groups.len().div_ceil(config.train.minibatches).max(1);
    let mut stats = UpdateStats::default();
    for epoch in 0..config.train.epochs {
        for (number, first) in (0..batch.groups.len()).step_by(groups_per_step).enumerate() {
            let groups = first..first + groups_per_step;
            let minibatch: Vec<&TrainedReply> = replies.iter().filter(|r| groups.contains(&r.group)).collect();
            let step = OptimizerStep {
                config,
                options: PassOptions { seed: mix(&[options.seed, epoch as u64, number as u64]), ..options },
                is_first: epoch == 0 && number == 0,
                training_step,
                lr,
            };
            step.take(&mut state.trainer, &minibatch, &mut stats)?;
            if stats.diverged {
                return Ok(stats);
            }
        }
    }
    Ok(stats)
}

/// The replies of a batch that have an advantage, except those that `algorithm.overlong.filter` leaves out.
fn trained_replies<'a>(
    batch: &'a Batch,
    prompts: &'a DrawnPrompts,
    known: &'a OldAndRefLogProbs,
    advantages: &[Vec<Option<f64>>],
    config: &Config,
) -> Vec<TrainedReply<'a>> {
    let groups = batch.groups.iter().enumerate();
    let rollouts = groups.flat_map(|(group, g)| g.replies.iter().map(move |rollout| (group, rollout)));
    let log_probs = known.old_log_probs.iter().zip(&known.ref_log_probs);
    let is_corrected = config.algorithm.correction.mode != CorrectionMode::None;
    let all = rollouts.zip(sequences(batch, prompts)).zip(log_probs).zip(advantages.iter().flatten());
    all.filter_map(|((((group, rollout), sequence), (old_log_probs, ref_log_probs)), advantage)| {
        let is_overlong = config.algorithm.overlong.filter && rollout.finish == Finish::Length;
        let advantage = advantage.filter(|_| !is_overlong)?;
        let sampler_log_probs = if is_corrected { &rollout.drawn_log_probs[..] } else { &[] };
        let sample = TrainSample { sequence, advantage, old_log_probs, ref_log_probs, sampler_log_probs };
        Some(TrainedReply { group, rollout, sample })
    })
    .collect()
}

/// The settings of one optimizer step of an update.
struct OptimizerStep<'a> {
    config: &'a Config,
    options: PassOptions,
    /// Whether this is the first optimizer step on the batch, before which the weights are still those of the old
    /// policy.
    is_first: bool,
    /// Number of the training step, from 1.
    training_step: u64,
    lr: f32,
}

impl OptimizerStep<'_> {
    fn take(
        &self,
        trainer: &mut impl Trainer,
        replies: &[&TrainedReply],
        stats: &mut UpdateStats,
    ) -> Result<(), TrainError> {
        let a = &self.config.algorithm;
        let objective = Objective { algorithm: a, minibatch: self.minibatch(trainer, replies)? };
        // Replies with advantage 0 count in the loss's divisor but have no gradient, unless KL or entropy is in the
        // loss.
        let kl_in_loss = a.kl.target == KlTarget::Loss && a.kl.estimator != KlEstimator::None && a.kl.weight > 0.0;
        let has_gradient = |r: &&TrainedReply| r.sample.advantage != 0.0 || kl_in_loss || a.entropy_bonus > 0.0;
        let (with, without): (Vec<&TrainedReply>, Vec<&TrainedReply>) = replies.iter().copied().partition(has_gradient);
        let entropies = self.measure(trainer, &without, stats)?;
        stats.entropies.extend(entropies);
        // With dropout, the log-probs of the training pass are not those of the policy that sampled the replies.
        let uses_dropout = trainer.has_dropout();
        if uses_dropout && self.is_first {
            self.measure(trainer, &with, stats)?;
        }
        if with.is_empty() {
            return Ok(());
        }
        let samples: Vec<TrainSample> = with.iter().map(|r| r.sample).collect();
        let pass = trainer.forward_backward(&samples, objective, self.options)?;
        self.check_pass(trainer, &samples, &pass)?;
        let norm = trainer.optimizer_step(&self.config.optimizer, self.lr)?;
        // The loss is summed within the step first, so that its rounding does not depend on the steps before it.
        let loss_before = std::mem::take(&mut stats.loss);
        let completions = pass.log_probs.by_completion(samples.iter().map(|sample| sample.sequence));
        for ((reply, completion), terms) in with.iter().zip(completions).zip(&pass.losses) {
            if self.is_first && !uses_dropout {
                stats.gap.add(completion.log_probs, &reply.rollout.log_probs);
            }
            stats.add(terms, &completion, a.correction.mode != CorrectionMode::None);
        }
        stats.loss += loss_before;
        stats.diverged = !norm.is_finite();
        stats.steps += 1;
        stats.grad_norm += norm;
        Ok(())
    }

    /// Refuses a pass without the log-probs of its samples' tokens, before its gradient changes the weights.
    fn check_pass(
        &self,
        trainer: &impl Trainer,
        samples: &[TrainSample],
        pass: &ForwardBackward,
    ) -> Result<(), TrainError> {
        let sequences: Vec<Sequence> = samples.iter().map(|sample| sample.sequence).collect();
        if let Some(fault) = pass.log_probs.fault(&sequences, trainer.gives_entropies()) {
            return Err(fault.at_step(self.training_step));
        }
        if pass.losses.len() == samples.len() {
            return Ok(());
        }
        let message = format!("the trainer gave {} losses for {} replies", pass.losses.len(), samples.len());
        Err(TrainError::Engine { step: self.training_step, message })
    }

    /// Log-probs of some sequences under the current weights.
    fn log_probs(&self, trainer: &impl Trainer, sequences: &[Sequence]) -> Result<CompletionLogProbs, TrainError> {
        let known = trainer.log_probs(sequences, self.options)?;
        match known.fault(sequences, trainer.gives_entropies()) {
            Some(fault) => Err(fault.at_step(self.training_step)),
            None => Ok(known),
        }
    }

    /// The totals by which the losses of this optimizer step are divided.
    fn minibatch(&self, trainer: &impl Trainer, replies: &[&TrainedReply]) -> Result<Minibatch, TrainError> {
        let top = self.config.algorithm.top_entropy;
        let sequences: Vec<Sequence> = replies.iter().map(|r| r.sample.sequence).collect();
        let entropy_floor =
            if top < 1.0 { entropy_floor(&self.log_probs(trainer, &sequences)?.entropies, top) } else { None };
        Ok(Minibatch {
            replies: replies.len(),
            tokens: sequences.iter().map(|s| s.completion.len()).sum(),
            max_tokens: self.config.sampling.max_tokens,
            entropy_floor,
        })
    }

    /// Entropies, in nats, of the next-token distributions in a sample of the replies (one in
    /// `MEASURED_WITHOUT_GRADIENT`), by a forward pass. In the first optimizer step, also adds the differences between
    /// the sampler's and the trainer's log-probs to `stats`.
    fn measure(
        &self,
        trainer: &impl Trainer,
        replies: &[&TrainedReply],
        stats: &mut UpdateStats,
    ) -> Result<Vec<f32>, TrainError> {
        let some: Vec<&TrainedReply> = replies.iter().step_by(MEASURED_WITHOUT_GRADIENT).copied().collect();
        let sequences: Vec<Sequence> = some.iter().map(|r| r.sample.sequence).collect();
        let known = self.log_probs(trainer, &sequences)?;
        if self.is_first {
            let sampler: Vec<f32> = some.iter().flat_map(|r| &r.rollout.log_probs).copied().collect();
            stats.gap.add(&known.log_probs, &sampler);
        }
        Ok(known.entropies)
    }
}

/// Refuses an objective with entropies where the trainer gives none.
fn check_entropies<T: Trainer>(state: &TrainState<T>, config: &Config) -> Result<(), TrainError> {
    let a = &config.algorithm;
    let keys = [("algorithm.top_entropy", a.top_entropy < 1.0), ("algorithm.entropy_bonus", a.entropy_bonus > 0.0)];
    match keys.into_iter().find(|(_, is_set)| *is_set && !state.trainer.gives_entropies()) {
        Some((key, _)) => {
            let message = format!("`{key}` needs entropies, which this engine does not give; leave it out");
            Err(TrainError::Engine { step: state.counters.step + 1, message })
        }
        None => Ok(()),
    }
}

/// The options for the next training step, whose index (from 0) is `state.counters.step`.
fn options<T>(state: &TrainState<T>, config: &Config) -> PassOptions {
    let counters = &state.counters;
    PassOptions::new(config, config.sampling.temperature, counters.tokens_per_micro_batch, counters.step)
}

/// Every reply of a batch with the token ids of its prompt, in order.
fn sequences<'a>(batch: &'a Batch, prompts: &'a DrawnPrompts) -> impl Iterator<Item = Sequence<'a>> {
    batch.groups.iter().flat_map(|group| {
        let prompt = &prompts[group.example].tokens;
        group.replies.iter().map(move |reply| Sequence { prompt, completion: &reply.tokens })
    })
}

/// The log-probs of each reply.
fn by_reply(known: &CompletionLogProbs, sequences: &[Sequence]) -> Vec<Vec<f32>> {
    known.by_completion(sequences.iter().copied()).map(|completion| completion.log_probs.to_vec()).collect()
}
