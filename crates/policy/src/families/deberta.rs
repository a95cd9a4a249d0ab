//! The family DeBERTa v2 and v3.

use serde_json::Value;

use crate::architecture::{
    Architecture, ConvolutionConfig, DistanceBuckets, EncoderConfig, Pooling, PositionKind, RelativePositions,
};
use crate::families::Family;
use crate::families::bert::{bert, segments};
use crate::fields::Fields;
use crate::ops::Activation;

/// The family DeBERTa v2 (He et al., 2021) and v3.
pub(super) static DEBERTA_V2: Family = Family {
    model_type: "deberta-v2",
    language_model: None,
    classifier: "DebertaV2ForSequenceClassification",
    architecture: deberta,
    gguf: None,
};

fn deberta(f: Fields) -> Result<Architecture, String> {
    let shape = bert(f, "deberta", Pooling::Bert)?;
    f.refuse("embedding_size", |v| v == shape.hidden_size)?;
    f.refuse("attention_head_size", |v| v == shape.heads.dim)?;
    f.refuse("conv_groups", |v| v == 1)?;
    f.refuse("pooler_hidden_size", |v| v == shape.hidden_size)?;
    let rows = shape.max_position_embeddings;
    let biased = f.flag_or("position_biased_input", true)?;
    let positions =
        if f.flag_or("relative_attention", false)? { disentangled(f, rows)? } else { PositionKind::Absolute };
    let convolution = match f.integer_or("conv_kernel_size", 0)? {
        n if n < 1 => None,
        n if n % 2 == 0 => return Err(format!("`conv_kernel_size` {n} is even; odd ones are supported")),
        n => {
            let activation = Activation::named(f.text_or("conv_act", "tanh")?)?;
            Some(ConvolutionConfig { width: n as usize, activation })
        }
    };
    Ok(Architecture::Encoder(EncoderConfig {
        position_rows: biased.then_some(rows),
        segments: segments(f, 0)?,
        eps: f.eps("layer_norm_eps", 1e-7)?,
        positions,
        convolution,
        pooling: Pooling::Deberta(Activation::named(f.text_or("pooler_hidden_act", "gelu")?)?),
        ..shape
    }))
}

/// Reads the settings of disentangled attention. `rows` is the largest distance where the file does not give one.
fn disentangled(f: Fields, rows: usize) -> Result<PositionKind, String> {
    let farthest = match f.integer_or("max_relative_positions", -1)? {
        n if n < 1 => rows,
        n => n as usize,
    };
    let buckets = match f.integer_or("position_buckets", -1)? {
        n if n < 1 => None,
        n => Some(DistanceBuckets { count: n as usize, farthest }),
    };
    // Older files write a text such as `c2p|p2c`, newer ones a list.
    let kinds: Vec<&str> = match f.get("pos_att_type") {
        Some(Value::String(text)) => text.split('|').map(str::trim).collect(),
        Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).collect(),
        None => Vec::new(),
        Some(other) => return Err(format!("`pos_att_type` is {other}, not a list of texts")),
    };
    if let Some(other) = kinds.iter().find(|k| !["c2p", "p2c", ""].contains(k)) {
        return Err(format!("`pos_att_type` holds `{other}`; supported: c2p, p2c"));
    }
    Ok(PositionKind::Disentangled(RelativePositions {
        span: buckets.map_or(farthest, |b| b.count),
        buckets,
        c2p: kinds.contains(&"c2p"),
        p2c: kinds.contains(&"p2c"),
        shared: f.flag_or("share_att_key", false)?,
        normed: f.text_or("norm_rel_ebd", "none")?.to_lowercase().split('|').any(|k| k.trim() == "layer_norm"),
    }))
}
