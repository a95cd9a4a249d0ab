//! BERT, RoBERTa and DeBERTa-v2: every token sees every other, and the first one's row gives the outputs.

use std::sync::Arc;

use burn::tensor::{Tensor, TensorData, activation};

use crate::architecture::{Disentangled, EncoderConfig, NormKind, Pooling};
use crate::cache::values;
use crate::device::ComputeDevice;
use crate::layout::{Form, Id, Layout, Linear, Lora, Norm, Start};
use crate::ops::{Activation, AttentionPlan, Ops, Packing, Sight, kernels, plain};
use crate::pass::Pass;
use crate::weights::Weights;

/// An encoder with the head of a classifier.
#[derive(Clone, Debug)]
pub struct Encoder {
    config: Arc<EncoderConfig>,
    parts: Arc<Parts>,
    sight: Arc<Sight>,
    pass: Pass,
}

/// Where an encoder finds its tensors.
#[derive(Debug)]
pub(crate) struct Parts {
    words: Id,
    positions: Option<Id>,
    segments: Option<Id>,
    embedding_norm: Norm,
    relative: Option<Relative>,
    convolution: Option<(Linear, Norm)>,
    layers: Vec<Layer>,
    pooler: Linear,
    head: Linear,
}

/// DeBERTa's table of relative positions.
#[derive(Debug)]
struct Relative {
    table: Id,
    norm: Option<Norm>,
}

#[derive(Debug)]
struct Layer {
    qkv: [Linear; 3],
    /// Projections of positions as keys and as queries, where they have their own.
    positions: [Option<Linear>; 2],
    output: Linear,
    attention_norm: Norm,
    up: Linear,
    down: Linear,
    mlp_norm: Norm,
}

/// The tensors that a configuration asks for.
pub(crate) fn layout(c: &EncoderConfig, labels: usize, lora: Option<Lora>) -> (Layout, Arc<Parts>) {
    let mut l = Layout::new(lora);
    let (d, root) = (c.hidden_size, c.prefix);
    let deberta = matches!(c.pooling, Pooling::Deberta(_));
    let at = |part: &str| format!("{root}.{part}");
    let words = l.embedding(&at("embeddings.word_embeddings"), c.vocab_size, d);
    let positions = c.position_rows.map(|rows| l.embedding(&at("embeddings.position_embeddings"), rows, d));
    let segments = (c.segments > 0).then(|| l.embedding(&at("embeddings.token_type_embeddings"), c.segments, d));
    let embedding_norm = l.norm(&at("embeddings.LayerNorm"), d, 1.0, true);
    let relative = match c.disentangled {
        Disentangled::Yes { span, normed, .. } => Some(Relative {
            table: l.embedding(&at("encoder.rel_embeddings"), 2 * span, d),
            norm: normed.then(|| l.norm(&at("encoder.LayerNorm"), d, 1.0, true)),
        }),
        Disentangled::No => None,
    };
    let convolution = c.convolution.map(|(width, _)| {
        let name = at("encoder.conv.conv");
        let start = Start::Normal(1.0 / ((d * width) as f32).sqrt());
        let weight = l.tensor(format!("{name}.weight"), [d, d * width], Form::Convolution(width), start);
        let bias = l.tensor(format!("{name}.bias"), [1, d], Form::Vector, Start::Constant(0.0));
        (Linear { weight, bias: Some(bias), lora: None }, l.norm(&at("encoder.conv.LayerNorm"), d, 1.0, true))
    });
    let layers = (0..c.layers).map(|i| {
        let at = |part: &str| format!("{root}.encoder.layer.{i}.{part}");
        let mut linear = |part: &str, shape| l.linear(&at(part), shape, true, Form::Matrix, 1.0);
        let suffix = if deberta { "_proj" } else { "" };
        let qkv = ["query", "key", "value"].map(|n| linear(&format!("attention.self.{n}{suffix}"), [d, d]));
        let positions = match c.disentangled {
            Disentangled::Yes { shared: false, c2p, p2c, .. } => [
                c2p.then(|| linear("attention.self.pos_key_proj", [d, d])),
                p2c.then(|| linear("attention.self.pos_query_proj", [d, d])),
            ],
            _ => [None, None],
        };
        let output = linear("attention.output.dense", [d, d]);
        let up = linear("intermediate.dense", [c.intermediate_size, d]);
        let down = linear("output.dense", [d, c.intermediate_size]);
        let attention_norm = l.norm(&at("attention.output.LayerNorm"), d, 1.0, true);
        let mlp_norm = l.norm(&at("output.LayerNorm"), d, 1.0, true);
        Layer { qkv, positions, output, attention_norm, up, down, mlp_norm }
    });
    let layers = layers.collect();
    let mut linear = |name: &str, shape| l.linear(name, shape, true, Form::Matrix, 1.0);
    let (pooler, head) = match c.pooling {
        Pooling::Bert => (linear("bert.pooler.dense", [d, d]), linear("classifier", [labels, d])),
        Pooling::Roberta => (linear("classifier.dense", [d, d]), linear("classifier.out_proj", [labels, d])),
        Pooling::Deberta(_) => (linear("pooler.dense", [d, d]), linear("classifier", [labels, d])),
    };
    let parts = Parts { words, positions, segments, embedding_norm, relative, convolution, layers, pooler, head };
    (l, Arc::new(parts))
}

