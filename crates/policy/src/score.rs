//! Log-probs of given tokens, and the gradient of a loss of them.

use std::ops::Range;
use std::sync::Arc;

use burn::tensor::Tensor;

use crate::cache::values;
use crate::decoder::{Context, Decoder};
use crate::ops::in_pool;
use crate::optim::Gradients;

/// A prompt and the completion whose tokens are scored.
#[derive(Clone, Copy, Debug)]
pub struct Sequence<'a> {
    /// Tokens before the completion; at least one.
    pub prompt: &'a [u32],
    /// Tokens to score; at least one.
    pub completion: &'a [u32],
}

/// Scores of completion tokens, those of all sequences one after the other.
#[derive(Clone, Debug)]
pub struct Scored {
    /// Log-prob of each token, `[n]`.
    pub log_probs: Tensor<1>,
    /// Entropy of the distribution that each token was drawn from, `[n]`.
    pub entropies: Tensor<1>,
}

/// Sequences one after the other, without padding.
struct Packed {
    ids: Vec<u32>,
    lens: Arc<[usize]>,
    /// Rows whose next tokens are asked for.
    rows: Vec<i64>,
    targets: Arc<[u32]>,
}

impl Packed {
    fn new(sequences: &[Sequence]) -> Self {
        let (mut ids, mut lens, mut rows, mut targets) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for s in sequences {
            let start = ids.len();
            // The last token predicts nothing that is asked for, so it is not run.
            ids.extend_from_slice(s.prompt);
            ids.extend_from_slice(&s.completion[..s.completion.len() - 1]);
            lens.push(ids.len() - start);
            rows.extend((0..s.completion.len()).map(|i| (start + s.prompt.len() - 1 + i) as i64));
            targets.extend_from_slice(s.completion);
        }
        Self { ids, lens: lens.into(), rows, targets: targets.into() }
    }
}

impl Decoder {
    /// Log-probs and entropies of the completion tokens of packed sequences at a sampling temperature,
    /// differentiable on a [`Decoder::tracked`] view. Logits exist for completion tokens only.
    pub fn score(&self, sequences: &[Sequence], temperature: f32) -> Scored {
        in_pool(|| {
            let packed = Packed::new(sequences);
            let hidden = self.hidden(&packed.ids, &packed.lens);
            self.scored(hidden, packed.rows, packed.targets, temperature)
        })
    }

    fn scored(&self, hidden: Tensor<2>, rows: Vec<i64>, targets: Arc<[u32]>, temperature: f32) -> Scored {
        let n = targets.len();
        let out = self.token_log_probs(Self::pick(hidden, rows), targets, temperature);
        let column = |i| out.clone().narrow(1, i, 1).reshape([n]);
        Scored { log_probs: column(0), entropies: column(1) }
    }
}

/// What is kept between the forward and the backward pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Keep {
    /// Everything that the backward pass reads.
    #[default]
    Everything,
    /// The rows that enter each layer; the layer is computed again when its turn comes (Chen et al., 2016). A third
    /// more computation, and the memory of one layer instead of all.
    LayerInputs,
}

impl Gradients {
    /// Adds the gradient of `loss(scores)` `[1]` of the completion tokens of packed sequences, and gives the loss.
    pub fn add(
        &mut self,
        decoder: &Decoder,
        sequences: &[Sequence],
        temperature: f32,
        keep: Keep,
        loss: impl FnOnce(Scored) -> Tensor<1> + Send,
    ) -> f32 {
        in_pool(|| self.add_here(decoder, sequences, temperature, keep, loss))
    }

    fn add_here(
        &mut self,
        decoder: &Decoder,
        sequences: &[Sequence],
        temperature: f32,
        keep: Keep,
        loss: impl FnOnce(Scored) -> Tensor<1>,
    ) -> f32 {
        let tracked = decoder.tracked();
        if keep == Keep::Everything {
            let loss = loss(tracked.score(sequences, temperature));
            self.accumulate(tracked.weights(), &loss);
            return loss.into_scalar();
        }
        let packed = Packed::new(sequences);
        let context = || Context::Packed(packed.lens.clone());
        let mut inputs = vec![decoder.embed(&packed.ids, &mut context())];
        for i in 0..decoder.depth() {
            let next = decoder.layer(i, inputs[i].clone(), &mut context());
            inputs.push(next);
        }
        // From the head down: each part sees its input as a leaf, and its output's gradient as a constant.
        let leaf = |x: Tensor<2>| x.autodiff().require_grad();
        let top = leaf(inputs.pop().unwrap_or_else(|| Tensor::zeros([0, 0], decoder.device())));
        let scored = tracked.scored(tracked.last_norm(top.clone()), packed.rows, packed.targets, temperature);
        let loss = loss(scored);
        let mut gradient = self.accumulate_through(tracked.weights(), &loss, &top);
        for i in (0..decoder.depth()).rev() {
            let Some(input) = inputs.pop() else { break };
            let input = leaf(input);
            let out = tracked.layer(i, input.clone(), &mut context());
            let product = (out * gradient.autodiff()).sum();
            gradient = self.accumulate_through(tracked.weights(), &product, &input);
        }
        // Under an adaptation the embedding is frozen, and nothing is left to differentiate.
        if decoder.layout().lora().is_none() {
            let product = (tracked.embed(&packed.ids, &mut context()) * gradient.autodiff()).sum();
            self.accumulate(tracked.weights(), &product);
        }
        loss.into_scalar()
    }
}

/// Cuts sequences into runs of at most `tokens` tokens, prompts included; a longer one goes alone.
pub fn micro_batches(lens: impl IntoIterator<Item = usize>, tokens: usize) -> Vec<Range<usize>> {
    let (mut pieces, mut start, mut held, mut end) = (Vec::new(), 0, 0, 0);
    for len in lens {
        if end > start && held + len > tokens {
            pieces.push(start..end);
            (start, held) = (end, 0);
        }
        held += len;
        end += 1;
    }
    if end > start {
        pieces.push(start..end);
    }
    pieces
}

/// The elements of a vector on the host.
pub fn floats(x: &Tensor<1>) -> Vec<f32> {
    values(x.clone().inner().reshape([1, -1]))
}
