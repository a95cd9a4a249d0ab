//! One function per family: from Hugging Face's field names to what is computed.

use serde_json::Value;

use crate::architecture::{DecoderConfig, Disentangled, EncoderConfig, LayerConfig, Naming, NormKind, Pooling};
use crate::fields::Fields;
use crate::ops::{Activation, Heads, RopeConfig, RopeKind};

/// The rotary positions of `rope_parameters`, or of `rope_scaling` as older files write it.
fn rope(f: Fields, parameters: Option<&Value>, theta: f64) -> Result<RopeConfig, String> {
    let null = Value::Null;
    let p = Fields(parameters.unwrap_or(&null));
    if let Some(other) = parameters.filter(|v| !v.is_object()) {
        return Err(format!("`rope_scaling` is {other}, not a table"));
    }
    if f.number_or("partial_rotary_factor", 1.0)? < 1.0 {
        return Err("`partial_rotary_factor` below 1 is not supported".into());
    }
    let theta = p.number_or("rope_theta", theta)?;
    if theta <= 1.0 {
        return Err(format!("`rope_theta` is {theta}; it must be more than 1"));
    }
    if p.number_or("partial_rotary_factor", 1.0)? < 1.0 {
        return Err("`partial_rotary_factor` below 1 is not supported".into());
    }
    let kind = match p.text_or("rope_type", p.text_or("type", "default")?)? {
        // Up to the model's own positions, dynamic scaling changes nothing.
        "default" | "dynamic" => RopeKind::Default,
        "linear" => RopeKind::Linear { factor: p.positive("factor")? },
        "llama3" => RopeKind::Llama3 {
            factor: p.positive("factor")?,
            low: p.positive("low_freq_factor")?,
            high: p.positive("high_freq_factor")?,
            original: p.positive("original_max_position_embeddings")?,
        },
        "yarn" => {
            let original = p.positive_or("original_max_position_embeddings", f.number("max_position_embeddings")?)?;
            let factor = p.positive("factor")?;
            let magnitude = |m: f64| if factor <= 1.0 { 1.0 } else { 0.1 * m * factor.ln() + 1.0 };
            let computed = match (p.number_or("mscale", 0.0)?, p.number_or("mscale_all_dim", 0.0)?) {
                (a, b) if a != 0.0 && b != 0.0 => magnitude(a) / magnitude(b),
                _ => magnitude(1.0),
            };
            RopeKind::Yarn {
                factor,
                attention: p.positive_or("attention_factor", computed)?,
                beta_fast: p.positive_or("beta_fast", 32.0)?,
                beta_slow: p.positive_or("beta_slow", 1.0)?,
                original,
                truncate: p.flag_or("truncate", true)?,
            }
        }
        other => {
            return Err(format!(
                "`rope_scaling` of type `{other}` is not supported; supported: default, dynamic, linear, llama3, yarn"
            ));
        }
    };
    Ok(RopeConfig { theta, kind })
}

/// The positions that a model serves: YaRN is for going beyond those that it was trained on.
fn reach(rope: &RopeConfig, positions: usize) -> usize {
    match rope.kind {
        RopeKind::Yarn { factor, original, .. } => positions.max((factor * original).min(f64::from(1 << 24)) as usize),
        _ => positions,
    }
}

/// `rope_parameters`, or `rope_scaling` in older files.
fn rope_parameters(f: Fields<'_>) -> Option<&Value> {
    f.get("rope_parameters").or_else(|| f.get("rope_scaling"))
}

fn heads(f: Fields, width: usize, default_dim: Option<usize>) -> Result<Heads, String> {
    let query = f.size("num_attention_heads")?;
    let kv = f.size_or("num_key_value_heads", query)?;
    let dim = f.size_or("head_dim", default_dim.unwrap_or(width / query))?;
    if !query.is_multiple_of(kv) {
        return Err(format!("{query} attention heads cannot share {kv} key-value heads evenly"));
    }
    if dim == 0 || !dim.is_multiple_of(2) {
        return Err(format!("`head_dim` is {dim}; rotary positions need an even size"));
    }
    Ok(Heads { query, kv, dim })
}

/// Whether each layer looks at a window only: as `layer_types` lists, else by `otherwise`.
fn windowed(f: Fields, layers: usize, otherwise: impl Fn(usize) -> bool) -> Result<Vec<bool>, String> {
    let types = match f.get("layer_types") {
        None => return Ok((0..layers).map(otherwise).collect()),
        Some(Value::Array(types)) => types,
        Some(other) => return Err(format!("`layer_types` is {other}, not a list")),
    };
    if types.len() != layers {
        return Err(format!("`layer_types` has {} entries for {layers} layers", types.len()));
    }
    let kind = |t: &Value| match t.as_str() {
        Some("full_attention") => Ok(false),
        Some("sliding_attention") => Ok(true),
        _ => Err(format!("`layer_types` holds {t}; supported: full_attention, sliding_attention")),
    };
    types.iter().map(kind).collect()
}

