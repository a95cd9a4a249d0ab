//! The families BERT, RoBERTa and XLM-RoBERTa.

use crate::architecture::{Architecture, EncoderConfig, Pooling, PositionKind};
use crate::families::Family;
use crate::fields::Fields;
use crate::ops::{Activation, Heads};

/// The family BERT (Devlin et al., 2019).
pub(super) static BERT: Family = Family {
    model_type: "bert",
    language_model: None,
    classifier: "BertForSequenceClassification",
    architecture: |f| Ok(Architecture::Encoder(bert(f, "bert", Pooling::Bert)?)),
    gguf: None,
};

/// The family RoBERTa (Liu et al., 2019).
pub(super) static ROBERTA: Family = Family {
    model_type: "roberta",
    language_model: None,
    classifier: "RobertaForSequenceClassification",
    architecture: roberta,
    gguf: None,
};

/// The family XLM-RoBERTa (Conneau et al., 2020).
pub(super) static XLM_ROBERTA: Family = Family {
    model_type: "xlm-roberta",
    language_model: None,
    classifier: "XLMRobertaForSequenceClassification",
    architecture: roberta,
    gguf: None,
};

fn roberta(f: Fields) -> Result<Architecture, String> {
    Ok(Architecture::Encoder(bert(f, "roberta", Pooling::Roberta)?))
}

/// Reads the configuration of a model with BERT's layers, whose tensors are named `prefix.…`.
pub(super) fn bert(f: Fields, prefix: &'static str, pooling: Pooling) -> Result<EncoderConfig, String> {
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
        return Err(format!(
            "`pad_token_id` {} is too large: positions start after it, and `max_position_embeddings` is {rows}",
            padding.unwrap_or_default()
        ));
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
        positions: PositionKind::Absolute,
        convolution: None,
        pooling,
    })
}

/// Reads the number of rows of the table of segments (`type_vocab_size`); 0 means that there is no such table.
pub(super) fn segments(f: Fields, default: i64) -> Result<usize, String> {
    let n = f.integer_or("type_vocab_size", default)?;
    usize::try_from(n).ok().filter(|n| *n <= 1 << 16).ok_or_else(|| format!("`type_vocab_size` cannot be {n}"))
}
