//! Architectures: the choices in which model families differ.

use crate::layout::Form;
use crate::ops::{Activation, Heads, RopeConfig};

/// The architecture of a model, with its sizes. There are two kinds of transformer.
#[derive(Clone, Debug, PartialEq)]
pub enum Architecture {
    /// A transformer with causal attention: language models, and reward models made from them.
    Decoder(DecoderConfig),
    /// A transformer whose tokens attend in both directions: reward models only.
    Encoder(EncoderConfig),
}

/// The kind of normalisation of each token's hidden state.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum NormKind {
    /// RMS norm: divides by the root mean square, and multiplies by the weight plus `offset`.
    Rms {
        /// Added to the mean square before the root is taken.
        eps: f32,
        /// 1 for Gemma, whose weights are stored as their distance from 1; otherwise 0.
        offset: f32,
    },
    /// Layer norm: subtracts the mean, divides by the standard deviation, multiplies by the weight and adds a bias.
    Layer {
        /// Added to the variance before the root is taken.
        eps: f32,
    },
}

/// The names of a decoder's tensors in a checkpoint, without the endings `.weight` and `.bias`. The names of parts that
/// a family does not have are not used.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TensorNames {
    /// Name of the token embedding.
    pub embedding: &'static str,
    /// Name of the table of learned positions; `None` for a family with rotary positions.
    pub positions: Option<&'static str>,
    /// Prefix of the names of all tensors of layers. The layer's index and the name of a part follow, as in
    /// `model.layers.0.mlp.up_proj` for the prefix `model.layers`.
    pub layers: &'static str,
    /// Name of the norm before attention.
    pub attention_norm: &'static str,
    /// Names of the projections to queries, keys and values.
    pub qkv: QkvNames,
    /// Names of the norms that are applied to each head's queries and keys.
    pub qk_norm: [&'static str; 2],
    /// Name of attention's output projection.
    pub output: &'static str,
    /// Name of the norm after attention, for families that have one.
    pub after_attention: &'static str,
    /// Name of the norm before the feed-forward block.
    pub mlp_norm: &'static str,
    /// Name of the feed-forward block's gate projection.
    pub gate: &'static str,
    /// Name of the feed-forward block's up projection.
    pub up: &'static str,
    /// Name of the feed-forward block's down projection.
    pub down: &'static str,
    /// Name of the norm after the feed-forward block, for families that have one.
    pub after_mlp: &'static str,
    /// Name of the norm after the last layer.
    pub norm: &'static str,
    /// How files store the matrices of the layers: as in memory, or transposed (GPT-2).
    pub matrices: Form,
}

/// The names of the projections to queries, keys and values in a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum QkvNames {
    /// Three matrices; their names for query, key and value, in this order.
    Separate([&'static str; 3]),
    /// One matrix whose outputs are those of query, key and value, in this order (GPT-2).
    Fused(&'static str),
}

/// The settings in which the layers of one decoder may differ: attention's window and rotary positions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LayerConfig {
    /// Largest number of keys that a query attends to: its own and those directly before it. `None`: all keys up to its
    /// own.
    pub window: Option<usize>,
    /// Parameters of the rotary positions; `None` for a model with learned positions.
    pub rope: Option<RopeConfig>,
}

/// Sizes and settings of a decoder: a causal transformer.
#[derive(Clone, Debug, PartialEq)]
#[allow(clippy::struct_excessive_bools)]
pub struct DecoderConfig {
    /// Names of the tensors in a checkpoint.
    pub names: &'static TensorNames,
    /// Number of rows of the token embedding.
    pub vocab_size: usize,
    /// Width of the residual stream: the number of elements of a token's hidden state.
    pub hidden_size: usize,
    /// Width of the hidden layer of the feed-forward block.
    pub intermediate_size: usize,
    /// Largest number of tokens of a sequence.
    pub max_position_embeddings: usize,
    /// Number and size of the attention heads.
    pub heads: Heads,
    /// Settings of each layer, from the first to the last.
    pub layers: Vec<LayerConfig>,
    /// Kind of every norm of the model.
    pub norm: NormKind,
    /// Non-linearity of the feed-forward block.
    pub activation: Activation,
    /// Whether the feed-forward block has a gate: `down(activation(gate(x)) · up(x))` instead of
    /// `down(activation(up(x)))`.
    pub gated: bool,
    /// Whether the projections to queries, keys and values have biases.
    pub qkv_bias: bool,
    /// Whether attention's output projection has a bias.
    pub output_bias: bool,
    /// Whether the projections of the feed-forward block have biases.
    pub mlp_bias: bool,
    /// Whether each head's queries and keys are normalised (Qwen3, Gemma 3).
    pub qk_norm: bool,
    /// Whether attention and feed-forward blocks have a norm after them as well as before them (Gemma 3).
    pub sandwich: bool,
    /// Factor by which token embeddings are multiplied; 1 for most families.
    pub embedding_scale: f32,
    /// Factor by which attention scores are multiplied before the softmax, usually `1/√dim`.
    pub attention_scale: f32,
    /// Whether the token embedding is also the matrix of the output head.
    pub tied: bool,
}

/// How an encoder's attention uses the positions of tokens.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum PositionKind {
    /// Attention does not use positions; they are only added to the token embeddings (BERT, RoBERTa).
    Absolute,
    /// Attention adds scores that depend on the distance of two tokens (DeBERTa; He et al., 2021).
    Disentangled(RelativePositions),
}