pub(crate) fn llama(f: Fields, family: &str) -> Result<DecoderConfig, String> {
    let hidden_size = f.size("hidden_size")?;
    let heads = heads(f, hidden_size, (family == "qwen3").then_some(128))?;
    let layers = f.depth("num_hidden_layers")?;
    let theta = f.number_or("rope_theta", 10_000.0)?;
    let rope = rope(f, rope_parameters(f), theta)?;
    let windows = match family {
        "mistral" => windowed(f, layers, |_| true)?,
        "qwen2" | "qwen3" if f.flag_or("use_sliding_window", false)? => {
            let full = f.integer_or("max_window_layers", 28)?.max(0) as usize;
            windowed(f, layers, |i| i >= full)?
        }
        _ => vec![false; layers],
    };
    // `null` means no window; a file that says nothing means 4096, as `transformers` has it.
    let window = match f.0.get("sliding_window") {
        _ if !windows.contains(&true) => None,
        Some(Value::Null) => None,
        Some(_) => Some(f.size("sliding_window")?),
        None => Some(4096),
    };
    let attention_bias = f.flag_or("attention_bias", false)?;
    Ok(DecoderConfig {
        naming: Naming::Llama,
        vocab_size: f.size("vocab_size")?,
        hidden_size,
        intermediate_size: f.size("intermediate_size")?,
        max_position_embeddings: reach(&rope, f.size_or("max_position_embeddings", 2048)?),
        heads,
        layers: windows
            .into_iter()
            .map(|sliding| LayerConfig { window: window.filter(|_| sliding), rope: Some(rope) })
            .collect(),
        norm: NormKind::Rms { eps: f.eps("rms_norm_eps", 1e-6)?, offset: 0.0 },
        activation: Activation::named(f.text_or("hidden_act", "silu")?)?,
        gated: true,
        qkv_bias: family == "qwen2" || attention_bias,
        output_bias: attention_bias && family != "qwen2",
        mlp_bias: f.flag_or("mlp_bias", false)?,
        qk_norm: family == "qwen3",
        sandwich: false,
        embedding_scale: 1.0,
        attention_scale: 1.0 / (heads.dim as f32).sqrt(),
        tied: f.flag_or("tie_word_embeddings", false)?,
    })
}

pub(crate) fn gemma3(f: Fields) -> Result<DecoderConfig, String> {
    let hidden_size = f.size("hidden_size")?;
    let layers = f.depth("num_hidden_layers")?;
    f.refuse("attn_logit_softcapping", Value::is_null)?;
    f.refuse("final_logit_softcapping", Value::is_null)?;
    f.refuse("use_bidirectional_attention", |v| v == false)?;
    let pattern = f.size_or("sliding_window_pattern", f.size_or("_sliding_window_pattern", 6)?)?;
    let windows = windowed(f, layers, |i| !(i + 1).is_multiple_of(pattern))?;
    let window = f.size_or("sliding_window", 4096)?;
    // Newer files name the positions of each kind of layer; older ones have two bases and one scaling.
    let by_kind = |key: &str| f.get("rope_parameters").and_then(|p| p.get(key));
    let local_theta = f.number_or("rope_local_base_freq", 10_000.0)?;
    let local = rope(f, by_kind("sliding_attention"), local_theta)?;
    let global_theta = f.number_or("rope_theta", 1_000_000.0)?;
    let global = rope(f, by_kind("full_attention").or_else(|| f.get("rope_scaling")), global_theta)?;
    let attention_bias = f.flag_or("attention_bias", false)?;
    Ok(DecoderConfig {
        naming: Naming::Llama,
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
    })
}

pub(crate) fn gpt2(f: Fields) -> Result<DecoderConfig, String> {
    let hidden_size = f.size("n_embd")?;
    let query = f.size("n_head")?;
    if !hidden_size.is_multiple_of(query) {
        return Err(format!("`n_embd` {hidden_size} is not a multiple of `n_head` {query}"));
    }
    let heads = Heads { query, kv: query, dim: hidden_size / query };
    f.refuse("scale_attn_by_inverse_layer_idx", |v| v == false)?;
    f.refuse("scale_attn_weights", |v| v == true)?;
    Ok(DecoderConfig {
        naming: Naming::Gpt2,
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
    })
}

