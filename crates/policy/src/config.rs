//! A model's `config.json`, checked. Values that rlar does not support are refused here, before memory is allocated for
//! the model.

use serde_json::Value;

use crate::architecture::Architecture;
use crate::families::Family;
use crate::fields::Fields;

/// Largest number of outputs of a classifier that is accepted.
const MOST_LABELS: usize = 4096;

/// A model's `config.json`, checked: its family, architecture and sizes are known and supported.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelConfig {
    /// The contents of the file as it was read. Saving a model writes them back.
    pub(crate) json: Value,
    pub(crate) family: &'static Family,
    /// The model's architecture with all its sizes.
    pub architecture: Architecture,
    /// Number of outputs of a `…ForSequenceClassification` model (a reward model); `None` for a language model.
    pub labels: Option<usize>,
}

impl ModelConfig {
    /// Reads and checks the text of a `config.json`. The error names the key that is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        Self::new(serde_json::from_str(text).map_err(|e| format!("not a model configuration: {e}"))?)
    }

    /// Checks the contents of a `config.json`. The error names the key that is wrong.
    pub fn new(json: Value) -> Result<Self, String> {
        let f = Fields(&json);
        f.refuse("quantization_config", Value::is_null)?;
        let family = Family::of_model_type(f.text_or("model_type", "")?)?;
        let architecture = (family.architecture)(f)?;
        let labels = labels(f, &architecture)?;
        Ok(Self { json, family, architecture, labels })
    }

    /// The name of the `transformers` class that `architectures` of a saved `config.json` names.
    pub(crate) fn class(&self) -> &'static str {
        self.family.class(self.labels)
    }

    /// Id of the padding token (`pad_token_id`), with which `transformers` pads batches; `None` where the file names
    /// none.
    pub(crate) fn padding(&self) -> Option<u32> {
        self.json.get("pad_token_id").and_then(Value::as_u64).and_then(|id| u32::try_from(id).ok())
    }

    /// Number of rows of the token embedding, which limits the token ids that the model accepts.
    pub fn vocab_size(&self) -> usize {
        match &self.architecture {
            Architecture::Decoder(d) => d.vocab_size,
            Architecture::Encoder(e) => e.vocab_size,
        }
    }

    /// Largest number of tokens of a sequence.
    pub fn positions(&self) -> usize {
        match &self.architecture {
            Architecture::Decoder(d) => d.max_position_embeddings,
            Architecture::Encoder(e) => e.max_position_embeddings,
        }
    }
}

/// Number of outputs of a classifier, or `None` for a language model. The class that `architectures` names decides
/// which of the two it is.
fn labels(f: Fields, architecture: &Architecture) -> Result<Option<usize>, String> {
    let class = f.0["architectures"][0].as_str().unwrap_or_default();
    if class.ends_with("ForSequenceClassification") {
        let labels = match f.get("id2label") {
            Some(Value::Object(names)) => names.len(),
            Some(other) => return Err(format!("`id2label` is {other}, not a table of names")),
            None => f.size_or("num_labels", 2)?,
        };
        if labels == 0 || labels > MOST_LABELS {
            return Err(format!("`id2label` names {labels} labels; it must name 1 to {MOST_LABELS}"));
        }
        return Ok(Some(labels));
    }
    if matches!(architecture, Architecture::Encoder(_)) {
        return Err(format!(
            "`architectures` {class} is not supported; supported for encoders: …ForSequenceClassification"
        ));
    }
    if !class.is_empty() && !class.ends_with("ForCausalLM") && !class.ends_with("LMHeadModel") {
        return Err(format!(
            "`architectures` {class} is not supported; supported: …ForCausalLM, …ForSequenceClassification"
        ));
    }
    Ok(None)
}
