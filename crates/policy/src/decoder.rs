//! The decoder (causal transformer): embedding, layers of attention and feed-forward blocks, norm, output head.

use std::sync::Arc;

use burn::tensor::{DType, Device, Tensor};

use crate::architecture::{DecoderConfig, NormKind, QkvNames};
use crate::cache::KvCache;
use crate::device::ComputeDevice;
use crate::forward::ForwardPass;
use crate::layout::{Form, Id, Layout, LinearTensors, Lora, NormTensors, Spec};
use crate::memory::free_memory;
use crate::ops::kernels::PackedMatrix;
use crate::ops::{AttentionPlan, AttentionSpec, Ops, Packing, Products, Rope, plain};
use crate::weight::Weight;
use crate::weights::Weights;

/// A causal transformer with its weights. Clones share the weights until one of them changes.
#[derive(Clone, Debug)]
pub struct Decoder {
    config: Arc<DecoderConfig>,
    tensors: Arc<DecoderTensors>,
    specs: Vec<Arc<AttentionSpec>>,
    forward: ForwardPass,
}

/// The indices of a decoder's tensors in its [`Layout`] (the list of all declared tensors).
#[derive(Debug)]
pub(crate) struct DecoderTensors {
    embedding: Id,
    positions: Option<Id>,
    layers: Vec<DecoderLayer>,
    norm: NormTensors,
    head: LinearTensors,
}

#[derive(Debug)]
struct DecoderLayer {
    attention_norm: NormTensors,
    qkv: Projections,
    /// The norms that are applied to each head's queries and keys, in this order; `None` for a model without them.
    qk_norm: Option<[NormTensors; 2]>,
    output: LinearTensors,
    after_attention: Option<NormTensors>,
    mlp_norm: NormTensors,
    gate: Option<LinearTensors>,
    up: LinearTensors,
    down: LinearTensors,
    after_mlp: Option<NormTensors>,
}

/// The projections to queries, keys and values: three matrices, or one for all three.
#[derive(Debug)]
enum Projections {
    Separate([LinearTensors; 3]),
    Fused(LinearTensors),
}

/// Declares the tensors of a language model (`labels` is `None`), or of a classifier with `labels` outputs per token.
/// With `lora`, the layout also has the adapter's tensors. Returns the layout and the tensors' indices in it.
pub(crate) fn layout(
    config: &DecoderConfig,
    labels: Option<usize>,
    lora: Option<Lora>,
) -> (Layout, Arc<DecoderTensors>) {
    let mut l = Layout::new(lora);
    let (c, names, d) = (config, config.names, config.hidden_size);
    let embedding = l.embedding(names.embedding, c.vocab_size, d);
    let positions = names.positions.map(|name| l.embedding(name, c.max_position_embeddings, d));
    let layers = (0..c.layers.len()).map(|i| declare_layer(&mut l, c, i)).collect();
    let norm = declare_norm(&mut l, c, names.norm, d);
    let head = match labels {
        Some(n) => l.linear("score", [n, d], false, Form::Matrix, 1.0),
        None if c.tied => LinearTensors { weight: embedding, bias: None, lora: None },
        None => LinearTensors { weight: l.embedding("lm_head", c.vocab_size, d), bias: None, lora: None },
    };
    (l, Arc::new(DecoderTensors { embedding, positions, layers, norm, head }))
}

fn declare_layer(l: &mut Layout, c: &DecoderConfig, index: usize) -> DecoderLayer {
    let (names, d, inner, form) = (c.names, c.hidden_size, c.intermediate_size, c.names.matrices);
    let (q, kv) = (c.heads.query_width(), c.heads.kv_width());
    // The deeper the model, the smaller are the initial weights that end a block, as in GPT-2.
    let depth = (2.0 * c.layers.len() as f32).sqrt();
    let at = |part: &str| format!("{}.{index}.{part}", names.layers);
    // The order of these declarations decides which random initial values a tensor gets.
    DecoderLayer {
        attention_norm: declare_norm(l, c, &at(names.attention_norm), d),
        qkv: match names.qkv {
            QkvNames::Fused(name) => Projections::Fused(l.linear(&at(name), [q + 2 * kv, d], c.qkv_bias, form, 1.0)),
            QkvNames::Separate([query, key, value]) => Projections::Separate(
                [(query, q), (key, kv), (value, kv)]
                    .map(|(name, width)| l.linear(&at(name), [width, d], c.qkv_bias, form, 1.0)),
            ),
        },
        qk_norm: c.qk_norm.then(|| names.qk_norm.map(|name| declare_norm(l, c, &at(name), c.heads.dim))),
        output: l.linear(&at(names.output), [d, q], c.output_bias, form, depth),
        after_attention: c.sandwich.then(|| declare_norm(l, c, &at(names.after_attention), d)),
        mlp_norm: declare_norm(l, c, &at(names.mlp_norm), d),
        gate: c.gated.then(|| l.linear(&at(names.gate), [inner, d], c.mlp_bias, form, 1.0)),
        up: l.linear(&at(names.up), [inner, d], c.mlp_bias, form, 1.0),
        down: l.linear(&at(names.down), [d, inner], c.mlp_bias, form, depth),
        after_mlp: c.sandwich.then(|| declare_norm(l, c, &at(names.after_mlp), d)),
    }
}

