//! The encoder of BERT, RoBERTa and DeBERTa. Tokens attend in both directions, and the hidden state of the first token
//! gives the outputs.

use std::sync::Arc;

use burn::tensor::{Tensor, TensorData, activation};

use crate::architecture::{
    ConvolutionConfig, DistanceBuckets, EncoderConfig, NormKind, Pooling, PositionKind, RelativePositions,
};
use crate::cache::values;
use crate::device::ComputeDevice;
use crate::forward::ForwardPass;
use crate::layout::{Form, Id, Layout, LinearTensors, Lora, NormTensors, Start};
use crate::ops::{Activation, AttentionPlan, AttentionSpec, Packing, kernels, plain};
use crate::weight::Weight;
use crate::weights::Weights;

/// An encoder with the head of a classifier, and its weights.
#[derive(Clone, Debug)]
pub struct Encoder {
    config: Arc<EncoderConfig>,
    tensors: Arc<EncoderTensors>,
    spec: Arc<AttentionSpec>,
    forward: ForwardPass,
}

/// The indices of an encoder's tensors in its [`Layout`] (the list of all declared tensors).
#[derive(Debug)]
pub(crate) struct EncoderTensors {
    words: Id,
    positions: Option<Id>,
    segments: Option<Id>,
    embedding_norm: NormTensors,
    relative: Option<Relative>,
    convolution: Option<(LinearTensors, NormTensors)>,
    layers: Vec<EncoderLayer>,
    pooler: LinearTensors,
    head: LinearTensors,
}

/// The indices, in the layout, of DeBERTa's table of relative position embeddings and of the norm that is applied to
/// the table.
#[derive(Debug)]
struct Relative {
    table: Id,
    norm: Option<NormTensors>,
}

#[derive(Debug)]
struct EncoderLayer {
    qkv: [LinearTensors; 3],
    /// The projections of DeBERTa's relative position embeddings to keys (first) and to queries (second). `None` where
    /// the key or query projection of the hidden states is used for them, or where attention does not add a score of
    /// this kind.
    positions: [Option<LinearTensors>; 2],
    output: LinearTensors,
    attention_norm: NormTensors,
    up: LinearTensors,
    down: LinearTensors,
    mlp_norm: NormTensors,
}

