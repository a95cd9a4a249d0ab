//! Log-probs of completions, and the gradient of a loss that depends on them.

use std::ops::Range;
use std::sync::Arc;

use burn::tensor::Tensor;

use crate::cache::values;
use crate::decoder::{Context, Decoder};
use crate::ops::{Packing, Tree, in_pool};
use crate::optim::Gradients;

/// A prompt and a completion, whose log-probs are to be computed.
#[derive(Clone, Copy, Debug)]
pub struct Sequence<'a> {
    /// Token ids of the prompt; at least one.
    pub prompt: &'a [u32],
    /// Token ids of the completion; at least one.
    pub completion: &'a [u32],
}

/// Log-probs and entropies of the completion tokens of several sequences, one sequence after the other.
#[derive(Clone, Debug)]
pub struct TokenLogProbs {
    /// Log-prob of each completion token at the sampling temperature, `[tokens]`.
    pub log_probs: Tensor<1>,
    /// Entropy, in nats, of the distribution from which each completion token is predicted, at the sampling
    /// temperature, `[tokens]`.
    pub entropies: Tensor<1>,
}

/// Several sequences as rows of one batch, one after the other and without padding. Sequences with the same prompt may
/// share its rows.
struct Packed {
    ids: Vec<u32>,
    packing: Packing,
    /// Indices of the rows that predict a completion token.
    rows: Vec<i64>,
    targets: Arc<[u32]>,
}

impl Packed {
    /// Packs sequences. Consecutive sequences with the same prompt share the prompt's rows, so that the prompt runs
    /// once. `whole` says that attention holds the scores between all of these rows in memory at once; then sequences
    /// share a prompt only if their completions together are no longer than it.
    fn new(sequences: &[Sequence], whole: bool) -> Self {
        let mut packed =
            Self { ids: Vec::new(), packing: Packing::sequences(&[]), rows: Vec::new(), targets: [].into() };
        let (mut trees, mut targets) = (Vec::new(), Vec::new());
        for group in sequences.chunk_by(|a, b| a.prompt == b.prompt) {
            let branches: usize = group.iter().map(|s| s.completion.len() - 1).sum();
            let together = if whole && branches > group[0].prompt.len() { 1 } else { group.len() };
            for part in group.chunks(together) {
                trees.push(packed.push(part));
                targets.extend(part.iter().flat_map(|s| s.completion));
            }
        }
        Self { packing: Packing::new(trees), targets: targets.into(), ..packed }
    }

    /// Appends the rows of sequences with the same prompt, and returns how many rows they share and how many each has
    /// of its own.
    fn push(&mut self, group: &[Sequence]) -> Tree {
        let end_of_prompt = (self.ids.len() + group[0].prompt.len() - 1) as i64;
        self.ids.extend_from_slice(group[0].prompt);
        for s in group {
            // The prompt's last row predicts the first token. The last token predicts nothing and is not run.
            let (branch, run) = (self.ids.len() as i64, &s.completion[..s.completion.len() - 1]);
            self.rows.push(end_of_prompt);
            self.rows.extend((0..run.len()).map(|i| branch + i as i64));
            self.ids.extend_from_slice(run);
        }
        let lens = group.iter().map(|s| s.completion.len() - 1);
        match group {
            [one] => Tree { trunk: one.prompt.len() + one.completion.len() - 1, branches: Vec::new() },
            _ => Tree { trunk: group[0].prompt.len(), branches: lens.collect() },
        }
    }
}

impl Decoder {
    /// Computes log-probs and entropies of the completion tokens of sequences at a sampling temperature. They are
    /// differentiable when `self` is a [`Decoder::with_grad`] view. Logits are computed for completion tokens only.
    pub fn log_probs(&self, sequences: &[Sequence], temperature: f32) -> TokenLogProbs {
        in_pool(|| {
            let packed = Packed::new(sequences, !self.on_cpu());
            let hidden = self.hidden_of(&packed.ids, packed.packing);
            self.completion_log_probs(hidden, packed.rows, packed.targets, temperature)
        })
    }

    fn completion_log_probs(
        &self,
        hidden: Tensor<2>,
        rows: Vec<i64>,
        targets: Arc<[u32]>,
        temperature: f32,
    ) -> TokenLogProbs {
        let n = targets.len();
        let out = self.token_log_probs(Self::select_rows(hidden, rows), targets, temperature);
        let column = |i| out.clone().narrow(1, i, 1).reshape([n]);
        TokenLogProbs { log_probs: column(0), entropies: column(1) }
    }
}

/// Which activations the forward pass keeps in memory for the backward pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SavedActivations {
    /// The forward pass keeps everything that the backward pass reads.
    #[default]
    All,
    /// The forward pass keeps only the input of each layer, and the backward pass computes each layer again (activation
    /// checkpointing; Chen et al., 2016). This takes a third more computation, but memory for the activations of one
    /// layer instead of all.
    LayerInputs,
}

