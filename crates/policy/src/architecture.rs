//! What a model computes: the choices in which families differ.

use crate::ops::{Activation, Heads, RopeConfig};

/// The two ways of computing.
#[derive(Clone, Debug, PartialEq)]
pub enum Architecture {
    /// Causal: language models, and reward models made of them.
    Decoder(DecoderConfig),
    /// Both ways: reward models.
    Encoder(EncoderConfig),
}

/// How rows are normalised.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum NormKind {
    /// Root mean square; the weight is added to `offset`.
    Rms {
        /// Added under the root.
        eps: f32,
        /// 1 for Gemma, whose weights are stored as their distance from 1.
        offset: f32,
    },
    /// Mean and variance, with a bias.
    Layer {
        /// Added under the root.
        eps: f32,
    },
}

/// Which names the tensors bear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Naming {
    /// `model.layers.0.self_attn.q_proj`.
    Llama,
    /// `transformer.h.0.attn.c_attn`: query, key and value in one matrix, matrices stored transposed.
    Gpt2,
}

/// One decoder layer's own choices.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LayerConfig {
    /// Keys seen: the query's own and those before it; all when absent.
    pub window: Option<usize>,
    /// Rotary positions; learned ones when absent.
    pub rope: Option<RopeConfig>,
}

/// A causal model.
#[derive(Clone, Debug, PartialEq)]
#[allow(clippy::struct_excessive_bools)]
pub struct DecoderConfig {
    /// Which names the tensors bear.
    pub naming: Naming,
    /// Rows of the embedding.
    pub vocab_size: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width inside the feed-forward block.
    pub intermediate_size: usize,
    /// Positions.
    pub max_position_embeddings: usize,
    /// Attention heads.
    pub heads: Heads,
    /// Layers from the input up.
    pub layers: Vec<LayerConfig>,
    /// Every norm.
    pub norm: NormKind,
    /// Of the feed-forward block.
    pub activation: Activation,
    /// Whether the feed-forward block has a gate.
    pub gated: bool,
    /// Biases of query, key and value.
    pub qkv_bias: bool,
    /// Bias of attention's output.
    pub output_bias: bool,
    /// Biases of the feed-forward block.
    pub mlp_bias: bool,
    /// Whether queries and keys are normalised per head.
    pub qk_norm: bool,
    /// Whether blocks are normalised before and after (Gemma).
    pub sandwich: bool,
    /// What embeddings are multiplied by.
    pub embedding_scale: f32,
    /// What attention scores are multiplied by.
    pub attention_scale: f32,
    /// Whether the embedding is also the output head.
    pub tied: bool,
}

/// How an encoder's attention sees positions.
#[derive(Clone, Debug, PartialEq)]
pub enum Disentangled {
    /// Not at all: positions are added to the embeddings only.
    No,
    /// DeBERTa's (He et al., 2021): content to position and position to content.
    Yes {
        /// Half the rows of the table of relative positions.
        span: usize,
        /// Buckets of logarithmic width, and the distance where they end; absent when every distance has its
        /// own row.
        buckets: Option<(usize, usize)>,
        /// Content to position.
        c2p: bool,
        /// Position to content.
        p2c: bool,
        /// Whether positions share the projections of content.
        shared: bool,
        /// Whether the table is normalised.
        normed: bool,
    },
}

/// How an encoder's first row becomes its outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pooling {
    /// `bert.pooler.dense`, tanh, `classifier`.
    Bert,
    /// `classifier.dense`, tanh, `classifier.out_proj`.
    Roberta,
    /// `pooler.dense`, an activation of its own, `classifier`.
    Deberta(Activation),
}

/// A model that sees both ways, with one output per sequence.
#[derive(Clone, Debug, PartialEq)]
pub struct EncoderConfig {
    /// First part of every tensor's name.
    pub prefix: &'static str,
    /// Rows of the embedding.
    pub vocab_size: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width inside the feed-forward block.
    pub intermediate_size: usize,
    /// Layers.
    pub layers: usize,
    /// Attention heads.
    pub heads: Heads,
    /// Rows of the table of learned positions; none when positions are relative only.
    pub position_rows: Option<usize>,
    /// The token from whose row on positions are counted (RoBERTa); from 0 when absent.
    pub padding: Option<u32>,
    /// Longest sequence.
    pub max_position_embeddings: usize,
    /// Kinds of segments; 0 is no table.
    pub segments: usize,
    /// Added under every norm's root.
    pub eps: f32,
    /// Of the feed-forward block.
    pub activation: Activation,
    /// How attention sees positions.
    pub disentangled: Disentangled,
    /// Width of the convolution beside the first layer, and its activation.
    pub convolution: Option<(usize, Activation)>,
    /// How the outputs are made.
    pub pooling: Pooling,
}
