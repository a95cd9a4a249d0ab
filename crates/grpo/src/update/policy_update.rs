//! Learning from a batch: advantages, then optimizer steps down the objective.

use rlar_policy::{Decoder, Finish, SavedActivations, Sequence};

use crate::TrainError;
use crate::algorithm::advantage::{self, advantages};
use crate::algorithm::kl::kl;
use crate::algorithm::loss::{self, Costed, Reply, costed, entropy_floor};
use crate::config::{Config, CorrectionMode, KlEstimator, KlPlace};
use crate::optimizer;
use crate::rollouts::collect::Batch;
use crate::rollouts::rollout::{Group, Rollout};
use crate::schedule::mix;
use crate::update::micro_batches::{Descent, Slopes, gradient, scores};
use crate::update::train_state::State;

/// What became of a batch.
#[derive(Clone, Debug, Default)]
pub struct Learned {
    /// Advantages, by group and reply; none for a reply that a tool left without a score.
    pub advantages: Vec<Vec<Option<f64>>>,
    /// Optimizer steps taken.
    pub steps: usize,
    /// Sum over steps of the loss.
    pub loss: f64,
    /// Sum over steps of the gradient's norm before clipping.
    pub norm: f64,
    /// Tokens that went through a backward pass in all steps.
    pub tokens: usize,
    /// Entropies of the next token, of these and of some more.
    pub entropy: Vec<f32>,
    /// Sums over them of the KL estimates k1, k2, k3.
    pub kl: [f64; 3],
    /// Ratios to the old policy.
    pub ratios: Vec<f32>,
    /// Ratios clipped from below and from above.
    pub clipped: [usize; 2],
    /// Weights of the importance correction; empty without one.
    pub corrections: Vec<f64>,
    /// Sum and number of absolute differences between the sampler's log-probs and the trainer's before its first step.
    pub gap: (f64, usize),
    /// Optimizer steps whose gradient was not finite.
    pub diverged: bool,
}

/// A reply that is learned from, with all that the objective needs of it.
struct Lesson<'a> {
    rollout: &'a Rollout,
    sequence: Sequence<'a>,
    advantage: f64,
    old: Vec<f32>,
    reference: Vec<f32>,
}

/// Learns from a batch at learning rate `lr`. `prompts` are the tokens of all examples.
pub fn learn(
    state: &mut State,
    reference: Option<&Decoder>,
    batch: &Batch,
    prompts: &[Vec<u32>],
    config: &Config,
    lr: f32,
) -> Learned {
    let a = &config.algorithm;
    let descent = descent(config, config.sampling.temperature, state.ledger.tokens_at_a_time, state.ledger.step);
    let all: Vec<(usize, &Rollout, Sequence)> = batch
        .groups
        .iter()
        .enumerate()
        .flat_map(|(g, group)| {
            let prompt = &prompts[group.example];
            group.replies.iter().map(move |r| (g, r, Sequence { prompt, completion: &r.tokens }))
        })
        .collect();
    let sequences: Vec<Sequence> = all.iter().map(|(_, _, s)| *s).collect();
    let by_reply = |values: Vec<f32>| -> Vec<Vec<f32>> {
        let mut rest = values.as_slice();
        let lens = sequences.iter().map(|s| s.completion.len());
        lens.map(|n| {
            let (own, after) = rest.split_at(n.min(rest.len()));
            rest = after;
            own.to_vec()
        })
        .collect()
    };
    let corrected = a.correction.mode != CorrectionMode::None;
    let old: Vec<Vec<f32>> = if corrected {
        by_reply(scores(&state.model.decoder, &sequences, descent).0)
    } else {
        all.iter().map(|(_, r, _)| r.log_probs.clone()).collect()
    };
    let reference = match reference {
        Some(reference) => by_reply(scores(reference, &sequences, descent).0),
        None => vec![Vec::new(); all.len()],
    };

    let mut groups: Vec<advantage::Group> = batch.groups.iter().map(Group::scored).collect();
    if a.kl.place == KlPlace::Reward && a.kl.estimator != KlEstimator::None {
        let mut penalties = old.iter().zip(&reference).map(|(old, reference)| {
            let tokens = old.iter().zip(reference);
            tokens.map(|(o, r)| kl(a.kl.estimator, f64::from(*o), f64::from(*r)).0).sum::<f64>()
        });
        for group in &mut groups {
            let charged = penalties.by_ref().take(group.lengths.len()).map(Some).collect();
            group.tools.push((-a.kl.weight, charged));
        }
    }
    let mut out = Learned { advantages: advantages(&groups, a), ..Learned::default() };

    let in_group = out.advantages.clone().into_iter().flatten();
    let lessons = all.iter().zip(old).zip(reference).zip(in_group);
    let lessons: Vec<(usize, Lesson)> = lessons
        .filter_map(|((((g, rollout, sequence), old), reference), advantage)| {
            let overlong = a.overlong.filter && rollout.finish == Finish::Length;
            let advantage = advantage.filter(|_| !overlong)?;
            Some((*g, Lesson { rollout, sequence: *sequence, advantage, old, reference }))
        })
        .collect();
    let per_step = batch.groups.len().div_ceil(config.train.minibatches).max(1);
    for epoch in 0..config.train.epochs {
        for (number, first) in (0..batch.groups.len()).step_by(per_step).enumerate() {
            let chosen = lessons.iter().filter(|(g, _)| (first..first + per_step).contains(g));
            let chosen: Vec<&Lesson> = chosen.map(|(_, lesson)| lesson).collect();
            let seed = mix(&[descent.seed, epoch as u64, number as u64]);
            let untouched = epoch == 0 && number == 0;
            step(state, &chosen, config, Descent { seed, ..descent }, lr, untouched, &mut out);
            if out.diverged {
                return out;
            }
        }
    }
    out
}

