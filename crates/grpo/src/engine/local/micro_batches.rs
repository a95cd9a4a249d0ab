//! The backward pass of an optimizer step, over micro-batches of packed sequences.

use std::ops::Range;

use burn::tensor::{Tensor, TensorData};
use rlar_policy::{Decoder, Gradients, Sequence, TokenLogProbs, floats};

use crate::engine::trainer::{CompletionLogProbs, PassOptions};
use crate::schedule::mix;

/// Gradients of a loss with respect to log-probs and entropies of the completion tokens of some sequences, concatenated
/// in the order of the sequences. An empty vector stands for zeros.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LossGradients {
    /// Gradient of the loss with respect to each token's log-prob.
    pub log_probs: Vec<f32>,
    /// Gradient of the loss with respect to each token's entropy.
    pub entropies: Vec<f32>,
}

/// Adds the gradient of a loss with respect to the weights, summed over micro-batches, to `gradients`. For each
/// micro-batch, `loss_gradients` gets the index range of its sequences with the log-probs and entropies of their tokens,
/// and returns the gradients of the loss with respect to them.
pub fn add_gradient(
    gradients: &mut Gradients,
    decoder: &Decoder,
    sequences: &[Sequence],
    options: PassOptions,
    mut loss_gradients: impl FnMut(Range<usize>, &CompletionLogProbs) -> LossGradients + Send,
) {
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
/// [`add_gradient`].
pub fn log_probs(decoder: &Decoder, sequences: &[Sequence], options: PassOptions) -> CompletionLogProbs {
    let mut all = CompletionLogProbs::default();
    for range in decoder.micro_batches(sequences, options.tokens_per_micro_batch) {
        let tokens = decoder.log_probs(&sequences[range], options.temperature);
        all.log_probs.extend(floats(&tokens.log_probs));
        all.entropies.extend(floats(&tokens.entropies));
    }
    all
}
