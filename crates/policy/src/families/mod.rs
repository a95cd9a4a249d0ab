//! Model families: one file each, from the field names of a `config.json` to what is computed.
//!
//! A new family is a new file with its [`Family`] and an entry in [`FAMILIES`]. The names that messages list, the
//! classes that saved models name and the architectures that GGUF files name follow from that entry.

mod bert;
mod deberta;
mod gemma3;
mod gpt2;
mod llama;
mod shared;

use crate::architecture::Architecture;
use crate::error::PolicyError;
use crate::fields::Fields;
use crate::gguf::Gguf;
use crate::layout::Spec;
use crate::ops::Heads;

/// The supported families, in the order in which messages list them.
static FAMILIES: [&Family; 10] = [
    &llama::LLAMA,
    &llama::MISTRAL,
    &llama::QWEN2,
    &llama::QWEN3,
    &gemma3::GEMMA3,
    &gpt2::GPT2,
    &bert::BERT,
    &bert::ROBERTA,
    &bert::XLM_ROBERTA,
    &deberta::DEBERTA_V2,
];

/// A model family: its names in files, and how its configuration is read.
#[derive(Debug)]
pub(crate) struct Family {
    /// `model_type` of its `config.json`.
    pub model_type: &'static str,
    /// The `transformers` class of its language models; `None` for encoders.
    pub language_model: Option<&'static str>,
    /// The `transformers` class of its reward models.
    pub classifier: &'static str,
    /// Reads the architecture from a `config.json`; the error names the key that is not supported.
    pub architecture: fn(Fields) -> Result<Architecture, String>,
    /// How GGUF files store it; `None` where they are not supported.
    pub gguf: Option<GgufFamily>,
}

impl PartialEq for Family {
    fn eq(&self, other: &Self) -> bool {
        self.model_type == other.model_type
    }
}

impl Family {
    /// The family with a `model_type`, or which ones are supported.
    pub fn of_model_type(model_type: &str) -> Result<&'static Self, String> {
        let found = FAMILIES.iter().find(|f| f.model_type == model_type);
        found.copied().ok_or_else(|| unsupported(model_type, FAMILIES.iter().map(|f| f.model_type)))
    }

    /// The family with a GGUF `general.architecture` and how such files store it, or which ones are supported.
    pub fn of_gguf(architecture: &str) -> Result<(&'static Self, &'static GgufFamily), String> {
        let stored = || FAMILIES.iter().filter_map(|f| Some((*f, f.gguf.as_ref()?)));
        let found = stored().find(|(_, gguf)| gguf.architecture == architecture);
        found.ok_or_else(|| unsupported(architecture, stored().map(|(_, gguf)| gguf.architecture)))
    }

    /// The `transformers` class of its models: language models, or classifiers with `labels` outputs.
    pub fn class(&self, labels: Option<usize>) -> &'static str {
        match labels {
            None => self.language_model.unwrap_or(self.classifier),
            Some(_) => self.classifier,
        }
    }
}

fn unsupported(name: &str, supported: impl Iterator<Item = &'static str>) -> String {
    let supported: Vec<&str> = supported.collect();
    format!("architecture `{name}` is not supported; supported: {}", supported.join(", "))
}

/// From a tensor's values in a GGUF file to those in a Hugging Face file.
type RestoreWeight = fn(&Spec, Heads, Vec<f32>) -> Vec<f32>;

/// How llama.cpp stores a family in GGUF files.
#[derive(Debug)]
pub(crate) struct GgufFamily {
    /// `general.architecture` of the file's metadata.
    pub architecture: &'static str,
    /// The `config.json` that the metadata describes, given its `model_type`.
    pub config: fn(&Gguf, &str) -> Result<serde_json::Value, PolicyError>,
    /// Parts of Hugging Face's tensor names that GGUF names differently than in other families.
    pub renamed: &'static [(&'static str, &'static str)],
    /// The values of a tensor as Hugging Face stores them; `None` where GGUF stores the same values.
    pub weight: Option<RestoreWeight>,
}