impl Encoder {
    pub(crate) fn new(
        config: EncoderConfig,
        parts: Arc<Parts>,
        weights: Weights<Tensor<2>>,
        ComputeDevice { device, ops }: &ComputeDevice,
    ) -> Self {
        let scale = 1.0 / (config.heads.dim as f32).sqrt();
        let sight = Sight { heads: config.heads, rope: None, causal: false, window: None, scale };
        let pass = Pass { weights, ops: *ops, device: device.clone(), dropout: None, tracked: false, adapted: true };
        Self { config: Arc::new(config), parts, sight: Arc::new(sight), pass }
    }

    /// The model's shape.
    pub fn config(&self) -> &EncoderConfig {
        &self.config
    }

    /// The weights.
    pub fn weights(&self) -> &Weights<Tensor<2>> {
        &self.pass.weights
    }

    /// A view of this encoder whose trained weights record gradients.
    #[must_use]
    pub fn with_grad(&self) -> Self {
        Self { pass: self.pass.with_grad(), ..self.clone() }
    }

    /// Outputs `[sequences, labels]` of packed sequences: `ids` holds them one after the other with the
    /// segment of each token, `lens[i]` tokens each.
    pub fn outputs(&self, ids: &[u32], segments: &[u32], lens: &[usize]) -> Tensor<2> {
        let hidden = self.hidden(ids, segments, lens);
        let mut start = 0i64;
        let firsts = lens.iter().map(|n| {
            let at = start;
            start += *n as i64;
            at
        });
        let first = hidden.select(0, plain::ints(firsts.collect(), &self.pass.device));
        let pooled = self.pass.linear(&first, &self.parts.pooler);
        let activation = match self.config.pooling {
            Pooling::Deberta(activation) => activation,
            Pooling::Bert | Pooling::Roberta => Activation::Tanh,
        };
        self.pass.linear(&self.pass.activate(pooled, activation), &self.parts.head)
    }