/// Settings of DeBERTa's disentangled attention: which scores it adds, and the table of relative positions (embeddings
/// of distances) that these scores use.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(clippy::struct_excessive_bools)]
pub struct RelativePositions {
    /// Half the number of rows of the table of relative positions: rows for distances in one direction.
    pub span: usize,
    /// Buckets in which far distances share a row of the table; `None` where every distance has a row of its own.
    pub buckets: Option<DistanceBuckets>,
    /// Whether the content-to-position score is added: a query's content times the projected distance.
    pub c2p: bool,
    /// Whether the position-to-content score is added: a key's content times the projected distance.
    pub p2c: bool,
    /// Whether embeddings of distances are projected with the matrices that also project tokens to queries and keys
    /// (`share_att_key`). Otherwise, they have matrices of their own.
    pub shared: bool,
    /// Whether a layer norm is applied to the table of relative positions.
    pub normed: bool,
}

/// Buckets of distances between tokens: near distances have one each, and far ones share buckets of logarithmic width.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DistanceBuckets {
    /// Number of buckets in each direction; about half of them hold a single near distance.
    pub count: usize,
    /// Distance from which on all distances share the last bucket.
    pub farthest: usize,
}

/// The convolution over neighbouring tokens that some DeBERTa encoders run beside their first layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvolutionConfig {
    /// Number of tokens that the kernel covers; odd.
    pub width: usize,
    /// Non-linearity that is applied to the convolution's output.
    pub activation: Activation,
}

/// How the hidden state of a sequence's first token becomes the encoder's outputs: a dense layer, an activation, and
/// the layer that gives the outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pooling {
    /// BERT's layers: `bert.pooler.dense`, tanh, `classifier`.
    Bert,
    /// RoBERTa's layers: `classifier.dense`, tanh, `classifier.out_proj`.
    Roberta,
    /// DeBERTa's layers: `pooler.dense`, the activation given here, `classifier`.
    Deberta(Activation),
}

/// Sizes and settings of an encoder: a transformer that attends in both directions and has a fixed number of outputs
/// per sequence.
#[derive(Clone, Debug, PartialEq)]
pub struct EncoderConfig {
    /// First part of the names of the encoder's tensors in a checkpoint, such as `bert`.
    pub prefix: &'static str,
    /// Number of rows of the token embedding.
    pub vocab_size: usize,
    /// Width of the residual stream: the number of elements of a token's hidden state.
    pub hidden_size: usize,
    /// Width of the hidden layer of the feed-forward block.
    pub intermediate_size: usize,
    /// Number of layers of the encoder.
    pub layers: usize,
    /// Number and size of the attention heads.
    pub heads: Heads,
    /// Number of rows of the table of learned positions; `None` for a model with relative positions only.
    pub position_rows: Option<usize>,
    /// For RoBERTa: the id of the padding token. The first token of a sequence has the position row after this id.
    /// `None`: the first token has row 0.
    pub padding: Option<u32>,
    /// Largest number of tokens of a sequence.
    pub max_position_embeddings: usize,
    /// Number of rows of the table of segments (`token_type_ids`); 0 for a model without this table.
    pub segments: usize,
    /// Added to the variance before the root is taken, in every norm.
    pub eps: f32,
    /// Non-linearity of the feed-forward block.
    pub activation: Activation,
    /// How attention uses the positions of tokens.
    pub positions: PositionKind,
    /// The convolution beside the first layer; `None` for a model without one.
    pub convolution: Option<ConvolutionConfig>,
    /// How the hidden state of the first token becomes the outputs.
    pub pooling: Pooling,
}