/// Declares the tensors of an encoder with `labels` outputs.
pub(crate) fn layout(c: &EncoderConfig, labels: usize, lora: Option<Lora>) -> (Layout, Arc<EncoderTensors>) {
    let mut l = Layout::new(lora);
    let (d, root) = (c.hidden_size, c.prefix);
    let deberta = matches!(c.pooling, Pooling::Deberta(_));
    let at = |part: &str| format!("{root}.{part}");
    let words = l.embedding(&at("embeddings.word_embeddings"), c.vocab_size, d);
    let positions = c.position_rows.map(|rows| l.embedding(&at("embeddings.position_embeddings"), rows, d));
    let segments = (c.segments > 0).then(|| l.embedding(&at("embeddings.token_type_embeddings"), c.segments, d));
    let embedding_norm = l.norm(&at("embeddings.LayerNorm"), d, 1.0, true);
    let relative = match c.positions {
        PositionKind::Disentangled(RelativePositions { span, normed, .. }) => Some(Relative {
            table: l.embedding(&at("encoder.rel_embeddings"), 2 * span, d),
            norm: normed.then(|| l.norm(&at("encoder.LayerNorm"), d, 1.0, true)),
        }),
        PositionKind::Absolute => None,
    };
    let convolution = c.convolution.map(|ConvolutionConfig { width, .. }| {
        let name = at("encoder.conv.conv");
        let start = Start::Normal(1.0 / ((d * width) as f32).sqrt());
        let weight = l.tensor(format!("{name}.weight"), [d, d * width], Form::Convolution(width), start);
        let bias = l.tensor(format!("{name}.bias"), [1, d], Form::Vector, Start::Constant(0.0));
        (LinearTensors { weight, bias: Some(bias), lora: None }, l.norm(&at("encoder.conv.LayerNorm"), d, 1.0, true))
    });
    let layers = (0..c.layers).map(|i| {
        let at = |part: &str| format!("{root}.encoder.layer.{i}.{part}");
        let mut linear = |part: &str, shape| l.linear(&at(part), shape, true, Form::Matrix, 1.0);
        let suffix = if deberta { "_proj" } else { "" };
        let qkv = ["query", "key", "value"].map(|n| linear(&format!("attention.self.{n}{suffix}"), [d, d]));
        let positions = match c.positions {
            PositionKind::Disentangled(RelativePositions { shared: false, c2p, p2c, .. }) => [
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
        EncoderLayer { qkv, positions, output, attention_norm, up, down, mlp_norm }
    });
    let layers = layers.collect();
    let mut linear = |name: &str, shape| l.linear(name, shape, true, Form::Matrix, 1.0);
    let (pooler, head) = match c.pooling {
        Pooling::Bert => (linear("bert.pooler.dense", [d, d]), linear("classifier", [labels, d])),
        Pooling::Roberta => (linear("classifier.dense", [d, d]), linear("classifier.out_proj", [labels, d])),
        Pooling::Deberta(_) => (linear("pooler.dense", [d, d]), linear("classifier", [labels, d])),
    };
    let tensors =
        EncoderTensors { words, positions, segments, embedding_norm, relative, convolution, layers, pooler, head };
    (l, Arc::new(tensors))
}

impl Encoder {
    pub(crate) fn new(
        config: EncoderConfig,
        tensors: Arc<EncoderTensors>,
        weights: Weights<Weight>,
        device: &ComputeDevice,
    ) -> Self {
        let scale = 1.0 / (config.heads.dim as f32).sqrt();
        let spec = AttentionSpec { heads: config.heads, rope: None, causal: false, window: None, scale };
        let forward = ForwardPass::new(weights, device);
        Self { config: Arc::new(config), tensors, spec: Arc::new(spec), forward }
    }

    /// The encoder's sizes and settings.
    pub fn config(&self) -> &EncoderConfig {
        &self.config
    }

    /// The weights: tensors on the encoder's device, outside autodiff.
    pub fn weights(&self) -> &Weights<Weight> {
        &self.forward.weights
    }

    /// A view of this encoder whose trained weights record gradients.
    #[must_use]
    pub fn with_grad(&self) -> Self {
        Self { forward: self.forward.with_grad(), ..self.clone() }
    }

    /// Computes the outputs `[sequences, labels]` of packed sequences. `ids` holds the token ids of all sequences one
    /// after the other, `lens[i]` of them for sequence `i`, and `segments` the segment of each token.
    pub fn outputs(&self, ids: &[u32], segments: &[u32], lens: &[usize]) -> Tensor<2> {
        let hidden = self.hidden(ids, segments, lens);
        let mut start = 0i64;
        let firsts = lens.iter().map(|n| {
            let at = start;
            start += *n as i64;
            at
        });
        let first = hidden.select(0, plain::ints(firsts.collect(), &self.forward.device));
        let pooled = self.forward.linear(first, &self.tensors.pooler);
        let activation = match self.config.pooling {
            Pooling::Deberta(activation) => activation,
            Pooling::Bert | Pooling::Roberta => Activation::Tanh,
        };
        self.forward.linear(self.forward.activate(pooled, activation), &self.tensors.head)
    }

    /// Computes the hidden states `[tokens, hidden]` after the last layer.
    fn hidden(&self, ids: &[u32], segments: &[u32], lens: &[usize]) -> Tensor<2> {
        let (tensors, forward) = (&self.tensors, &self.forward);
        let mut x = forward.rows(tensors.words, ids.iter().map(|id| *id as usize));
        if let Some(table) = tensors.positions {
            x = x + forward.rows(table, positions(ids, lens, self.config.padding));
        }
        if let Some(table) = tensors.segments {
            let last = self.config.segments - 1;
            x = x + forward.rows(table, segments.iter().map(|s| (*s as usize).min(last)));
        }
        let embedded = self.norm(x, &tensors.embedding_norm);
        let relative = tensors.relative.as_ref().map(|r| {
            let table = forward.tensor(r.table);
            r.norm.map_or_else(|| table.clone(), |n| self.norm(table.clone(), &n))
        });
        let lens: Arc<[usize]> = lens.into();
        let mut x = embedded.clone();
        for (i, layer) in tensors.layers.iter().enumerate() {
            x = self.layer(x, layer, relative.as_ref(), &lens);
            if let (0, Some((kernel, norm)), Some(ConvolutionConfig { width, activation })) =
                (i, &tensors.convolution, self.config.convolution)
            {
                let beside = forward.activate(self.convolve(&embedded, kernel, width, &lens), activation);
                x = self.norm(x + beside, norm);
            }
        }
        x
    }

    fn norm(&self, x: Tensor<2>, n: &NormTensors) -> Tensor<2> {
        self.forward.norm(x, n, NormKind::Layer { eps: self.config.eps })
    }

    /// Computes the output `[tokens, hidden]` of a layer from its input `x`. `relative` is DeBERTa's table of relative
    /// positions, `[2 · span, hidden]`.
    fn layer(
        &self,
        x: Tensor<2>,
        layer: &EncoderLayer,
        relative: Option<&Tensor<2>>,
        lens: &Arc<[usize]>,
    ) -> Tensor<2> {
        let forward = &self.forward;
        let [q, k, v] = forward.linears(x.clone(), layer.qkv.each_ref());
        let attended = match relative {
            Some(table) => self.disentangled(layer, [q, k, v], table, lens),
            None => forward.ops.attention(
                q,
                k,
                v,
                AttentionPlan { spec: self.spec.clone(), packing: Packing::sequences(lens) },
            ),
        };
        let x = self.norm(x + forward.linear(attended, &layer.output), &layer.attention_norm);
        let inner = forward.activate(forward.linear(x.clone(), &layer.up), self.config.activation);
        self.norm(x + forward.linear(inner, &layer.down), &layer.mlp_norm)
    }

    /// DeBERTa's disentangled attention over packed sequences of `lens[i]` tokens. A score is the sum of up to three
    /// terms (content-to-content, content-to-position, position-to-content), divided by `√(terms · dim)`. `table` holds
    /// the relative position embeddings, `[2 · span, hidden]`.
    fn disentangled(
        &self,
        layer: &EncoderLayer,
        [q, k, v]: [Tensor<2>; 3],
        table: &Tensor<2>,
        lens: &Arc<[usize]>,
    ) -> Tensor<2> {
        let PositionKind::Disentangled(RelativePositions { span, buckets, c2p, p2c, .. }) = self.config.positions
        else {
            return v;
        };
        let (heads, dim) = (self.config.heads.query, self.config.heads.dim);
        let scale = 1.0 / ((1 + usize::from(c2p) + usize::from(p2c)) as f32 * dim as f32).sqrt();
        let longest = lens.iter().copied().max().unwrap_or(0) as i64;
        // The row of a bucket in the table; bucket 0 is in the middle.
        let row = |bucket: i64| (bucket + span as i64).clamp(0, 2 * span as i64 - 1);
        let keys =
            c2p.then(|| self.forward.linear(table.clone(), layer.positions[0].as_ref().unwrap_or(&layer.qkv[1])));
        let queries =
            p2c.then(|| self.forward.linear(table.clone(), layer.positions[1].as_ref().unwrap_or(&layer.qkv[0])));
        if self.forward.ops.fused() && !self.forward.tracked {
            let shape = q.dims();
            let content = [q, k, v].map(values);
            let positions = [keys, queries].map(|t| t.map(values));
            let rows = [1, -1].map(|sign| -> Vec<usize> {
                (1 - longest..longest).map(|d| row(sign * bucket(d, buckets)) as usize).collect()
            });
            let kernel = kernels::DisentangledAttention {
                content: [&content[0], &content[1], &content[2]],
                positions: [positions[0].as_deref(), positions[1].as_deref()],
                rows: [&rows[0], &rows[1]],
            };
            let out = kernel.attend(self.config.heads, scale, lens);
            return Tensor::from_data(TensorData::new(out, shape), &self.forward.device);
        }
        let device = self.forward.device.clone();
        let (batch, time) = (lens.len(), lens.iter().copied().max().unwrap_or(0));
        let (pad, unpad) = plain::padding(lens, time, &device);
        let spread =
            |x: Tensor<2>| -> Tensor<4> { x.select(0, pad.clone()).reshape([batch, time, heads, dim]).swap_dims(1, 2) };
        let (q, k, v) = (spread(q), spread(k), spread(v));
        // The column of a pair of positions depends on their distance alone: the columns are put in the order of the distances
        // from `time − 1` down to `1 − time`.
        let by_distance = |along: Tensor<4>, sign: i64| -> Tensor<4> {
            let distances = (0..2 * time as i64 - 1).map(|column| time as i64 - 1 - column);
            let index = distances.map(|distance| row(sign * bucket(distance, buckets))).collect();
            skewed(along.select(3, plain::ints(index, &device)))
        };
        let by_head = |rows: Tensor<2>| -> Tensor<4> {
            rows.reshape([1, 2 * span, heads, dim]).swap_dims(1, 2).repeat(&[batch, 1, 1, 1])
        };
        let mut scores = q.clone().matmul(k.clone().swap_dims(2, 3));
        if let Some(keys) = keys {
            scores = scores + by_distance(q.matmul(by_head(keys).swap_dims(2, 3)), 1);
        }
        if let Some(queries) = queries {
            scores = scores + by_distance(k.matmul(by_head(queries).swap_dims(2, 3)), -1).swap_dims(2, 3);
        }
        let mask: Vec<f32> =
            lens.iter().flat_map(|n| (0..time).map(move |j| if j < *n { 0.0 } else { -1e30 })).collect();
        let mask: Tensor<4> = Tensor::from_data(TensorData::new(mask, [batch, 1, 1, time]), &device);
        let out = activation::softmax(scores * scale + mask, 3).matmul(v).swap_dims(1, 2);
        out.reshape([batch * time, heads * dim]).select(0, unpad)
    }

    /// Runs DeBERTa's convolution over each sequence, padded with zeros: `[tokens, hidden]` to `[tokens, hidden]`.
    fn convolve(&self, x: &Tensor<2>, kernel: &LinearTensors, width: usize, lens: &[usize]) -> Tensor<2> {
        let [rows, d] = x.dims();
        // The row of zeros after the last one stands for the padding.
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
        // From `[rows, width, d]` to `[rows, d · width]`, the order in which the kernel is stored.
        let windows = padded.select(0, plain::ints(index, &self.forward.device)).reshape([rows, width, d]);
        self.forward.linear(windows.swap_dims(1, 2).reshape([rows, d * width]), kernel)
    }
}

/// Shifts the rows of `x` `[batch, heads, time, 2 · time − 1]` against each other: element `(i, j)` of the result
/// `[batch, heads, time, time]` is element `(i, time − 1 − i + j)`. As in Transformer-XL (Dai et al., 2019), this is a view of the
/// elements with another row length.
fn skewed(x: Tensor<4>) -> Tensor<4> {
    let [batch, heads, time, width] = x.dims();
    if time == 1 {
        return x;
    }
    let rows: Tensor<3> = x.reshape([batch, heads, time * width]).narrow(2, time - 1, time * (width - 1));
    rows.reshape([batch, heads, time, width - 1]).narrow(3, 0, time)
}

/// The row of each token in the table of learned position embeddings, for packed sequences of `lens[i]` tokens.
/// `padding` is the id of RoBERTa's padding token: the first token of a sequence has row `padding + 1`, and a padding
/// token has row `padding` and is not counted. `None` (BERT): the first token has row 0.
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

/// The bucket of the signed distance between two tokens; it has the sign of the distance. Near distances have a bucket
/// each, and farther ones share buckets of logarithmic width, up to the distance `farthest`. Where `buckets` is `None`,
/// the bucket is the distance itself.
fn bucket(distance: i64, buckets: Option<DistanceBuckets>) -> i64 {
    let Some(DistanceBuckets { count, farthest }) = buckets else { return distance };
    let middle = (count / 2) as i64;
    if distance.abs() <= middle {
        return distance;
    }
    let ratio = |x: f32| (x / middle as f32).ln();
    let far = ratio(distance.abs() as f32) / ((farthest - 1) as f32 / middle as f32).ln() * (middle - 1) as f32;
    distance.signum() * (far.ceil() as i64 + middle)
}