impl Gradients {
    /// Runs the forward and backward pass of `loss` `[1]`, a function of the log-probs of the completion tokens of
    /// `sequences`. Adds the gradient to these gradients, and returns the value of the loss.
    pub fn add(
        &mut self,
        decoder: &Decoder,
        sequences: &[Sequence],
        temperature: f32,
        saved: SavedActivations,
        loss: impl FnOnce(TokenLogProbs) -> Tensor<1> + Send,
    ) -> f32 {
        in_pool(|| self.add_here(decoder, sequences, temperature, saved, loss))
    }

    fn add_here(
        &mut self,
        decoder: &Decoder,
        sequences: &[Sequence],
        temperature: f32,
        saved: SavedActivations,
        loss: impl FnOnce(TokenLogProbs) -> Tensor<1>,
    ) -> f32 {
        let tracked = decoder.with_grad();
        if saved == SavedActivations::All {
            let loss = loss(tracked.log_probs(sequences, temperature));
            self.accumulate(tracked.weights(), &loss);
            return loss.into_scalar();
        }
        let packed = Packed::new(sequences, !decoder.on_cpu());
        let context = || Context::Packed(packed.packing.clone());
        let mut inputs = vec![decoder.embed(&packed.ids, &mut context())];
        for i in 0..decoder.depth() {
            let next = decoder.layer(i, inputs[i].clone(), &mut context());
            inputs.push(next);
        }
        // The backward pass goes from the head down. The input of each part is a leaf of autodiff, and the gradient of
        // its output is a constant.
        let leaf = |x: Tensor<2>| x.autodiff().require_grad();
        let top = leaf(inputs.pop().unwrap_or_else(|| Tensor::zeros([0, 0], decoder.device())));
        let hidden = tracked.last_norm(top.clone());
        let loss = loss(tracked.completion_log_probs(hidden, packed.rows, packed.targets, temperature));
        let mut gradient = self.accumulate_through(tracked.weights(), &loss, &top);
        for i in (0..decoder.depth()).rev() {
            let Some(input) = inputs.pop() else { break };
            let input = leaf(input);
            let out = tracked.layer(i, input.clone(), &mut context());
            let product = (out * gradient.autodiff()).sum();
            gradient = self.accumulate_through(tracked.weights(), &product, &input);
        }
        // With an adapter, the embedding is frozen and needs no gradient.
        if decoder.layout().lora().is_none() {
            let product = (tracked.embed(&packed.ids, &mut context()) * gradient.autodiff()).sum();
            self.accumulate(tracked.weights(), &product);
        }
        loss.into_scalar()
    }
}

/// Cuts sequences of these lengths into micro-batches of at most `tokens` tokens, as ranges of indices. A sequence that
/// is longer gets a micro-batch of its own.
pub fn micro_batches(lens: impl IntoIterator<Item = usize>, tokens: usize) -> Vec<Range<usize>> {
    cut(lens.into_iter().map(|n| (n, n)), tokens)
}

impl Decoder {
    /// Cuts sequences into micro-batches of at most `tokens` tokens, as ranges of indices. It counts tokens as
    /// [`micro_batches`] does, except that on the CPU, a prompt that consecutive sequences of a micro-batch share
    /// counts only once, because it runs only once.
    pub fn micro_batches(&self, sequences: &[Sequence], tokens: usize) -> Vec<Range<usize>> {
        let sizes = sequences.iter().enumerate().map(|(i, s)| {
            let whole = s.prompt.len() + s.completion.len();
            let again = self.on_cpu() && i > 0 && sequences[i - 1].prompt == s.prompt;
            (whole, if again { s.completion.len() } else { whole })
        });
        cut(sizes, tokens)
    }
}

/// Cuts items into runs whose sizes add up to at most `most`, as ranges of indices. Each item has two sizes: one as the
/// first item of a run, and one as a later item.
fn cut(sizes: impl Iterator<Item = (usize, usize)>, most: usize) -> Vec<Range<usize>> {
    let (mut runs, mut start, mut total, mut end) = (Vec::new(), 0, 0, 0);
    for (as_first, as_later) in sizes {
        let is_first = end == start;
        if !is_first && total + as_later > most {
            runs.push(start..end);
            (start, total) = (end, as_first);
        } else {
            total += if is_first { as_first } else { as_later };
        }
        end += 1;
    }
    if end > start {
        runs.push(start..end);
    }
    runs
}

/// Copies the elements of a vector to the host's memory.
pub fn floats(x: &Tensor<1>) -> Vec<f32> {
    values(x.clone().inner().reshape([1, -1]))
}
