//! Reading those fields of a `config.json` that several families have.

use serde_json::Value;

use crate::fields::Fields;
use crate::ops::{Heads, RopeConfig, RopeKind};

/// Reads the parameters of rotary positions from `parameters`. `theta` is the base of the frequencies where
/// `parameters` has none.
pub(super) fn rope(f: Fields, parameters: Option<&Value>, theta: f64) -> Result<RopeConfig, String> {
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
        // Dynamic scaling changes nothing up to the trained length, and longer sequences are refused.
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

/// Largest number of tokens of a sequence: `positions`, or under YaRN, which extends the length, the trained length
/// times the factor if that is larger.
pub(super) fn served_positions(rope: &RopeConfig, positions: usize) -> usize {
    match rope.kind {
        RopeKind::Yarn { factor, original, .. } => positions.max((factor * original).min(f64::from(1 << 24)) as usize),
        _ => positions,
    }
}

/// Returns the table of rotary parameters: `rope_parameters`, which older files call `rope_scaling`.
pub(super) fn rope_parameters(f: Fields<'_>) -> Option<&Value> {
    f.get("rope_parameters").or_else(|| f.get("rope_scaling"))
}

/// Reads number and size of the attention heads of a model of this width. `default_dim` is the size of a head where the
/// file gives none; `None`: the width divided by the number of heads.
pub(super) fn heads(f: Fields, width: usize, default_dim: Option<usize>) -> Result<Heads, String> {
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

/// Reads for each layer whether it attends to a sliding window: from `layer_types`, or, where the file does not have
/// this key, from the layer's index as `otherwise` says.
pub(super) fn windowed(f: Fields, layers: usize, otherwise: impl Fn(usize) -> bool) -> Result<Vec<bool>, String> {
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
