//! The family Llama and its relatives: Mistral, Qwen2 and Qwen3.

use serde_json::Value;

use crate::architecture::{Architecture, DecoderConfig, LayerConfig, NormKind, QkvNames, TensorNames};
use crate::families::shared::{heads, rope, rope_parameters, served_positions, windowed};
use crate::families::{Family, GgufFamily};
use crate::fields::Fields;
use crate::gguf::Gguf;
use crate::layout::{Form, Spec};
use crate::ops::{Activation, Heads};

/// The family Llama (Touvron et al., 2023), versions 1 to 3.
pub(super) static LLAMA: Family = Family {
    model_type: "llama",
    language_model: Some("LlamaForCausalLM"),
    classifier: "LlamaForSequenceClassification",
    architecture: |f| llama(f, &Variant { head_dim: None, windows: None, qkv_bias: false, qk_norm: false }),
    gguf: Some(GgufFamily {
        architecture: "llama",
        config: Gguf::llama_config,
        renamed: &[],
        row_order: Some(deinterleaved),
        vector_offset: 0.0,
    }),
};

/// The family Mistral (Jiang et al., 2023). Every layer attends to a sliding window.
pub(super) static MISTRAL: Family = Family {
    model_type: "mistral",
    language_model: Some("MistralForCausalLM"),
    classifier: "MistralForSequenceClassification",
    architecture: |f| {
        llama(f, &Variant { head_dim: None, windows: Some(all_windows), qkv_bias: false, qk_norm: false })
    },
    gguf: None,
};

/// The family Qwen2, with Qwen2.5. The projections to queries, keys and values have biases.
pub(super) static QWEN2: Family = Family {
    model_type: "qwen2",
    language_model: Some("Qwen2ForCausalLM"),
    classifier: "Qwen2ForSequenceClassification",
    architecture: |f| {
        llama(f, &Variant { head_dim: None, windows: Some(upper_windows), qkv_bias: true, qk_norm: false })
    },
    gguf: Some(GgufFamily {
        architecture: "qwen2",
        config: |gguf, model_type| {
            let mut json = gguf.llama_config(model_type)?;
            // The biases that the file has are those of every Qwen2, not those that `attention_bias` adds.
            json["attention_bias"] = false.into();
            Ok(json)
        },
        renamed: &[],
        row_order: None,
        vector_offset: 0.0,
    }),
};

/// The family Qwen3. Each head's queries and keys are normalised.
pub(super) static QWEN3: Family = Family {
    model_type: "qwen3",
    language_model: Some("Qwen3ForCausalLM"),
    classifier: "Qwen3ForSequenceClassification",
    architecture: |f| {
        llama(f, &Variant { head_dim: Some(128), windows: Some(upper_windows), qkv_bias: false, qk_norm: true })
    },
    gguf: Some(GgufFamily {
        architecture: "qwen3",
        config: Gguf::llama_config,
        renamed: &[],
        row_order: None,
        vector_offset: 0.0,
    }),
};

/// Function that says for each layer whether it attends to a sliding window, given the configuration and the number of
/// layers.
type Windows = fn(Fields, usize) -> Result<Vec<bool>, String>;

/// The points in which a relative of Llama differs from Llama.
struct Variant {
    /// Size of a head where the file gives none; `None`: the width of the model divided by the number of heads.
    head_dim: Option<usize>,
    /// Which layers attend to a sliding window; `None`: no layer does.
    windows: Option<Windows>,
    /// Whether, regardless of `attention_bias`, the projections to queries, keys and values have biases and attention's
    /// output projection has none.
    qkv_bias: bool,
    /// Whether each head's queries and keys are normalised.
    qk_norm: bool,
}

/// The windows of Mistral: every layer attends to a sliding window.
fn all_windows(f: Fields, layers: usize) -> Result<Vec<bool>, String> {
    windowed(f, layers, |_| true)
}

