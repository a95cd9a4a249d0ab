//! One optimizer step over packed micro-batches.

use std::ops::Range;

use burn::tensor::{Tensor, TensorData};
use rlar_policy::{Decoder, Gradients, SavedActivations, Sequence, TokenLogProbs, floats};

use crate::schedule::mix;

/// How a step is differentiated; none of it changes the mathematics, but `seed` and `tokens` what dropout leaves out.
#[derive(Clone, Copy, Debug)]
pub struct Descent {
    /// Temperature of the log-probs.
    pub temperature: f32,
    /// Tokens differentiated at a time, prompts included.
    pub tokens: usize,
    /// What is kept between forward and backward.
    pub keep: SavedActivations,
    /// Seed of an adaptation's dropout.
    pub seed: u64,
}

/// Slopes of a loss by the log-prob and by the entropy of each token of some sequences, one after the other. Empty
/// slopes are zeros.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Slopes {
    /// By log-probs.
    pub by_log_prob: Vec<f32>,
    /// By entropies.
    pub by_entropy: Vec<f32>,
}

/// The gradient of a loss that is known by its slopes, summed over micro-batches. `slopes` is given the range of
/// sequences that a micro-batch holds, and the log-probs and entropies of their tokens.
pub fn gradient(
    decoder: &Decoder,
    sequences: &[Sequence],
    descent: Descent,
    mut slopes: impl FnMut(Range<usize>, &[f32], &[f32]) -> Slopes + Send,
) -> Gradients {
    let mut gradients = Gradients::default();
    for (number, piece) in decoder.micro_batches(sequences, descent.tokens).into_iter().enumerate() {
        let decoder = decoder.with_dropout(mix(&[descent.seed, number as u64]));
        let linear = |tokens: TokenLogProbs| {
            let slopes = slopes(piece.clone(), &floats(&tokens.log_probs), &floats(&tokens.entropies));
            along(tokens.log_probs, slopes.by_log_prob) + along(tokens.entropies, slopes.by_entropy)
        };
        gradients.add(&decoder, &sequences[piece.clone()], descent.temperature, descent.keep, linear);
    }
    gradients
}

/// The sum of `x` times constant slopes: `[1]`.
fn along(x: Tensor<1>, slopes: Vec<f32>) -> Tensor<1> {
    if slopes.iter().all(|s| *s == 0.0) {
        return (x * 0.0).sum();
    }
    let n = slopes.len();
    let slopes = Tensor::<1>::from_data(TensorData::new(slopes, [n]), &x.device().without_autodiff());
    (x * slopes).sum()
}

/// Log-probs and entropies of the tokens of sequences, without gradients, in the same micro-batches.
pub fn scores(decoder: &Decoder, sequences: &[Sequence], descent: Descent) -> (Vec<f32>, Vec<f32>) {
    let (mut log_probs, mut entropies) = (Vec::new(), Vec::new());
    for piece in decoder.micro_batches(sequences, descent.tokens) {
        let tokens = decoder.log_probs(&sequences[piece], descent.temperature);
        log_probs.extend(floats(&tokens.log_probs));
        entropies.extend(floats(&tokens.entropies));
    }
    (log_probs, entropies)
}