fn segments(f: Fields, default: i64) -> Result<usize, String> {
    let n = f.integer_or("type_vocab_size", default)?;
    usize::try_from(n).ok().filter(|n| *n <= 1 << 16).ok_or_else(|| format!("`type_vocab_size` cannot be {n}"))
}

pub(crate) fn bert(f: Fields, prefix: &'static str, pooling: Pooling) -> Result<EncoderConfig, String> {
    let hidden_size = f.size("hidden_size")?;
    let query = f.size("num_attention_heads")?;
    if !hidden_size.is_multiple_of(query) {
        return Err(format!("`hidden_size` {hidden_size} is not a multiple of {query} attention heads"));
    }
    f.refuse("position_embedding_type", |v| v == "absolute")?;
    f.refuse("is_decoder", |v| v == false)?;
    let rows = f.size_or("max_position_embeddings", 512)?;
    let padding = match pooling {
        Pooling::Roberta => {
            let id = f.integer_or("pad_token_id", 1)?;
            Some(u32::try_from(id).map_err(|_| format!("`pad_token_id` is {id}; it must be a token"))?)
        }
        _ => None,
    };
    let first = padding.map_or(0, |p| p as usize + 1);
    if first >= rows {
        return Err(format!("`pad_token_id` leaves no room among {rows} positions"));
    }
    Ok(EncoderConfig {
        prefix,
        vocab_size: f.size("vocab_size")?,
        hidden_size,
        intermediate_size: f.size("intermediate_size")?,
        layers: f.depth("num_hidden_layers")?,
        heads: Heads { query, kv: query, dim: hidden_size / query },
        position_rows: Some(rows),
        padding,
        max_position_embeddings: rows - first,
        segments: segments(f, 2)?,
        eps: f.eps("layer_norm_eps", 1e-12)?,
        activation: Activation::named(f.text_or("hidden_act", "gelu")?)?,
        disentangled: Disentangled::No,
        convolution: None,
        pooling,
    })
}

pub(crate) fn deberta(f: Fields) -> Result<EncoderConfig, String> {
    let shape = bert(f, "deberta", Pooling::Bert)?;
    f.refuse("embedding_size", |v| v == shape.hidden_size)?;
    f.refuse("attention_head_size", |v| v == shape.heads.dim)?;
    f.refuse("conv_groups", |v| v == 1)?;
    f.refuse("pooler_hidden_size", |v| v == shape.hidden_size)?;
    let rows = shape.max_position_embeddings;
    let biased = f.flag_or("position_biased_input", true)?;
    let disentangled = if f.flag_or("relative_attention", false)? {
        let farthest = match f.integer_or("max_relative_positions", -1)? {
            n if n < 1 => rows,
            n => n as usize,
        };
        let buckets = match f.integer_or("position_buckets", -1)? {
            n if n < 1 => None,
            n => Some((n as usize, farthest)),
        };
        // Older files write `c2p|p2c`, newer ones a list.
        let kinds: Vec<&str> = match f.get("pos_att_type") {
            Some(Value::String(text)) => text.split('|').map(str::trim).collect(),
            Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).collect(),
            None => Vec::new(),
            Some(other) => return Err(format!("`pos_att_type` is {other}, not a list of texts")),
        };
        if let Some(other) = kinds.iter().find(|k| !["c2p", "p2c", ""].contains(k)) {
            return Err(format!("`pos_att_type` holds `{other}`; supported: c2p, p2c"));
        }
        Disentangled::Yes {
            span: buckets.map_or(farthest, |(n, _)| n),
            buckets,
            c2p: kinds.contains(&"c2p"),
            p2c: kinds.contains(&"p2c"),
            shared: f.flag_or("share_att_key", false)?,
            normed: f.text_or("norm_rel_ebd", "none")?.to_lowercase().split('|').any(|k| k.trim() == "layer_norm"),
        }
    } else {
        Disentangled::No
    };
    let convolution = match f.integer_or("conv_kernel_size", 0)? {
        n if n < 1 => None,
        n if n % 2 == 0 => return Err(format!("`conv_kernel_size` {n} is even; odd ones are supported")),
        n => Some((n as usize, Activation::named(f.text_or("conv_act", "tanh")?)?)),
    };
    Ok(EncoderConfig {
        position_rows: biased.then_some(rows),
        segments: segments(f, 0)?,
        eps: f.eps("layer_norm_eps", 1e-7)?,
        disentangled,
        convolution,
        pooling: Pooling::Deberta(Activation::named(f.text_or("pooler_hidden_act", "gelu")?)?),
        ..shape
    })
}
