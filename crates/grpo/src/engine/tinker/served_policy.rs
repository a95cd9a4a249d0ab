//! What this process needs to know of a policy whose weights are on a server.

use std::path::Path;

use rlar_policy::{PolicyError, Tokenizer, load_tokenizer};
use serde::Deserialize;

/// What this process needs to know of a policy whose weights are on a server: how it reads a text.
#[derive(Clone, Debug)]
pub struct ServedPolicy {
    /// The tokenizer, with chat template and end tokens.
    pub tokenizer: Tokenizer,
    /// Length of the longest sequence that the policy can process, in tokens.
    pub positions: usize,
    /// Number of tokens of the vocabulary, as the model counts them.
    pub vocabulary: usize,
}

/// The keys of a `config.json` that matter here.
#[derive(Deserialize)]
struct ModelSizes {
    max_position_embeddings: usize,
    vocab_size: usize,
}

impl ServedPolicy {
    /// Reads the tokenizer's files and the `config.json` of a Hugging Face folder. Its weights are not read and may be absent;
    /// the model may be one that rlar itself cannot compute.
    pub fn load(folder: &Path) -> Result<Self, PolicyError> {
        let path = folder.join("config.json");
        let message =
            |what: String| PolicyError::Request(format!("{}: {what}; a served model needs it here", path.display()));
        let text = std::fs::read_to_string(&path).map_err(|e| message(format!("cannot be read: {e}")))?;
        let sizes: ModelSizes = serde_json::from_str(&text).map_err(|e| message(e.to_string()))?;
        let ModelSizes { max_position_embeddings: positions, vocab_size: vocabulary } = sizes;
        let tokenizer = load_tokenizer(folder)?;
        if tokenizer.vocab_size() > vocabulary {
            let what = format!(
                "`vocab_size` is {vocabulary}, and the tokenizer beside it has {} tokens: they belong to two models",
                tokenizer.vocab_size()
            );
            return Err(PolicyError::Request(format!("{}: {what}", path.display())));
        }
        Ok(Self { tokenizer, positions, vocabulary })
    }
}
