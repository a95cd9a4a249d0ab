//! The trainer: it holds the policy with its optimizer, computes log-probs and gradients, and takes optimizer steps.

use rlar_policy::{Policy, SavedActivations, Sequence};
use rlar_run::Files;

use crate::TrainError;
use crate::algorithm::loss::{LossTerms, Minibatch, ReplyInputs, policy_loss};
use crate::config::{Algorithm, Config, OptimizerConfig};
use crate::engine::sampler::Sampler;
use crate::schedule::Stream;

/// Makes some of the files of a checkpoint. It is called only when the files of the part before are written, so that one
/// part at a time is in memory.
pub type CheckpointPart<'a> = Box<dyn Fn() -> Result<Files, TrainError> + 'a>;

/// A model with its optimizer that checkpoints save. This is all that the train loop, the same for every training
/// method, needs of an engine.
pub trait Checkpointed: Sized {
    /// The files of a checkpoint, from which the engine can load the model as it was saved.
    fn save(&self) -> Vec<CheckpointPart<'_>>;

    /// Number of optimizer steps that the moments contain.
    fn optimizer_steps(&self) -> u64;
}

/// Trains a policy by GRPO. All sequences and samples are processed in micro-batches of the trainer's choice.
pub trait Trainer: Checkpointed {
    /// Log-probs of the completions under the current weights, by forward passes only.
    fn log_probs(&self, sequences: &[Sequence], options: PassOptions) -> Result<CompletionLogProbs, TrainError>;

    /// Log-probs of the completions under the reference model of the KL penalty; `None` without a reference model.
    fn ref_log_probs(
        &self,
        sequences: &[Sequence],
        options: PassOptions,
    ) -> Result<Option<CompletionLogProbs>, TrainError>;

    /// Makes the current policy the reference model. Returns whether there is a reference model to be replaced.
    fn reanchor(&mut self) -> Result<bool, TrainError>;

    /// Whether the trainer gives entropies with its log-probs. Without them, an objective with `top_entropy` or
    /// `entropy_bonus` cannot be trained.
    fn gives_entropies(&self) -> bool;

    /// Whether [`Trainer::forward_backward`] drops activations, so that its log-probs are not those of the policy that
    /// samples.
    fn has_dropout(&self) -> bool;

    /// Computes the losses of the samples, and adds their gradient to those of the passes since the last optimizer step.
    fn forward_backward(
        &mut self,
        samples: &[TrainSample],
        objective: Objective,
        options: PassOptions,
    ) -> Result<ForwardBackward, TrainError>;

    /// Takes an optimizer step at learning rate `lr`, and returns the norm of the gradient before clipping. If it is not
    /// finite, the weights are not changed.
    fn optimizer_step(&mut self, optimizer: &OptimizerConfig, lr: f32) -> Result<f64, TrainError>;

    /// Publishes the current weights: returns a sampler that uses them, whatever this trainer does next.
    /// `weight_version` is the number of training steps that they have taken.
    fn publish(&self, weight_version: u64) -> Result<Box<dyn Sampler>, TrainError>;

    /// The policy with the current weights, to evaluate it.
    fn policy(&self) -> Result<CurrentPolicy<'_>, TrainError>;
}

/// Options of forward and backward passes. They do not change the mathematics, except the temperature. With LoRA's
/// dropout, `seed` and `tokens_per_micro_batch` also decide which activations are dropped.
#[derive(Clone, Copy, Debug)]
pub struct PassOptions {
    /// Temperature by which logits are divided before log-probs and entropies are computed.
    pub temperature: f32,
    /// Number of tokens per micro-batch, prompts included.
    pub tokens_per_micro_batch: usize,
    /// Which activations are kept between forward and backward pass: all, or only each layer's input.
    pub saved: SavedActivations,
    /// Seed of LoRA's dropout in this optimizer step.
    pub seed: u64,
}

impl PassOptions {
    /// The options of step `step` (from 0) in a run with this config.
    pub fn new(config: &Config, temperature: f32, tokens_per_micro_batch: usize, step: u64) -> Self {
        let saved = if config.train.recompute_layers { SavedActivations::LayerInputs } else { SavedActivations::All };
        let seed = Stream::Dropout.seed_at(config.seed, step);
        Self { temperature, tokens_per_micro_batch, saved, seed }
    }
}

/// A policy that is evaluated.
pub enum CurrentPolicy<'a> {
    /// A policy in this process.
    Here(&'a Policy),
    /// A policy that is not in this process.
    Elsewhere {
        /// Samples with the current weights.
        sampler: Box<dyn Sampler>,
        /// The version of the weights in its replies.
        weight_version: u64,
    },
}

