//! The family Gemma 3, text only.

use serde_json::Value;

use crate::architecture::{Architecture, DecoderConfig, LayerConfig, NormKind, TensorNames};
use crate::error::PolicyError;
use crate::families::shared::{heads, rope, windowed};
use crate::families::{Family, GgufFamily, llama};
use crate::fields::Fields;
use crate::gguf::Gguf;
use crate::ops::Activation;

/// The family Gemma 3 (Gemma Team, 2025). It has norms before and after every block, and of six layers, five attend to
/// a sliding window and one to all tokens.
pub(super) static GEMMA3: Family = Family {
    model_type: "gemma3_text",
    language_model: Some("Gemma3ForCausalLM"),
    classifier: "Gemma3TextForSequenceClassification",
    architecture: gemma3,
    gguf: Some(GgufFamily {
        architecture: "gemma3",
        config: gguf_config,
        // Gemma has a norm after attention as well as one before the feed-forward block.
        renamed: &[("post_attention_layernorm", "post_attention_norm")],
        row_order: None,
        // Hugging Face stores the distance of a norm's weights from 1, GGUF the whole weights.
        vector_offset: -1.0,
    }),
};

/// The tensor names of Gemma 3's checkpoints.
const NAMES: TensorNames = TensorNames { mlp_norm: "pre_feedforward_layernorm", ..llama::NAMES };

fn gemma3(f: Fields) -> Result<Architecture, String> {
    let hidden_size = f.size("hidden_size")?;
    let layers = f.depth("num_hidden_layers")?;
    f.refuse("attn_logit_softcapping", Value::is_null)?;
    f.refuse("final_logit_softcapping", Value::is_null)?;
    f.refuse("use_bidirectional_attention", |v| v == false)?;
    let pattern = f.size_or("sliding_window_pattern", f.size_or("_sliding_window_pattern", 6)?)?;
    let windows = windowed(f, layers, |i| !(i + 1).is_multiple_of(pattern))?;
    let window = f.size_or("sliding_window", 4096)?;
    // Newer files have rotary parameters for each kind of layer. Older ones have a base for each kind, and one scaling,
    // which applies to the layers with full attention.
    let by_kind = |key: &str| f.get("rope_parameters").and_then(|p| p.get(key));
    let local_theta = f.number_or("rope_local_base_freq", 10_000.0)?;
    let local = rope(f, by_kind("sliding_attention"), local_theta)?;
    let global_theta = f.number_or("rope_theta", 1_000_000.0)?;
    let global = rope(f, by_kind("full_attention").or_else(|| f.get("rope_scaling")), global_theta)?;
    let attention_bias = f.flag_or("attention_bias", false)?;
    Ok(Architecture::Decoder(DecoderConfig {
        names: &NAMES,
        vocab_size: f.size("vocab_size")?,
        hidden_size,
        intermediate_size: f.size("intermediate_size")?,
        max_position_embeddings: f.size_or("max_position_embeddings", 131_072)?,
        heads: heads(f, hidden_size, Some(256))?,
        layers: windows
            .into_iter()
            .map(|sliding| LayerConfig {
                window: sliding.then_some(window),
                rope: Some(if sliding { local } else { global }),
            })
            .collect(),
        norm: NormKind::Rms { eps: f.eps("rms_norm_eps", 1e-6)?, offset: 1.0 },
        activation: Activation::named(f.text_or("hidden_activation", "gelu_pytorch_tanh")?)?,
        gated: true,
        qkv_bias: attention_bias,
        output_bias: attention_bias,
        mlp_bias: false,
        qk_norm: true,
        sandwich: true,
        embedding_scale: (hidden_size as f32).sqrt(),
        attention_scale: 1.0 / (f.positive_or("query_pre_attn_scalar", 256.0)? as f32).sqrt(),
        tied: f.flag_or("tie_word_embeddings", true)?,
    }))
}

/// Makes the `config.json` from a GGUF file's metadata, with two values that llama.cpp does not store. One is the
/// activation. The other is the number by whose root attention scores are divided: for the 27B model, which llama.cpp
/// also recognises by its 62 layers, the width divided by the number of heads; for all other sizes, the size of a head.
fn gguf_config(gguf: &Gguf, model_type: &str) -> Result<Value, PolicyError> {
    let mut json = gguf.decoder_config(model_type)?;
    let scalar = if json["num_hidden_layers"] == 62 {
        let size = |key: &str| json[key].as_u64().unwrap_or(0);
        (size("hidden_size") / size("num_attention_heads").max(1)).into()
    } else {
        json["head_dim"].clone()
    };
    json["query_pre_attn_scalar"] = scalar;
    json["hidden_activation"] = "gelu_pytorch_tanh".into();
    gguf.with_rope_scaling(json)
}