    fn hidden(&self, ids: &[u32], segments: &[u32], lens: &[usize]) -> Tensor<2> {
        let (parts, pass) = (&self.parts, &self.pass);
        let mut x = pass.rows(parts.words, ids.iter().map(|id| *id as usize));
        if let Some(table) = parts.positions {
            x = x + pass.rows(table, positions(ids, lens, self.config.padding));
        }
        if let Some(table) = parts.segments {
            let last = self.config.segments - 1;
            x = x + pass.rows(table, segments.iter().map(|s| (*s as usize).min(last)));
        }
        let embedded = self.norm(x, &parts.embedding_norm);
        let relative = parts.relative.as_ref().map(|r| {
            let table = pass.weights[r.table].clone();
            r.norm.map_or_else(|| table.clone(), |n| self.norm(table.clone(), &n))
        });
        let lens: Arc<[usize]> = lens.into();
        let mut x = embedded.clone();
        for (i, layer) in parts.layers.iter().enumerate() {
            x = self.layer(x, layer, relative.as_ref(), &lens);
            if let (0, Some((kernel, norm)), Some((width, activation))) =
                (i, &parts.convolution, self.config.convolution)
            {
                let beside = pass.activate(self.convolve(&embedded, kernel, width, &lens), activation);
                x = self.norm(x + beside, norm);
            }
        }
        x
    }

    fn norm(&self, x: Tensor<2>, n: &Norm) -> Tensor<2> {
        self.pass.norm(x, n, NormKind::Layer { eps: self.config.eps })
    }

    fn layer(&self, x: Tensor<2>, layer: &Layer, relative: Option<&Tensor<2>>, lens: &Arc<[usize]>) -> Tensor<2> {
        let pass = &self.pass;
        let [q, k, v] = layer.qkv.map(|p| pass.linear(&x, &p));
        let attended = match relative {
            Some(table) => self.disentangled(layer, [q, k, v], table, lens),
            None => pass.ops.attention(
                q,
                k,
                v,
                AttentionPlan { sight: self.sight.clone(), packing: Packing::sequences(lens) },
            ),
        };
        let x = self.norm(x + pass.linear(&attended, &layer.output), &layer.attention_norm);
        let inner = pass.activate(pass.linear(&x, &layer.up), self.config.activation);
        self.norm(x.clone() + pass.linear(&inner, &layer.down), &layer.mlp_norm)
    }

    /// DeBERTa's attention: content to content, content to position and position to content, each scaled by
    /// the number of terms.
    fn disentangled(
        &self,
        layer: &Layer,
        [q, k, v]: [Tensor<2>; 3],
        table: &Tensor<2>,
        lens: &Arc<[usize]>,
    ) -> Tensor<2> {
        let Disentangled::Yes { span, buckets, c2p, p2c, .. } = self.config.disentangled else { return v };
        let (heads, dim) = (self.config.heads.query, self.config.heads.dim);
        let scale = 1.0 / ((1 + usize::from(c2p) + usize::from(p2c)) as f32 * dim as f32).sqrt();
        let longest = lens.iter().copied().max().unwrap_or(0) as i64;
        // The row of the table for a key seen from a query, and for a query seen from a key.
        let row = |bucket: i64| (bucket + span as i64).clamp(0, 2 * span as i64 - 1);
        let keys = c2p.then(|| self.pass.linear(table, layer.positions[0].as_ref().unwrap_or(&layer.qkv[1])));
        let queries = p2c.then(|| self.pass.linear(table, layer.positions[1].as_ref().unwrap_or(&layer.qkv[0])));
        if self.pass.ops.fused() && !self.pass.tracked {
            let shape = q.dims();
            let content = [q, k, v].map(values);
            let positions = [keys, queries].map(|t| t.map(values));
            let rows = [1, -1].map(|sign| -> Vec<usize> {
                (1 - longest..longest).map(|d| row(sign * bucket(d, buckets)) as usize).collect()
            });
            let kernel = kernels::Disentangled {
                content: [&content[0], &content[1], &content[2]],
                positions: [positions[0].as_deref(), positions[1].as_deref()],
                rows: [&rows[0], &rows[1]],
            };
            let out = kernel.attend(self.config.heads, scale, lens);
            return Tensor::from_data(TensorData::new(out, shape), &self.pass.device);
        }
        let device = self.pass.device.clone();
        let (batch, time) = (lens.len(), lens.iter().copied().max().unwrap_or(0));
        let (pad, unpad) = plain::padding(lens, time, &device);
        let spread =
            |x: Tensor<2>| -> Tensor<4> { x.select(0, pad.clone()).reshape([batch, time, heads, dim]).swap_dims(1, 2) };
        let (q, k, v) = (spread(q), spread(k), spread(v));
        let gather = |along: Tensor<4>, sign: i64| -> Tensor<4> {
            let pairs = (0..time * time).map(|at| (at / time) as i64 - (at % time) as i64);
            let index = pairs.map(|distance| row(sign * bucket(distance, buckets))).collect();
            let index = plain::ints(index, &device).reshape([1, 1, time, time]).repeat(&[batch, heads, 1, 1]);
            along.gather(3, index)
        };
        let by_head = |rows: Tensor<2>| -> Tensor<4> {
            rows.reshape([1, 2 * span, heads, dim]).swap_dims(1, 2).repeat(&[batch, 1, 1, 1])
        };
        let mut scores = q.clone().matmul(k.clone().swap_dims(2, 3));
        if let Some(keys) = keys {
            scores = scores + gather(q.matmul(by_head(keys).swap_dims(2, 3)), 1);
        }
        if let Some(queries) = queries {
            scores = scores + gather(k.matmul(by_head(queries).swap_dims(2, 3)), -1).swap_dims(2, 3);
        }
        let mask: Vec<f32> =
            lens.iter().flat_map(|n| (0..time).map(move |j| if j < *n { 0.0 } else { -1e30 })).collect();
        let mask: Tensor<4> = Tensor::from_data(TensorData::new(mask, [batch, 1, 1, time]), &device);
        let out = activation::softmax(scores * scale + mask, 3).matmul(v).swap_dims(1, 2);
        out.reshape([batch * time, heads * dim]).select(0, unpad)
    }