fn declare_norm(l: &mut Layout, c: &DecoderConfig, name: &str, width: usize) -> NormTensors {
    match c.norm {
        NormKind::Rms { offset, .. } => l.norm(name, width, 1.0 - offset, false),
        NormKind::Layer { .. } => l.norm(name, width, 1.0, true),
    }
}

/// How the tokens of a forward pass (the rows of its hidden states `[tokens, hidden]`) belong to sequences, and whether
/// they attend to a KV cache.
pub(crate) enum Context<'a> {
    /// Whole sequences, one after the other without padding; some may share a prefix. No KV cache is used.
    Packed(Packing),
    /// New tokens of sequences whose earlier tokens are in a KV cache: the cache, and the number of new tokens of each
    /// sequence.
    Cached(&'a mut KvCache, &'a [usize]),
}

/// Number of tokens from which on a part of a batch is worth a thread of its own.
const PART: usize = 32;

/// Divides sequences with these numbers of tokens into two parts: the number of sequences of the first, and of its tokens.
fn halves(lens: &[usize]) -> (usize, usize) {
    let all: usize = lens.iter().sum();
    let mut tokens = 0;
    for (i, n) in lens.iter().enumerate() {
        if 2 * tokens + n > all {
            return (i, tokens);
        }
        tokens += n;
    }
    (lens.len(), tokens)
}

impl Decoder {
    pub(crate) fn new(
        config: DecoderConfig,
        tensors: Arc<DecoderTensors>,
        weights: Weights<Weight>,
        device: &ComputeDevice,
    ) -> Self {
        let mut ropes: Vec<(crate::ops::RopeConfig, Arc<Rope>)> = Vec::new();
        let specs = config.layers.iter().map(|layer| {
            let rope = layer.rope.map(|parameters| {
                if let Some((_, rope)) = ropes.iter().find(|(have, _)| *have == parameters) {
                    return rope.clone();
                }
                let rope = Arc::new(Rope::new(config.max_position_embeddings, config.heads.dim, &parameters));
                ropes.push((parameters, rope.clone()));
                rope
            });
            let (heads, window, scale) = (config.heads, layer.window, config.attention_scale);
            Arc::new(AttentionSpec { heads, rope, causal: true, window, scale })
        });
        let specs = specs.collect();
        let forward = ForwardPass::new(weights, device);
        Self { config: Arc::new(config), tensors, specs, forward }
    }

    /// The decoder's sizes and settings.
    pub fn config(&self) -> &DecoderConfig {
        &self.config
    }

    /// The weights: tensors on the decoder's device, outside autodiff, and quantised matrices.
    pub fn weights(&self) -> &Weights<Weight> {
        &self.forward.weights
    }

    /// The weights, to change them in place.
    pub fn weights_mut(&mut self) -> &mut Weights<Weight> {
        &mut self.forward.weights
    }

    /// Number of bytes that the weights take in memory.
    pub fn weight_bytes(&self) -> u64 {
        self.weights().entries().map(|(_, weight)| weight.bytes()).sum()
    }

    /// The declarations of the weights: names and shapes.
    pub fn layout(&self) -> &Arc<Layout> {
        self.forward.layout()
    }

    /// The device whose memory holds the weights.
    pub fn device(&self) -> &Device {
        &self.forward.device
    }

    /// A view of this decoder whose trained weights record gradients.
    #[must_use]
    pub fn with_grad(&self) -> Self {
        Self { forward: self.forward.with_grad(), ..self.clone() }
    }

    /// A view of this decoder in which the dropout of the adapter's inputs is active; `seed` decides which inputs are
    /// dropped.
    #[must_use]
    pub fn with_dropout(&self, seed: u64) -> Self {
        let mut view = self.clone();
        view.forward.dropout = Some(seed);
        view
    }

    /// A view of this decoder in which the adapter is not applied, so that it computes what the frozen base model
    /// computes.
    #[must_use]
    pub fn without_adapter(&self) -> Self {
        let mut view = self.clone();
        view.forward.adapted = false;
        view
    }

