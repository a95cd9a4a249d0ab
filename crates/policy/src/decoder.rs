//! The decoder: embedding, layers of attention and feed-forward, norm, head.

use std::sync::Arc;

use burn::tensor::{Device, Tensor};

use crate::architecture::{DecoderConfig, Naming, NormKind};
use crate::cache::KvCache;
use crate::device::ComputeDevice;
use crate::error::PolicyError;
use crate::layout::{Form, Id, Layout, Linear, Lora, Norm};
use crate::ops::{AttentionPlan, Ops, Packing, Rope, Sight, plain};
use crate::pass::Pass;
use crate::weights::Weights;

/// A causal model. Cloning shares the weights; they are copied when one of the two changes.
#[derive(Clone, Debug)]
pub struct Decoder {
    config: Arc<DecoderConfig>,
    parts: Arc<Parts>,
    sights: Vec<Arc<Sight>>,
    pass: Pass,
}

/// Where a decoder finds its tensors.
#[derive(Debug)]
struct Parts {
    embedding: Id,
    positions: Option<Id>,
    layers: Vec<Layer>,
    norm: Norm,
    head: Linear,
}

#[derive(Debug)]
struct Layer {
    attention_norm: Norm,
    qkv: Projections,
    qk_norm: Option<[Norm; 2]>,
    output: Linear,
    after_attention: Option<Norm>,
    mlp_norm: Norm,
    gate: Option<Linear>,
    up: Linear,
    down: Linear,
    after_mlp: Option<Norm>,
}

/// Query, key and value.
#[derive(Debug)]
enum Projections {
    Separate([Linear; 3]),
    Fused(Linear),
}

/// The tensors that a configuration asks for: of a language model, or with `labels` outputs per token.
pub(crate) fn layout(config: &DecoderConfig, labels: Option<usize>, lora: Option<Lora>) -> (Layout, DecoderParts) {
    let mut l = Layout::new(lora);
    let parts = declare(&mut l, config, labels);
    (l, DecoderParts(Arc::new(parts)))
}

/// The parts of a decoder, declared with its layout.
#[derive(Clone, Debug)]
pub(crate) struct DecoderParts(Arc<Parts>);

fn declare(l: &mut Layout, c: &DecoderConfig, labels: Option<usize>) -> Parts {
    let (d, inner) = (c.hidden_size, c.intermediate_size);
    let (q, kv) = (c.heads.query_width(), c.heads.kv_width());
    // Outputs of blocks start smaller the deeper the model is, as in GPT-2.
    let depth = (2.0 * c.layers.len() as f32).sqrt();
    let gpt2 = c.naming == Naming::Gpt2;
    let (root, form) = if gpt2 { ("transformer", Form::Transposed) } else { ("model", Form::Matrix) };
    let (one, bias) = match c.norm {
        NormKind::Rms { offset, .. } => (1.0 - offset, false),
        NormKind::Layer { .. } => (1.0, true),
    };
    let table = if gpt2 { "wte" } else { "embed_tokens" };
    let embedding = l.embedding(&format!("{root}.{table}"), c.vocab_size, d);
    let positions = gpt2.then(|| l.embedding("transformer.wpe", c.max_position_embeddings, d));
    let layers =
        (0..c.layers.len()).map(|i| {
            if gpt2 {
                let at = |part: &str| format!("transformer.h.{i}.{part}");
                return Layer {
                    attention_norm: l.norm(&at("ln_1"), d, one, bias),
                    qkv: Projections::Fused(l.linear(&at("attn.c_attn"), [q + 2 * kv, d], c.qkv_bias, form, 1.0)),
                    qk_norm: None,
                    output: l.linear(&at("attn.c_proj"), [d, q], c.output_bias, form, depth),
                    after_attention: None,
                    mlp_norm: l.norm(&at("ln_2"), d, one, bias),
                    gate: None,
                    up: l.linear(&at("mlp.c_fc"), [inner, d], c.mlp_bias, form, 1.0),
                    down: l.linear(&at("mlp.c_proj"), [d, inner], c.mlp_bias, form, depth),
                    after_mlp: None,
                };
            }
            let at = |part: &str| format!("model.layers.{i}.{part}");
            // With norms on both sides of a block, Gemma names the one before the feed-forward block differently.
            let before_mlp = if c.sandwich { "pre_feedforward_layernorm" } else { "post_attention_layernorm" };
            Layer {
                attention_norm: l.norm(&at("input_layernorm"), d, one, bias),
                qkv: Projections::Separate([("q_proj", q), ("k_proj", kv), ("v_proj", kv)].map(|(name, width)| {
                    l.linear(&at(&format!("self_attn.{name}")), [width, d], c.qkv_bias, form, 1.0)
                })),
                qk_norm: c.qk_norm.then(|| {
                    ["q_norm", "k_norm"].map(|n| l.norm(&at(&format!("self_attn.{n}")), c.heads.dim, one, bias))
                }),
                output: l.linear(&at("self_attn.o_proj"), [d, q], c.output_bias, form, depth),
                after_attention: c.sandwich.then(|| l.norm(&at("post_attention_layernorm"), d, one, bias)),
                mlp_norm: l.norm(&at(before_mlp), d, one, bias),
                gate: c.gated.then(|| l.linear(&at("mlp.gate_proj"), [inner, d], c.mlp_bias, form, 1.0)),
                up: l.linear(&at("mlp.up_proj"), [inner, d], c.mlp_bias, form, 1.0),
                down: l.linear(&at("mlp.down_proj"), [d, inner], c.mlp_bias, form, depth),
                after_mlp: c.sandwich.then(|| l.norm(&at("post_feedforward_layernorm"), d, one, bias)),
            }
        });
    let layers = layers.collect();
    let norm = l.norm(if gpt2 { "transformer.ln_f" } else { "model.norm" }, d, one, bias);
    let head = match labels {
        Some(n) => l.linear("score", [n, d], false, Form::Matrix, 1.0),
        None if c.tied => Linear { weight: embedding, bias: None, lora: None },
        None => Linear { weight: l.embedding("lm_head", c.vocab_size, d), bias: None, lora: None },
    };
    Parts { embedding, positions, layers, norm, head }
}