    /// A convolution over each sequence, with zeros beyond its ends.
    fn convolve(&self, x: &Tensor<2>, kernel: &Linear, width: usize, lens: &[usize]) -> Tensor<2> {
        let [rows, d] = x.dims();
        // A row of zeros stands behind the last one.
        let padded = Tensor::cat(vec![x.clone(), Tensor::zeros([1, d], &x.device())], 0);
        let mut index = Vec::with_capacity(rows * width);
        let mut start = 0;
        for n in lens {
            for t in 0..*n {
                index.extend((0..width).map(|j| {
                    let at = (t + j).checked_sub(width / 2).filter(|at| at < n);
                    at.map_or(rows, |at| start + at) as i64
                }));
            }
            start += n;
        }
        // `[rows, width, d]` to `[rows, d · width]`: the order of the stored kernel.
        let windows = padded.select(0, plain::ints(index, &self.pass.device)).reshape([rows, width, d]);
        self.pass.linear(&windows.swap_dims(1, 2).reshape([rows, d * width]), kernel)
    }
}

/// The row of each token's position. RoBERTa counts from the row after its padding token's, and a padding token
/// in the midst of a text has that token's row and is not counted.
fn positions(ids: &[u32], lens: &[usize], padding: Option<u32>) -> Vec<usize> {
    let Some(padding) = padding else { return lens.iter().flat_map(|n| 0..*n).collect() };
    let mut rows = Vec::with_capacity(ids.len());
    let mut ids = ids.iter();
    for n in lens {
        let mut last = padding as usize;
        rows.extend(ids.by_ref().take(*n).map(|id| {
            let padded = *id == padding;
            last += usize::from(!padded);
            if padded { padding as usize } else { last }
        }));
    }
    rows
}

/// The bucket of a distance: near ones have their own, far ones share them logarithmically up to `farthest`.
fn bucket(distance: i64, buckets: Option<(usize, usize)>) -> i64 {
    let Some((count, farthest)) = buckets else { return distance };
    let middle = (count / 2) as i64;
    if distance.abs() <= middle {
        return distance;
    }
    let ratio = |x: f32| (x / middle as f32).ln();
    let far = ratio(distance.abs() as f32) / ((farthest - 1) as f32 / middle as f32).ln() * (middle - 1) as f32;
    distance.signum() * (far.ceil() as i64 + middle)
}
