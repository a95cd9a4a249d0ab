//! The family GPT-2.

use serde_json::{Value, json};

use crate::architecture::{Architecture, DecoderConfig, LayerConfig, NormKind, QkvNames, TensorNames};
use crate::error::PolicyError;
use crate::families::{Family, GgufFamily};
use crate::fields::Fields;
use crate::gguf::Gguf;
use crate::layout::Form;
use crate::ops::{Activation, Heads};

/// The family GPT-2 (Radford et al., 2019). It has learned positions, layer norms, and no gates.
pub(super) static GPT2: Family = Family {
    model_type: "gpt2",
    language_model: Some("GPT2LMHeadModel"),
    classifier: "GPT2ForSequenceClassification",
    architecture: gpt2,
    gguf: Some(GgufFamily {
        architecture: "gpt2",
        config: gguf_config,
        renamed: &[
            ("transformer.wte", "token_embd"),
            ("transformer.wpe", "position_embd"),
            ("transformer.ln_f", "output_norm"),
            ("transformer.h", "blk"),
            ("ln_1", "attn_norm"),
            ("ln_2", "ffn_norm"),
            ("attn.c_attn", "attn_qkv"),
            ("attn.c_proj", "attn_output"),
            ("mlp.c_fc", "ffn_up"),
            ("mlp.c_proj", "ffn_down"),
        ],
        row_order: None,
        vector_offset: 0.0,
    }),
};

/// The names of GPT-2's tensors in checkpoints. Parts that GPT-2 does not have keep Llama's names, which are not used.
const NAMES: TensorNames = TensorNames {
    embedding: "transformer.wte",
    positions: Some("transformer.wpe"),
    layers: "transformer.h",
    attention_norm: "ln_1",
    qkv: QkvNames::Fused("attn.c_attn"),
    output: "attn.c_proj",
    mlp_norm: "ln_2",
    up: "mlp.c_fc",
    down: "mlp.c_proj",
    norm: "transformer.ln_f",
    matrices: Form::Transposed,
    ..super::llama::NAMES
};

fn gpt2(f: Fields) -> Result<Architecture, String> {
    let hidden_size = f.size("n_embd")?;
    let query = f.size("n_head")?;
    if !hidden_size.is_multiple_of(query) {
        return Err(format!("`n_embd` {hidden_size} is not a multiple of `n_head` {query}"));
    }
    let heads = Heads { query, kv: query, dim: hidden_size / query };
    f.refuse("scale_attn_by_inverse_layer_idx", |v| v == false)?;
    f.refuse("scale_attn_weights", |v| v == true)?;
    Ok(Architecture::Decoder(DecoderConfig {
        names: &NAMES,
        vocab_size: f.size("vocab_size")?,
        hidden_size,
        intermediate_size: f.size_or("n_inner", 4 * hidden_size)?,
        max_position_embeddings: f.size_or("n_positions", 1024)?,
        heads,
        layers: vec![LayerConfig { window: None, rope: None }; f.depth("n_layer")?],
        norm: NormKind::Layer { eps: f.eps("layer_norm_epsilon", 1e-5)? },
        activation: Activation::named(f.text_or("activation_function", "gelu_new")?)?,
        gated: false,
        qkv_bias: true,
        output_bias: true,
        mlp_bias: true,
        qk_norm: false,
        sandwich: false,
        embedding_scale: 1.0,
        attention_scale: 1.0 / (heads.dim as f32).sqrt(),
        tied: f.flag_or("tie_word_embeddings", true)?,
    }))
}

fn gguf_config(gguf: &Gguf, model_type: &str) -> Result<Value, PolicyError> {
    Ok(json!({
        "model_type": model_type,
        "vocab_size": gguf.vocab_size()?,
        "n_embd": gguf.own_size("embedding_length")?,
        "n_head": gguf.own_size("attention.head_count")?,
        "n_inner": gguf.own_size("feed_forward_length")?,
        "n_layer": gguf.own_size("block_count")?,
        "n_positions": gguf.own_size("context_length")?,
        "layer_norm_epsilon": gguf.own_float("attention.layer_norm_epsilon")?,
        "tie_word_embeddings": !gguf.has_tensor("output.weight"),
    }))
}