    /// A view of this decoder for sampling. It rounds activations to 8 bits per block for products with quantised matrices,
    /// as llama.cpp does, because that is several times faster for few rows; log-probs and gradients are computed without
    /// rounding. On the CPU it is batch-invariant: in a matrix product, the result of a row does not depend on the other rows.
    /// There it holds packed copies of the matrices, in bfloat16 where products are, so that they need not be packed or
    /// converted for every token; copies in `f32` only if they take at most half of the free memory, which decides about
    /// speed alone.
    #[must_use]
    pub fn for_sampling(&self) -> Self {
        let mut view = self.clone();
        view.forward.rounded = true;
        let pack: fn(&Tensor<2>, &Weight) -> Weight = match view.forward.ops {
            Ops::Plain => return view,
            Ops::Half => |matrix, _| Weight::Dense(matrix.clone().cast(DType::BF16)),
            Ops::Fused(Products::Bf16) => |_, weight| weight.packed(PackedMatrix::bf16),
            Ops::Fused(_) => {
                view.forward.ops = Ops::Fused(Products::BatchInvariant);
                let products = self.weights().entries().filter(|(spec, _)| self.is_product(spec));
                let bytes: u64 = products.filter(|(_, w)| !w.is_quantised()).map(|(_, w)| w.bytes()).sum();
                if free_memory().is_some_and(|free| bytes > free / 2) {
                    return view;
                }
                |_, weight| weight.packed(PackedMatrix::single)
            }
        };
        view.forward.weights = view.forward.weights.map(|spec, weight| match weight {
            Weight::Dense(matrix) if self.is_product(spec) => pack(matrix, weight),
            _ => weight.clone(),
        });
        view
    }

    /// Whether products are computed with a tensor: it is a matrix, and not a table of which only rows are looked up (the
    /// embeddings, unless they are also the output head, and those of positions).
    fn is_product(&self, spec: &Spec) -> bool {
        let DecoderTensors { embedding, positions, head, .. } = &*self.tensors;
        let tables = [Some(*embedding).filter(|table| *table != head.weight), *positions];
        let is_table = tables.into_iter().flatten().any(|table| self.layout().specs()[table.0].name == spec.name);
        spec.form != Form::Vector && !is_table
    }

    /// Whether the decoder runs on the CPU, with the fused kernels.
    pub(crate) fn on_cpu(&self) -> bool {
        self.forward.ops.fused()
    }

    /// Makes an empty KV cache for [`Decoder::extend`].
    pub fn cache(&self) -> KvCache {
        KvCache::new(self.forward.ops, self.specs.clone())
    }

    /// Computes the hidden states `[tokens, hidden]` of packed sequences. `ids` holds the token ids of all sequences
    /// one after the other, `lens[i]` of them for sequence `i`.
    pub fn hidden(&self, ids: &[u32], lens: &[usize]) -> Tensor<2> {
        self.hidden_of(ids, Packing::sequences(lens))
    }

    /// Computes the hidden states `[tokens, hidden]` of packed trees (sequences of which some share a prefix).
    pub(crate) fn hidden_of(&self, ids: &[u32], packing: Packing) -> Tensor<2> {
        let mut context = Context::Packed(packing);
        let mut x = self.embed(ids, &mut context);
        for i in 0..self.depth() {
            x = self.layer(i, x, &mut context);
        }
        self.last_norm(x)
    }

    /// Computes the hidden states `[tokens, hidden]` of new tokens, `lens[i]` of them for cached sequence `i`, and adds
    /// the tokens to the cache.
    ///
    /// A batch-invariant decoder reads many tokens on one thread per part of the sequences, which gives the same bits and
    /// needs no waiting for other threads in every operation.
    pub fn extend(&self, ids: &[u32], lens: &[usize], cache: &mut KvCache) -> Tensor<2> {
        let invariant = self.forward.ops == Ops::Fused(Products::BatchInvariant);
        self.extend_in(if invariant { rayon::current_num_threads() } else { 1 }, ids, lens, cache)
    }

    /// Does what [`Decoder::extend`] does, in at most so many parts at a time.
    fn extend_in(&self, parts: usize, ids: &[u32], lens: &[usize], cache: &mut KvCache) -> Tensor<2> {
        let (sequences, tokens) = halves(lens);
        if parts > 1
            && tokens.min(ids.len() - tokens) >= PART
            && let Some(mut other) = cache.split_off(sequences)
        {
            let (a, b) = rayon::join(
                || self.extend_in(parts / 2, &ids[..tokens], &lens[..sequences], cache),
                || self.extend_in(parts - parts / 2, &ids[tokens..], &lens[sequences..], &mut other),
            );
            cache.join(other);
            return Tensor::cat(vec![a, b], 0);
        }
        let mut context = Context::Cached(cache, lens);
        let mut x = self.embed(ids, &mut context);
        for i in 0..self.depth() {
            x = self.layer(i, x, &mut context);
        }
        cache.grow(lens);
        self.last_norm(x)
    }