/// Log-probs and entropies of the completion tokens of some sequences, concatenated in the order of the sequences.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CompletionLogProbs {
    /// Log-prob of each completion token.
    pub log_probs: Vec<f32>,
    /// Entropy of the next-token distribution at each completion token, in nats; empty if the trainer gives none.
    pub entropies: Vec<f32>,
}

/// Why log-probs of a trainer cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogProbFault {
    /// Their number is not that of the tokens; the text says what was counted.
    Count(String),
    /// One is NaN or infinite.
    NotFinite,
}

impl LogProbFault {
    /// The error of step `step`, from 1.
    pub fn at_step(self, step: u64) -> TrainError {
        match self {
            Self::Count(message) => TrainError::Engine { step, message },
            Self::NotFinite => TrainError::Diverged { step },
        }
    }
}

/// Log-probs and entropies of the tokens of one completion.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OneCompletion<'a> {
    /// Log-prob of each token.
    pub log_probs: &'a [f32],
    /// Entropy of the next-token distribution at each token, in nats; empty if the trainer gives none.
    pub entropies: &'a [f32],
}

impl CompletionLogProbs {
    /// What is wrong with the values as those of the completions of some sequences; `None` if nothing is. `entropies` is
    /// whether there must be entropies.
    pub fn fault(&self, sequences: &[Sequence], entropies: bool) -> Option<LogProbFault> {
        let tokens: usize = sequences.iter().map(|sequence| sequence.completion.len()).sum();
        let counts = [
            ("log-probs", self.log_probs.len(), tokens),
            ("entropies", self.entropies.len(), if entropies { tokens } else { 0 }),
        ];
        if let Some((what, given, wanted)) = counts.into_iter().find(|(_, given, wanted)| given != wanted) {
            let message = format!("the trainer gave {given} {what} for {wanted} tokens");
            return Some(LogProbFault::Count(message));
        }
        let is_finite = self.log_probs.iter().chain(&self.entropies).all(|value| value.is_finite());
        (!is_finite).then_some(LogProbFault::NotFinite)
    }

    /// The values of each of the completions of some sequences, in order.
    pub fn by_completion<'a, 's>(
        &'a self,
        sequences: impl Iterator<Item = Sequence<'s>>,
    ) -> impl Iterator<Item = OneCompletion<'a>> {
        let mut end = 0;
        sequences.map(move |sequence| {
            let range = end..end + sequence.completion.len();
            end = range.end;
            let entropies = self.entropies.get(range.clone()).unwrap_or_default();
            OneCompletion { log_probs: &self.log_probs[range], entropies }
        })
    }

    /// Appends the values of further sequences.
    pub fn extend(&mut self, more: &Self) {
        self.log_probs.extend(&more.log_probs);
        self.entropies.extend(&more.entropies);
    }
}

/// A completion to train on, with its advantage and the log-probs that do not change during the update.
#[derive(Clone, Copy, Debug)]
pub struct TrainSample<'a> {
    /// The prompt and the completion.
    pub sequence: Sequence<'a>,
    /// The advantage of every token of the completion.
    pub advantage: f64,
    /// Log-prob of each token under the old policy.
    pub old_log_probs: &'a [f32],
    /// Log-prob of each token under the reference model; empty without a reference model.
    pub ref_log_probs: &'a [f32],
    /// Log-prob of each token under the distribution that the sampler drew from; empty without importance correction.
    pub sampler_log_probs: &'a [f32],
}

/// The loss that an optimizer step lowers.
#[derive(Clone, Copy, Debug)]
pub struct Objective<'a> {
    /// Surrogate loss, aggregation, KL penalty, entropy bonus and importance correction.
    pub algorithm: &'a Algorithm,
    /// The totals by which losses are divided.
    pub minibatch: Minibatch,
}

impl Objective<'_> {
    /// The losses of some samples, and their gradients with respect to log-probs and entropies. `log_probs` are those of
    /// their completions under the weights that are trained.
    pub fn losses(&self, samples: &[TrainSample], log_probs: &CompletionLogProbs) -> Vec<LossTerms> {
        let completions = log_probs.by_completion(samples.iter().map(|sample| sample.sequence));
        let losses = samples.iter().zip(completions).map(|(sample, completion)| {
            let reply = ReplyInputs {
                log_probs: completion.log_probs,
                old_log_probs: sample.old_log_probs,
                ref_log_probs: sample.ref_log_probs,
                sampler_log_probs: sample.sampler_log_probs,
                entropies: completion.entropies,
                advantage: sample.advantage,
            };
            policy_loss(&reply, self.algorithm, &self.minibatch)
        });
        losses.collect()
    }
}

/// What a forward-backward pass computed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ForwardBackward {
    /// Log-probs and entropies of the samples' completions, from which their losses were computed.
    pub log_probs: CompletionLogProbs,
    /// The loss of each sample. The gradients in it may have been taken out.
    pub losses: Vec<LossTerms>,
}
