//! Architectures: the choices in which model families differ.

use crate::layout::Form;
use crate::ops::{Activation, Heads, RopeConfig};

/// The two kinds of transformer.
#[derive(Clone, Debug, PartialEq)]
pub enum Architecture {
    /// Causal attention: language models, and reward models made from them.
    Decoder(DecoderConfig),
    /// Attention in both directions: reward models.
    Encoder(EncoderConfig),
}

/// How the rows of hidden states are normalised.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum NormKind {
    /// By their root mean square (RMS norm); the result is multiplied by the weight plus `offset`.
    Rms {
        /// Added to the mean square under the root.
        eps: f32,
        /// 1 for Gemma, whose weights are stored as their distance from 1; otherwise 0.
        offset: f32,
    },
    /// By their mean and variance (layer norm), with a bias.
    Layer {
        /// Added to the variance under the root.
        eps: f32,
    },
}

/// The names of a decoder's tensors in a checkpoint, without `.weight` and `.bias`. Names of parts that a family does
/// not have are not used.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TensorNames {
    /// Token embedding.
    pub embedding: &'static str,
    /// Learned positions; `None` for rotary positions.
    pub positions: Option<&'static str>,
    /// Prefix of the layers; `.0` and the names below follow.
    pub layers: &'static str,
    /// Norm before attention.
    pub attention_norm: &'static str,
    /// Projections to query, key and value.
    pub qkv: QkvNames,
    /// Norms of each head's queries and keys.
    pub qk_norm: [&'static str; 2],
    /// Attention's output projection.
    pub output: &'static str,
    /// Norm after attention.
    pub after_attention: &'static str,
    /// Norm before the feed-forward block.
    pub mlp_norm: &'static str,
    /// The feed-forward block's gate.
    pub gate: &'static str,
    /// Its projection up.
    pub up: &'static str,
    /// Its projection down.
    pub down: &'static str,
    /// Norm after the feed-forward block.
    pub after_mlp: &'static str,
    /// Norm after the last layer.
    pub norm: &'static str,
    /// How the matrices of the layers are stored.
    pub matrices: Form,
}

/// The names of the projections to query, key and value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum QkvNames {
    /// A matrix each, in this order.
    Separate([&'static str; 3]),
    /// One matrix with the outputs of all three, in this order.
    Fused(&'static str),
}

/// The choices of one decoder layer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LayerConfig {
    /// Keys that a query attends to: its own and those before it, this many in all; `None`: every key up to its own.
    pub window: Option<usize>,
    /// Rotary positions; `None` where positions are learned.
    pub rope: Option<RopeConfig>,
}

/// A decoder: a causal transformer.
#[derive(Clone, Debug, PartialEq)]
#[allow(clippy::struct_excessive_bools)]
pub struct DecoderConfig {
    /// Names of the tensors in a checkpoint.
    pub names: &'static TensorNames,
    /// Rows of the token embedding.
    pub vocab_size: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width inside the feed-forward block.
    pub intermediate_size: usize,
    /// Longest sequence, in tokens.
    pub max_position_embeddings: usize,
    /// Attention heads.
    pub heads: Heads,
    /// Layers, from the input to the output.
    pub layers: Vec<LayerConfig>,
    /// Kind of every norm.
    pub norm: NormKind,
    /// Non-linearity of the feed-forward block.
    pub activation: Activation,
    /// Whether the feed-forward block has a gate.
    pub gated: bool,
    /// Whether query, key and value projections have biases.
    pub qkv_bias: bool,
    /// Whether attention's output projection has a bias.
    pub output_bias: bool,
    /// Whether the feed-forward block has biases.
    pub mlp_bias: bool,
    /// Whether queries and keys are normalised per head.
    pub qk_norm: bool,
    /// Whether blocks are also normalised after they ran (Gemma).
    pub sandwich: bool,
    /// Factor of the embeddings.
    pub embedding_scale: f32,
    /// Factor of the attention scores.
    pub attention_scale: f32,
    /// Whether the token embedding is also the output head.
    pub tied: bool,
}

/// How an encoder's attention uses positions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PositionKind {
    /// Not at all: positions are only added to the embeddings.
    Absolute,
    /// Disentangled attention of DeBERTa (He et al., 2021).
    Disentangled(RelativePositions),
}

/// The terms of disentangled attention, and the table of relative positions that they read.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(clippy::struct_excessive_bools)]
pub struct RelativePositions {
    /// Half the rows of the table.
    pub span: usize,
    /// Buckets for far distances; `None` where every distance has its own row.
    pub buckets: Option<DistanceBuckets>,
    /// Whether content attends to positions.
    pub c2p: bool,
    /// Whether positions attend to content.
    pub p2c: bool,
    /// Whether positions share the projections of content.
    pub shared: bool,
    /// Whether the table is normalised.
    pub normed: bool,
}

/// Logarithmic buckets of distances.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DistanceBuckets {
    /// Buckets in both directions together; half of them hold one near distance each.
    pub count: usize,
    /// The distance at which the buckets end.
    pub farthest: usize,
}

/// The convolution of a DeBERTa encoder beside its first layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvolutionConfig {
    /// Tokens that the kernel covers; odd.
    pub width: usize,
    /// Non-linearity of its output.
    pub activation: Activation,
}

/// How an encoder's first row becomes its outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pooling {
    /// `bert.pooler.dense`, tanh, `classifier`.
    Bert,
    /// `classifier.dense`, tanh, `classifier.out_proj`.
    Roberta,
    /// `pooler.dense`, this activation, `classifier`.
    Deberta(Activation),
}

/// An encoder: a transformer that attends in both directions, with outputs per sequence.
#[derive(Clone, Debug, PartialEq)]
pub struct EncoderConfig {
    /// First part of every tensor's name.
    pub prefix: &'static str,
    /// Rows of the token embedding.
    pub vocab_size: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width inside the feed-forward block.
    pub intermediate_size: usize,
    /// Number of layers.
    pub layers: usize,
    /// Attention heads.
    pub heads: Heads,
    /// Rows of the table of learned positions; `None` where positions are relative only.
    pub position_rows: Option<usize>,
    /// The padding token, after whose row positions start (RoBERTa); `None`: positions start at row 0.
    pub padding: Option<u32>,
    /// Longest sequence, in tokens.
    pub max_position_embeddings: usize,
    /// Rows of the table of segments (`token_type_ids`); 0 is no table.
    pub segments: usize,
    /// Added to the variance under the root of every norm.
    pub eps: f32,
    /// Non-linearity of the feed-forward block.
    pub activation: Activation,
    /// How attention uses positions.
    pub positions: PositionKind,
    /// The convolution beside the first layer.
    pub convolution: Option<ConvolutionConfig>,
    /// How the first row becomes the outputs.
    pub pooling: Pooling,
}
