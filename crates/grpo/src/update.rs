//! One optimizer step over packed micro-batches.

use std::ops::Range;

use burn::tensor::Tensor;
use rlar_policy::{AdamW, Decoder, Gradients, Keep, Moments, Scored, Sequence, floats, micro_batches};

use crate::schedule::mix;

/// What a step optimises: a prompt, its completion, and where the completion's tokens start among all
/// tokens of the step.
#[derive(Clone, Copy, Debug)]
pub struct Item<'a> {
    /// Tokens.
    pub sequence: Sequence<'a>,
    /// First of its tokens in the step's token order.
    pub offset: usize,
}

/// Sequences of a step with their token offsets.
pub fn items<'a>(sequences: impl IntoIterator<Item = Sequence<'a>>) -> Vec<Item<'a>> {
    let mut offset = 0;
    let item = |sequence: Sequence<'a>| {
        let at = offset;
        offset += sequence.completion.len();
        Item { sequence, offset: at }
    };
    sequences.into_iter().map(item).collect()
}

/// How a step is differentiated; none of it changes the mathematics but for `seed`.
#[derive(Clone, Copy, Debug)]
pub struct Descent {
    /// Temperature of the log-probs.
    pub temperature: f32,
    /// Tokens differentiated at a time, prompts included.
    pub tokens: usize,
    /// What is kept between forward and backward.
    pub keep: Keep,
    /// Seed of an adaptation's dropout.
    pub seed: u64,
}

fn pieces(items: &[Item], tokens: usize) -> Vec<Range<usize>> {
    micro_batches(items.iter().map(|i| i.sequence.prompt.len() + i.sequence.completion.len()), tokens)
}

/// Differentiates `loss(scored, token range)` (a sum over tokens) of every micro-batch, divides by the
/// number of tokens and steps. Gives the gradient norm and the mean loss.
pub fn update(
    decoder: &mut Decoder,
    moments: &mut Moments,
    optimizer: &AdamW,
    lr: f32,
    items: &[Item],
    descent: Descent,
    mut loss: impl FnMut(Scored, Range<usize>) -> Tensor<1> + Send,
) -> (f64, f64) {
    let Some(first) = items.first().map(|i| i.offset) else { return (0.0, 0.0) };
    let total: usize = items.iter().map(|i| i.sequence.completion.len()).sum();
    let mut gradients = Gradients::default();
    let mut mean = 0.0;
    for (number, piece) in pieces(items, descent.tokens).into_iter().enumerate() {
        let sequences: Vec<Sequence> = items[piece.clone()].iter().map(|i| i.sequence).collect();
        let n: usize = sequences.iter().map(|s| s.completion.len()).sum();
        let start = items[piece.start].offset - first;
        let dropping = decoder.dropping(mix(&[descent.seed, number as u64]));
        let piece_loss = gradients.add(&dropping, &sequences, descent.temperature, descent.keep, |scored| {
            loss(scored, start..start + n) / total as f32
        });
        mean += f64::from(piece_loss);
    }
    (optimizer.step(decoder, moments, gradients, lr), mean)
}

/// Log-probs of completion tokens without gradients, in the same micro-batches.
pub fn log_probs(decoder: &Decoder, items: &[Item], temperature: f32, tokens: usize) -> Vec<f32> {
    let score = |piece: Range<usize>| {
        let sequences: Vec<Sequence> = items[piece].iter().map(|i| i.sequence).collect();
        floats(&decoder.score(&sequences, temperature).log_probs)
    };
    pieces(items, tokens).into_iter().flat_map(score).collect()
}