    /// Computes the output head: logits `[n, vocab]`, or outputs `[n, labels]` of a classifier, from hidden states
    /// `[n, hidden]`.
    pub fn logits(&self, hidden: &Tensor<2>) -> Tensor<2> {
        self.forward.linear(hidden.clone(), &self.tensors.head)
    }

    /// Computes for each of the hidden states `[n, hidden]` the log-prob of its target token and the entropy, in nats,
    /// at a temperature: `[n, 2]`.
    pub fn token_log_probs(&self, hidden: Tensor<2>, targets: Arc<[u32]>, temperature: f32) -> Tensor<2> {
        let hidden = if (temperature - 1.0).abs() < f32::EPSILON { hidden } else { hidden / temperature };
        self.forward.token_log_probs(hidden, self.tensors.head.weight, targets)
    }

    /// Number of layers of the decoder.
    pub(crate) fn depth(&self) -> usize {
        self.tensors.layers.len()
    }

    /// Computes the input `[tokens, hidden]` of the first layer from token ids.
    pub(crate) fn embed(&self, ids: &[u32], context: &mut Context) -> Tensor<2> {
        let mut x = self.forward.rows(self.tensors.embedding, ids.iter().map(|id| *id as usize));
        if (self.config.embedding_scale - 1.0).abs() > f32::EPSILON {
            x = x * self.config.embedding_scale;
        }
        let Some(table) = self.tensors.positions else { return x };
        let positions: Vec<usize> = match context {
            Context::Packed(packing) => packing.positions(),
            Context::Cached(cache, lens) => cache.lens().iter().zip(*lens).flat_map(|(s, n)| *s..s + n).collect(),
        };
        x + self.forward.rows(table, positions)
    }

    /// Computes the output `[tokens, hidden]` of a layer from its input `x` `[tokens, hidden]`.
    pub(crate) fn layer(&self, index: usize, x: Tensor<2>, context: &mut Context) -> Tensor<2> {
        let (layer, config, forward) = (&self.tensors.layers[index], &self.config, &self.forward);
        let norm = |x: &Tensor<2>, n: &NormTensors| forward.norm(x.clone(), n, config.norm);
        let after = |x: Tensor<2>, n: &Option<NormTensors>| match n {
            Some(n) => forward.norm(x, n, config.norm),
            None => x,
        };

        let [q, k, v] = self.projections(norm(&x, &layer.attention_norm), layer);
        let attended = match context {
            Context::Packed(packing) => {
                let plan = AttentionPlan { spec: self.specs[index].clone(), packing: packing.clone() };
                forward.ops.attention(q, k, v, plan)
            }
            Context::Cached(cache, lens) => cache.attend(index, q, k, v, lens),
        };
        let x = x + after(forward.linear(attended, &layer.output), &layer.after_attention);

        let n = norm(&x, &layer.mlp_norm);
        let inner = match &layer.gate {
            Some(gate) => {
                let [gate, up] = forward.linears(n, [gate, &layer.up]);
                forward.ops.gated(gate, up, config.activation)
            }
            None => forward.activate(forward.linear(n, &layer.up), config.activation),
        };
        x + after(forward.linear(inner, &layer.down), &layer.after_mlp)
    }

    /// Computes queries `[tokens, query_width]`, keys and values `[tokens, kv_width]` of a layer, before rotation by
    /// positions.
    fn projections(&self, x: Tensor<2>, layer: &DecoderLayer) -> [Tensor<2>; 3] {
        let heads = self.config.heads;
        let [q, k, v] = match &layer.qkv {
            Projections::Separate(parts) => self.forward.linears(x, parts.each_ref()),
            Projections::Fused(all) => {
                let all = self.forward.linear(x, all);
                let (q, kv) = (heads.query_width(), heads.kv_width());
                [(0, q), (q, kv), (q + kv, kv)].map(|(at, width)| all.clone().narrow(1, at, width))
            }
        };
        let Some([q_norm, k_norm]) = &layer.qk_norm else { return [q, k, v] };
        let by_head = |x: Tensor<2>, n: &NormTensors| {
            let [rows, width] = x.dims();
            let x = x.reshape([rows * (width / heads.dim), heads.dim]);
            self.forward.norm(x, n, self.config.norm).reshape([rows, width])
        };
        [by_head(q, q_norm), by_head(k, k_norm), v]
    }

    /// Applies the norm after the last layer to `[tokens, hidden]`.
    pub(crate) fn last_norm(&self, x: Tensor<2>) -> Tensor<2> {
        self.forward.norm(x, &self.tensors.norm, self.config.norm)
    }

    /// Picks rows of hidden states `[tokens, hidden]` by index: `[rows, hidden]`.
    pub(crate) fn select_rows(hidden: Tensor<2>, rows: Vec<i64>) -> Tensor<2> {
        let index = plain::ints(rows, &hidden.device().without_autodiff());
        hidden.select(0, index)
    }
}
