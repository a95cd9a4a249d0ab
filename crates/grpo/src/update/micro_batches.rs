//! The backward pass of an optimizer step over packed micro-batches.

use std::ops::Range;

use burn::tensor::{Tensor, TensorData};
use rlar_policy::{Decoder, Gradients, SavedActivations, Sequence, TokenLogProbs, floats};

use crate::config::Config;
use crate::schedule::{Stream, mix};

/// How an optimizer step is differentiated. None of it changes the mathematics, except that `seed` and
/// `tokens_per_micro_batch` decide which activations LoRA's dropout drops.
#[derive(Clone, Copy, Debug)]
pub struct BackwardOptions {
    /// Temperature of the log-probs.
    pub temperature: f32,
    /// Tokens differentiated at a time, prompts included.
    pub tokens_per_micro_batch: usize,
    /// What is kept between forward and backward pass.
    pub saved: SavedActivations,
    /// Seed of LoRA's dropout.
    pub seed: u64,
}

impl BackwardOptions {
    /// The options of step `step` of a config's run.
    pub fn new(config: &Config, temperature: f32, tokens_per_micro_batch: usize, step: u64) -> Self {
        let saved = if config.train.recompute_layers { SavedActivations::LayerInputs } else { SavedActivations::All };
        let seed = Stream::Dropout.seed_at(config.seed, step);
        Self { temperature, tokens_per_micro_batch, saved, seed }
    }
}

/// Log-probs and entropies of the completion tokens of some sequences, one sequence after the other.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CompletionLogProbs {
    /// Log-probs.
    pub log_probs: Vec<f32>,
    /// Entropies of the next-token distributions, in nats.
    pub entropies: Vec<f32>,
}

/// Gradients of a loss with respect to the log-probs and entropies of the completion tokens of some sequences, one sequence
/// after the other. An empty vector stands for zeros.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LossGradients {
    /// With respect to log-probs.
    pub log_probs: Vec<f32>,
    /// With respect to entropies.
    pub entropies: Vec<f32>,
}

/// The gradient of a loss with respect to the weights, summed over micro-batches. `loss_gradients` is given the range of
/// sequences in a micro-batch, and the log-probs and entropies of their tokens.
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
        // A linear function of the outputs, with these gradients.
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

/// The dot product of `x` with constants: `[1]`.
fn dot(x: Tensor<1>, constants: Vec<f32>) -> Tensor<1> {
    if constants.iter().all(|c| *c == 0.0) {
        return (x * 0.0).sum();
    }
    let n = constants.len();
    let constants = Tensor::<1>::from_data(TensorData::new(constants, [n]), &x.device().without_autodiff());
    (x * constants).sum()
}

/// Log-probs and entropies of the completion tokens of sequences, without gradients, in micro-batches of the same size.
pub fn log_probs(decoder: &Decoder, sequences: &[Sequence], options: BackwardOptions) -> CompletionLogProbs {
    let mut all = CompletionLogProbs::default();
    for range in decoder.micro_batches(sequences, options.tokens_per_micro_batch) {
        let tokens = decoder.log_probs(&sequences[range], options.temperature);
        all.log_probs.extend(floats(&tokens.log_probs));
        all.entropies.extend(floats(&tokens.entropies));
    }
    all
}