/// What attention sees.
pub(crate) enum Context<'a> {
    /// Whole sequences, nothing remembered.
    Packed(Packing),
    /// New rows after what a cache holds.
    Cached(&'a mut KvCache, &'a [usize]),
}

impl Decoder {
    pub(crate) fn new(
        config: DecoderConfig,
        parts: DecoderParts,
        weights: Weights<Tensor<2>>,
        ComputeDevice { device, ops }: &ComputeDevice,
    ) -> Self {
        let mut ropes: Vec<(crate::ops::RopeConfig, Arc<Rope>)> = Vec::new();
        let sights = config.layers.iter().map(|layer| {
            let rope = layer.rope.map(|wanted| {
                if let Some((_, rope)) = ropes.iter().find(|(have, _)| *have == wanted) {
                    return rope.clone();
                }
                let rope = Arc::new(Rope::new(config.max_position_embeddings, config.heads.dim, &wanted));
                ropes.push((wanted, rope.clone()));
                rope
            });
            let (heads, window, scale) = (config.heads, layer.window, config.attention_scale);
            Arc::new(Sight { heads, rope, causal: true, window, scale })
        });
        let sights = sights.collect();
        let pass = Pass { weights, ops: *ops, device: device.clone(), dropout: None, tracked: false, adapted: true };
        Self { config: Arc::new(config), parts: parts.0, sights, pass }
    }

    /// The model's shape.
    pub fn config(&self) -> &DecoderConfig {
        &self.config
    }

    /// The weights, on their device and outside autodiff.
    pub fn weights(&self) -> &Weights<Tensor<2>> {
        &self.pass.weights
    }

    /// The weights for change in place.
    pub fn weights_mut(&mut self) -> &mut Weights<Tensor<2>> {
        &mut self.pass.weights
    }

    /// What the weights are.
    pub fn layout(&self) -> &Arc<Layout> {
        self.pass.layout()
    }

    /// Where the weights live.
    pub fn device(&self) -> &Device {
        &self.pass.device
    }

    /// A view of this decoder whose trained weights record gradients.
    #[must_use]
    pub fn with_grad(&self) -> Self {
        Self { pass: self.pass.with_grad(), ..self.clone() }
    }

    /// A view of this decoder in which an adaptation's dropout leaves out what `seed` decides.
    #[must_use]
    pub fn with_dropout(&self, seed: u64) -> Self {
        let mut view = self.clone();
        view.pass.dropout = Some(seed);
        view
    }

    /// A view of this decoder without its adaptation: the frozen weights alone.
    #[must_use]
    pub fn unadapted(&self) -> Self {
        let mut view = self.clone();
        view.pass.adapted = false;
        view
    }

    /// A view of this decoder in which a row of a matrix product does not depend on the rows beside it.
    pub(crate) fn steady(&self) -> Result<Self, PolicyError> {
        if !self.on_cpu() {
            return Err(PolicyError::Request("tokens independent of the batch need the device `cpu`".into()));
        }
        let mut view = self.clone();
        view.pass.ops = Ops::Steady;
        Ok(view)
    }

    pub(crate) fn on_cpu(&self) -> bool {
        self.pass.ops.fused()
    }

    /// An empty cache for [`Decoder::extend`].
    pub fn cache(&self) -> KvCache {
        KvCache::new(self.pass.ops, self.sights.clone())
    }

    /// Hidden states `[n, hidden]` of packed sequences: `ids` holds them one after the other, `lens[i]`
    /// tokens each.
    pub fn hidden(&self, ids: &[u32], lens: &[usize]) -> Tensor<2> {
        self.hidden_of(ids, Packing::sequences(lens))
    }