/// One optimizer step.
fn step(
    state: &mut State,
    lessons: &[&Lesson],
    config: &Config,
    descent: Descent,
    lr: f32,
    untouched: bool,
    out: &mut Learned,
) {
    let a = &config.algorithm;
    let charged = a.kl.place == KlPlace::Loss && a.kl.estimator != KlEstimator::None && a.kl.weight > 0.0;
    let sequences: Vec<Sequence> = lessons.iter().map(|l| l.sequence).collect();
    let entropy_floor = match a.top_entropy {
        top if top < 1.0 => entropy_floor(&scores(&state.model.decoder, &sequences, descent).1, top),
        _ => None,
    };
    let batch = objective::Batch {
        replies: lessons.len(),
        tokens: sequences.iter().map(|s| s.completion.len()).sum(),
        max_tokens: config.sampling.max_tokens,
        entropy_floor,
    };
    // A reply that nothing pulls at counts in the means and needs no backward pass. One in so many of them goes forward
    // all the same, so that every step knows entropy and gap.
    let pulled = |l: &&Lesson| l.advantage != 0.0 || charged || a.entropy_bonus > 0.0;
    let (lessons, silent): (Vec<&Lesson>, Vec<&Lesson>) = lessons.iter().copied().partition(pulled);
    let heard = out.listen(state, &silent, descent, untouched);
    out.entropy.extend(heard);
    // What dropout leaves out of the trainer's log-probs is no difference between sampler and trainer.
    let drops = state.model.layout().lora().is_some_and(|lora| lora.lora_dropout > 0.0);
    if drops && untouched {
        out.listen(state, &lessons, descent, untouched);
    }
    if lessons.is_empty() {
        return;
    }
    let sequences: Vec<Sequence> = lessons.iter().map(|l| l.sequence).collect();
    let corrected = a.correction.mode != CorrectionMode::None;
    let mut loss = 0.0;
    let gradients = gradient(&state.model.decoder, &sequences, descent, |piece, log_probs, entropies| {
        let mut slopes = Slopes::default();
        let mut at = 0;
        for lesson in &lessons[piece] {
            let tokens = at..at + lesson.old.len();
            at = tokens.end;
            let sampled: &[f32] = if corrected { &lesson.rollout.drawn_log_probs } else { &[] };
            let reply = Reply {
                log_probs: &log_probs[tokens.clone()],
                old: &lesson.old,
                reference: &lesson.reference,
                sampled,
                entropies: &entropies[tokens],
                advantage: lesson.advantage,
            };
            if untouched && !drops {
                out.compare(reply.log_probs, &lesson.rollout.log_probs);
            }
            let costed = costed(&reply, a, &batch);
            loss += costed.loss;
            out.tally(&costed, reply.entropies, corrected);
            slopes.by_log_prob.extend(costed.by_log_prob);
            slopes.by_entropy.extend(costed.by_entropy);
        }
        slopes
    });
    let norm = optimizer(config).step(&mut state.model.decoder, &mut state.moments, gradients, lr);
    out.diverged = !norm.is_finite();
    out.steps += 1;
    out.loss += loss;
    out.norm += norm;
}

/// One reply in so many is listened to.
const LISTENED: usize = 8;

impl Learned {
    /// The entropies of some replies without a backward pass; where nothing has been learned yet, their gap counts.
    fn listen(&mut self, state: &State, replies: &[&Lesson], descent: Descent, untouched: bool) -> Vec<f32> {
        let some: Vec<&Lesson> = replies.iter().step_by(LISTENED).copied().collect();
        let sequences: Vec<Sequence> = some.iter().map(|l| l.sequence).collect();
        let (log_probs, entropies) = scores(&state.model.decoder, &sequences, descent);
        if untouched {
            let drawn: Vec<f32> = some.iter().flat_map(|l| &l.rollout.log_probs).copied().collect();
            self.compare(&log_probs, &drawn);
        }
        entropies
    }

    fn compare(&mut self, trainer: &[f32], sampler: &[f32]) {
        self.gap.0 += trainer.iter().zip(sampler).map(|(a, b)| f64::from((a - b).abs())).sum::<f64>();
        self.gap.1 += sampler.len();
    }

    fn tally(&mut self, costed: &Costed, entropies: &[f32], corrected: bool) {
        self.tokens += entropies.len();
        self.entropy.extend(entropies);
        self.kl.iter_mut().zip(costed.kl).for_each(|(sum, kl)| *sum += kl);
        self.ratios.extend(&costed.ratios);
        self.clipped[0] += costed.clipped_low;
        self.clipped[1] += costed.clipped_high;
        if corrected {
            self.corrections.extend(&costed.corrections);
        }
    }

    /// Refuses a gradient that was not finite.
    pub fn finite(self, step: u64) -> Result<Self, TrainError> {
        if self.diverged { Err(TrainError::Diverged { step }) } else { Ok(self) }
    }
}

/// How the step at `place` is differentiated, `tokens` at a time.
pub fn descent(config: &Config, temperature: f32, tokens: usize, place: u64) -> Descent {
    let keep = if config.train.recompute_layers { SavedActivations::LayerInputs } else { SavedActivations::All };
    Descent { temperature, tokens, keep, seed: mix(&[config.seed, 3, place]) }
}
