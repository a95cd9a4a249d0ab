//! The backward pass of an optimizer step, over micro-batches of packed sequences.

use std::ops::Range;

use burn::tensor::{Tensor, TensorData};
use rlar_policy::{Decoder, Gradients, SavedActivations, Sequence, TokenLogProbs, floats};

use crate::config::Config;
use crate::schedule::{Stream, mix};

/// Options of the backward pass of an optimizer step. They do not change the mathematics, except the temperature. With
/// LoRA's dropout, `seed` and `tokens_per_micro_batch` also decide which activations are dropped.
#[derive(Clone, Copy, Debug)]
pub struct BackwardOptions {
    /// Temperature by which logits are divided before log-probs and entropies are computed.
    pub temperature: f32,
    /// Number of tokens per micro-batch, prompts included.
    pub tokens_per_micro_batch: usize,
    /// Which activations are kept between forward and backward pass: all, or only each layer's input.
    pub saved: SavedActivations,
    /// Seed of LoRA's dropout in this optimizer step.
    pub seed: u64,
}

impl BackwardOptions {
    /// The backward options of step `step` (from 0) in a run with this config.
    pub fn new(config: &Config, temperature: f32, tokens_per_micro_batch: usize, step: u64) -> Self {
        let saved = if config.train.recompute_layers { SavedActivations::LayerInputs } else { SavedActivations::All };
        let seed = Stream::Dropout.seed_at(config.seed, step);
        Self { temperature, tokens_per_micro_batch, saved, seed }
    }
}

/// Log-probs and entropies of the completion tokens of some sequences, concatenated in the order of the sequences.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CompletionLogProbs {
    /// Log-prob of each completion token.
    pub log_probs: Vec<f32>,
    /// Entropy of the next-token distribution at each completion token, in nats.
    pub entropies: Vec<f32>,
}

/// Gradients of a loss with respect to log-probs and entropies of the completion tokens of some sequences, concatenated
/// in the order of the sequences. An empty vector stands for zeros.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LossGradients {
    /// Gradient of the loss with respect to each token's log-prob.
    pub log_probs: Vec<f32>,
    /// Gradient of the loss with respect to each token's entropy.
    pub entropies: Vec<f32>,
}

/// The gradient of a loss with respect to the weights, summed over micro-batches. For each micro-batch,
/// `loss_gradients` gets the index range of its sequences with the log-probs and entropies of their tokens, and returns
/// the gradients of the loss with respect to them.
pub fn gradient(
    decoder: &Decoder,
    sequences: &[Sequence],
    options: BackwardOptions,
    mut loss_gradients: impl FnMut(Range<usize>, &CompletionLogProbs) -> LossGradients + Send,
) -> Gradients {
    let mut gradients = Gradients::default();
    let micro_batches = decoder.micro_batches(sequences, options.tokens_per_micro_batch);
    for (number, range) in micro_batches.into_iter().enumerate() {
        let decoder = decoder.with_dropout(mix(&[options.seed, number as u64]));
        // A function that is linear in log-probs and entropies and has these gradients, so its backward pass gives the
        // loss's.
        let linear = |tokens: TokenLogProbs| {
            let known =
                CompletionLogProbs { log_probs: floats(&tokens.log_probs), entropies: floats(&tokens.entropies) };
            let grads = loss_gradients(range.clone(), &known);
            dot(tokens.log_probs, grads.log_probs) + dot(tokens.entropies, grads.entropies)
        };
        gradients.add(&decoder, &sequences[range.clone()], options.temperature, options.saved, linear);
    }
    gradients
}

/// The dot product of `x` with constants, as a tensor of shape `[1]`. An empty vector stands for zeros.
fn dot(x: Tensor<1>, constants: Vec<f32>) -> Tensor<1> {
    if constants.iter().all(|c| *c == 0.0) {
        return (x * 0.0).sum();
    }
    let n = constants.len();
    let constants = Tensor::<1>::from_data(TensorData::new(constants, [n]), &x.device().without_autodiff());
    (x * constants).sum()
}

/// Log-probs and entropies of the completion tokens of sequences, by forward passes only, in the same micro-batches as
/// [`gradient`].
pub fn log_probs(decoder: &Decoder, sequences: &[Sequence], options: BackwardOptions) -> CompletionLogProbs {
    let mut all = CompletionLogProbs::default();
    for range in decoder.micro_batches(sequences, options.tokens_per_micro_batch) {
        let tokens = decoder.log_probs(&sequences[range], options.temperature);
        all.log_probs.extend(floats(&tokens.log_probs));
        all.entropies.extend(floats(&tokens.entropies));
    }
    all
}