    /// Hidden states `[n, hidden]` of packed trees.
    pub(crate) fn hidden_of(&self, ids: &[u32], packing: Packing) -> Tensor<2> {
        let mut context = Context::Packed(packing);
        let mut x = self.embed(ids, &mut context);
        for i in 0..self.depth() {
            x = self.layer(i, x, &mut context);
        }
        self.last_norm(x)
    }

    /// Hidden states of `lens[i]` new tokens of each cached sequence; the cache grows by them.
    pub fn extend(&self, ids: &[u32], lens: &[usize], cache: &mut KvCache) -> Tensor<2> {
        let mut context = Context::Cached(cache, lens);
        let mut x = self.embed(ids, &mut context);
        for i in 0..self.depth() {
            x = self.layer(i, x, &mut context);
        }
        cache.grow(lens);
        self.last_norm(x)
    }

    /// Outputs `[n, vocab]` (or `[n, labels]`) of hidden states `[n, hidden]`.
    pub fn logits(&self, hidden: &Tensor<2>) -> Tensor<2> {
        self.pass.linear(hidden, &self.parts.head)
    }

    /// Per row `[log-prob, entropy]` of the target tokens at a temperature: `[n, 2]`.
    pub fn token_log_probs(&self, hidden: Tensor<2>, targets: Arc<[u32]>, temperature: f32) -> Tensor<2> {
        let hidden = if (temperature - 1.0).abs() < f32::EPSILON { hidden } else { hidden / temperature };
        self.pass.ops.token_log_probs(hidden, self.pass.weights[self.parts.head.weight].clone(), targets)
    }

    pub(crate) fn depth(&self) -> usize {
        self.parts.layers.len()
    }

    /// The rows that enter the first layer.
    pub(crate) fn embed(&self, ids: &[u32], context: &mut Context) -> Tensor<2> {
        let mut x = self.pass.rows(self.parts.embedding, ids.iter().map(|id| *id as usize));
        if (self.config.embedding_scale - 1.0).abs() > f32::EPSILON {
            x = x * self.config.embedding_scale;
        }
        let Some(table) = self.parts.positions else { return x };
        let positions: Vec<usize> = match context {
            Context::Packed(packing) => packing.positions(),
            Context::Cached(cache, lens) => cache.lens().iter().zip(*lens).flat_map(|(s, n)| *s..s + n).collect(),
        };
        x + self.pass.rows(table, positions)
    }

    /// One layer.
    pub(crate) fn layer(&self, index: usize, x: Tensor<2>, context: &mut Context) -> Tensor<2> {
        let (layer, config, pass) = (&self.parts.layers[index], &self.config, &self.pass);
        let norm = |x: &Tensor<2>, n: &Norm| pass.norm(x.clone(), n, config.norm);
        let after = |x: Tensor<2>, n: &Option<Norm>| match n {
            Some(n) => pass.norm(x, n, config.norm),
            None => x,
        };

        let [q, k, v] = self.projections(&norm(&x, &layer.attention_norm), layer);
        let attended = match context {
            Context::Packed(packing) => {
                let plan = AttentionPlan { sight: self.sights[index].clone(), packing: packing.clone() };
                pass.ops.attention(q, k, v, plan)
            }
            Context::Cached(cache, lens) => cache.attend(index, q, k, v, lens),
        };
        let x = x + after(pass.linear(&attended, &layer.output), &layer.after_attention);

        let n = norm(&x, &layer.mlp_norm);
        let up = pass.linear(&n, &layer.up);
        let inner = match &layer.gate {
            Some(gate) => pass.ops.gated(pass.linear(&n, gate), up, config.activation),
            None => pass.activate(up, config.activation),
        };
        x + after(pass.linear(&inner, &layer.down), &layer.after_mlp)
    }

    fn projections(&self, x: &Tensor<2>, layer: &Layer) -> [Tensor<2>; 3] {
        let heads = self.config.heads;
        let [q, k, v] = match &layer.qkv {
            Projections::Separate(parts) => parts.map(|p| self.pass.linear(x, &p)),
            Projections::Fused(all) => {
                let all = self.pass.linear(x, all);
                let (q, kv) = (heads.query_width(), heads.kv_width());
                [(0, q), (q, kv), (q + kv, kv)].map(|(at, width)| all.clone().narrow(1, at, width))
            }
        };
        let Some([q_norm, k_norm]) = &layer.qk_norm else { return [q, k, v] };
        let by_head = |x: Tensor<2>, n: &Norm| {
            let [rows, width] = x.dims();
            let x = x.reshape([rows * (width / heads.dim), heads.dim]);
            self.pass.norm(x, n, self.config.norm).reshape([rows, width])
        };
        [by_head(q, q_norm), by_head(k, k_norm), v]
    }

    pub(crate) fn last_norm(&self, x: Tensor<2>) -> Tensor<2> {
        self.pass.norm(x, &self.parts.norm, self.config.norm)
    }

    /// Rows of packed hidden states, by index.
    pub(crate) fn select_rows(hidden: Tensor<2>, rows: Vec<i64>) -> Tensor<2> {
        let index = plain::ints(rows, &hidden.device().without_autodiff());
        hidden.select(0, index)
    }
}
