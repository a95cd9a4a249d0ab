//! A `config.json`, checked: what it asks for and rlar cannot do is refused here, before any memory is taken.

use serde_json::Value;

use crate::architecture::{Architecture, Pooling};
use crate::families::{bert, deberta, gemma3, gpt2, llama};
use crate::fields::Fields;

/// The model types that are known.
pub const SUPPORTED: &str = "llama, mistral, qwen2, qwen3, gemma3_text, gpt2, bert, roberta, xlm-roberta, deberta-v2";

/// A checked `config.json`.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelConfig {
    /// The file as it was read; saving writes it back.
    pub(crate) json: Value,
    /// What is computed.
    pub architecture: Architecture,
    /// Outputs of a `…ForSequenceClassification` model; none for a language model.
    pub labels: Option<usize>,
}

impl ModelConfig {
    /// Reads and checks the text of a `config.json`.
    pub fn parse(text: &str) -> Result<Self, String> {
        Self::new(serde_json::from_str(text).map_err(|e| format!("not a model configuration: {e}"))?)
    }

    /// Checks the contents of a `config.json`.
    pub fn new(json: Value) -> Result<Self, String> {
        let f = Fields(&json);
        f.refuse("quantization_config", Value::is_null)?;
        let family = f.text_or("model_type", "")?;
        let architecture = match family {
            "llama" | "mistral" | "qwen2" | "qwen3" => Architecture::Decoder(llama(f, family)?),
            "gemma3_text" => Architecture::Decoder(gemma3(f)?),
            "gpt2" => Architecture::Decoder(gpt2(f)?),
            "bert" => Architecture::Encoder(bert(f, "bert", Pooling::Bert)?),
            "roberta" | "xlm-roberta" => Architecture::Encoder(bert(f, "roberta", Pooling::Roberta)?),
            "deberta-v2" => Architecture::Encoder(deberta(f)?),
            _ => return Err(format!("architecture `{family}` is not supported; supported: {SUPPORTED}")),
        };
        let class = json["architectures"][0].as_str().unwrap_or_default();
        let labels = if class.ends_with("ForSequenceClassification") {
            let labels = match f.get("id2label") {
                Some(Value::Object(names)) => names.len(),
                Some(other) => return Err(format!("`id2label` is {other}, not a table of names")),
                None => f.size_or("num_labels", 2)?,
            };
            if labels == 0 || labels > 4096 {
                return Err(format!("`id2label` names {labels} labels; it must name 1 to 4096"));
            }
            Some(labels)
        } else {
            None
        };
        if labels.is_none() && matches!(architecture, Architecture::Encoder(_)) {
            return Err(format!(
                "`architectures` {class} is not supported; of encoders, …ForSequenceClassification is"
            ));
        }
        if labels.is_none() && !class.is_empty() && !class.ends_with("ForCausalLM") && !class.ends_with("LMHeadModel") {
            return Err(format!(
                "`architectures` {class} is not supported; supported: …ForCausalLM, …ForSequenceClassification"
            ));
        }
        Ok(Self { json, architecture, labels })
    }

    /// The token that fills batches elsewhere.
    pub(crate) fn padding(&self) -> Option<u32> {
        self.json.get("pad_token_id").and_then(Value::as_u64).and_then(|id| u32::try_from(id).ok())
    }

    /// Rows of the embedding.
    pub fn vocab_size(&self) -> usize {
        match &self.architecture {
            Architecture::Decoder(d) => d.vocab_size,
            Architecture::Encoder(e) => e.vocab_size,
        }
    }

    /// Longest sequence.
    pub fn positions(&self) -> usize {
        match &self.architecture {
            Architecture::Decoder(d) => d.max_position_embeddings,
            Architecture::Encoder(e) => e.max_position_embeddings,
        }
    }
}

/// The class of `transformers` that a saved model names.
pub(crate) fn class(config: &ModelConfig) -> String {
    let family = match config.json["model_type"].as_str().unwrap_or_default() {
        "llama" => "Llama",
        "mistral" => "Mistral",
        "qwen2" => "Qwen2",
        "qwen3" => "Qwen3",
        "gemma3_text" => "Gemma3",
        "gpt2" => "GPT2",
        "bert" => "Bert",
        "roberta" => "Roberta",
        "xlm-roberta" => "XLMRoberta",
        _ => "DebertaV2",
    };
    match (family, config.labels) {
        ("GPT2", None) => "GPT2LMHeadModel".into(),
        ("Gemma3", Some(_)) => "Gemma3TextForSequenceClassification".into(),
        (_, None) => format!("{family}ForCausalLM"),
        (_, Some(_)) => format!("{family}ForSequenceClassification"),
    }
}
