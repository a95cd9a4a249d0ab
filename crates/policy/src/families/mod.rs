//! Model families, one file for each or for several that are alike: how the fields of a family's `config.json` are read, and which names the family, its
//! classes and its tensors have in files.
//!
//! To add a family, add a file with its [`Family`] (one like Llama goes into `llama.rs`) and an entry in [`FAMILIES`]. The names that messages list and the
//! classes that saved models name come from that entry.

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

/// The supported model families, in the order in which messages list them.
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

/// A model family (models of one `model_type`): its names in files, and how its configuration is read.
#[derive(Debug)]
pub(crate) struct Family {
    /// The `model_type` that the family's `config.json` names.
    pub model_type: &'static str,
    /// The `transformers` class of the family's language models; `None` for encoders.
    pub language_model: Option<&'static str>,
    /// The `transformers` class of the family's reward models.
    pub classifier: &'static str,
    /// Reads the architecture from a `config.json`. The error names the key that is not supported.
    pub architecture: fn(Fields) -> Result<Architecture, String>,
    /// How GGUF files store the family's models; `None` where rlar does not read such files.
    pub gguf: Option<GgufFamily>,
}

impl PartialEq for Family {
    fn eq(&self, other: &Self) -> bool {
        self.model_type == other.model_type
    }
}

impl Family {
    /// Finds the family with a `model_type`. The error lists the supported ones.
    pub fn of_model_type(model_type: &str) -> Result<&'static Self, String> {
        let found = FAMILIES.iter().find(|f| f.model_type == model_type);
        found.copied().ok_or_else(|| unsupported(model_type, FAMILIES.iter().map(|f| f.model_type)))
    }

    /// Finds the family whose GGUF files name this `general.architecture`, and how these files store it. The error
    /// lists the supported ones.
    pub fn of_gguf(architecture: &str) -> Result<(&'static Self, &'static GgufFamily), String> {
        let stored = || FAMILIES.iter().filter_map(|f| Some((*f, f.gguf.as_ref()?)));
        let found = stored().find(|(_, gguf)| gguf.architecture == architecture);
        found.ok_or_else(|| unsupported(architecture, stored().map(|(_, gguf)| gguf.architecture)))
    }

    /// The `transformers` class of a model of the family: a language model where `labels` is `None`, otherwise a
    /// classifier.
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

/// Function that gives the order of a tensor's rows in Hugging Face: row `i` is row `order[i]` in a GGUF file. A vector
/// has one element per row. `None` for a tensor whose rows are in the same order.
type RowOrder = fn(&Spec, Heads) -> Option<Vec<usize>>;

/// How llama.cpp stores the models of a family in GGUF files.
#[derive(Debug)]
pub(crate) struct GgufFamily {
    /// The architecture that the file's metadata names (`general.architecture`).
    pub architecture: &'static str,
    /// Makes the `config.json` that the metadata describes, for a `model_type`.
    pub config: fn(&Gguf, &str) -> Result<serde_json::Value, PolicyError>,
    /// Parts of tensor names that differ from those of most families, as pairs of Hugging Face's name and GGUF's name.
    pub renamed: &'static [(&'static str, &'static str)],
    /// The order of rows in Hugging Face; `None` where GGUF stores all rows in the same order.
    pub row_order: Option<RowOrder>,
    /// What is added to the elements of vectors to get those that Hugging Face stores.
    pub vector_offset: f32,
}