/// The windows of Qwen: where `use_sliding_window` is true, the layers from `max_window_layers` up attend to a sliding
/// window.
fn upper_windows(f: Fields, layers: usize) -> Result<Vec<bool>, String> {
    if !f.flag_or("use_sliding_window", false)? {
        return Ok(vec![false; layers]);
    }
    let full = f.integer_or("max_window_layers", 28)?.max(0) as usize;
    windowed(f, layers, |i| i >= full)
}

/// The names of Llama's tensors in checkpoints.
pub(super) const NAMES: TensorNames = TensorNames {
    embedding: "model.embed_tokens",
    positions: None,
    layers: "model.layers",
    attention_norm: "input_layernorm",
    qkv: QkvNames::Separate(["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"]),
    qk_norm: ["self_attn.q_norm", "self_attn.k_norm"],
    output: "self_attn.o_proj",
    after_attention: "post_attention_layernorm",
    mlp_norm: "post_attention_layernorm",
    gate: "mlp.gate_proj",
    up: "mlp.up_proj",
    down: "mlp.down_proj",
    after_mlp: "post_feedforward_layernorm",
    norm: "model.norm",
    matrices: Form::Matrix,
};

fn llama(f: Fields, variant: &Variant) -> Result<Architecture, String> {
    let hidden_size = f.size("hidden_size")?;
    let heads = heads(f, hidden_size, variant.head_dim)?;
    let layers = f.depth("num_hidden_layers")?;
    let theta = f.number_or("rope_theta", 10_000.0)?;
    let rope = rope(f, rope_parameters(f), theta)?;
    let windows = match variant.windows {
        Some(windows) => windows(f, layers)?,
        None => vec![false; layers],
    };
    // `sliding_window: null` means no window. Without the key, the window is 4096, as in `transformers`.
    let window = match f.0.get("sliding_window") {
        _ if !windows.contains(&true) => None,
        Some(Value::Null) => None,
        Some(_) => Some(f.size("sliding_window")?),
        None => Some(4096),
    };
    let attention_bias = f.flag_or("attention_bias", false)?;
    Ok(Architecture::Decoder(DecoderConfig {
        names: &NAMES,
        vocab_size: f.size("vocab_size")?,
        hidden_size,
        intermediate_size: f.size("intermediate_size")?,
        max_position_embeddings: served_positions(&rope, f.size_or("max_position_embeddings", 2048)?),
        heads,
        layers: windows
            .into_iter()
            .map(|sliding| LayerConfig { window: window.filter(|_| sliding), rope: Some(rope) })
            .collect(),
        norm: NormKind::Rms { eps: f.eps("rms_norm_eps", 1e-6)?, offset: 0.0 },
        activation: Activation::named(f.text_or("hidden_act", "silu")?)?,
        gated: true,
        qkv_bias: variant.qkv_bias || attention_bias,
        output_bias: attention_bias && !variant.qkv_bias,
        mlp_bias: f.flag_or("mlp_bias", false)?,
        qk_norm: variant.qk_norm,
        sandwich: false,
        embedding_scale: 1.0,
        attention_scale: 1.0 / (heads.dim as f32).sqrt(),
        tied: f.flag_or("tie_word_embeddings", false)?,
    }))
}

/// The order that puts the rows of query and key projections into Hugging Face's. In GGUF files, llama.cpp interleaves
/// the two halves of each head that rotary positions rotate against each other.
fn deinterleaved(spec: &Spec, heads: Heads) -> Option<Vec<usize>> {
    let heads = if spec.name.contains("q_proj.") {
        heads.query
    } else if spec.name.contains("k_proj.") {
        heads.kv
    } else {
        return None;
    };
    let rows = if spec.form == Form::Vector { spec.shape[1] } else { spec.shape[0] };
    let dim = rows / heads;
    let half = dim / 2;
    let stored_row = |r: usize| {
        let (head, i) = (r / dim, r % dim);
        head * dim + (i % half) * 2 + i / half
    };
    Some((0..rows).map(stored_row).collect())
}
