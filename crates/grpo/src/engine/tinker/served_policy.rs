//! What this process needs to know of a policy whose weights are on a server.

use std::path::Path;

use rlar_policy::{ModelSource, PolicyError, Tokenizer, load_tokenizer};
use serde::Deserialize;

/// What this process needs to know of a policy whose weights are on a server: what it is called and how it reads a text.
#[derive(Clone, Debug)]
pub struct ServedPolicy {
    /// Where its tokenizer and `config.json` are.
    pub source: ModelSource,
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
    /// Reads the tokenizer's files and the `config.json` of a model's folder. Its weights are not read and may be absent;
    /// the model may be one that rlar itself cannot compute.
    pub fn load(source: ModelSource) -> Result<Self, PolicyError> {
        let folder = source.path.as_path();
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
        Ok(Self { source, tokenizer, positions, vocabulary })
    }

    /// The id on the Hub, or the path.
    pub fn name(&self) -> String {
        let ModelSource { path, repository } = &self.source;
        repository.as_ref().map_or_else(|| path.display().to_string(), |repository| repository.id.clone())
    }

    /// Whether a server's name of a model is this policy's: the same id or path, or another path of the same folder.
    pub fn is_called(&self, name: &str) -> bool {
        let path = |path: &Path| std::fs::canonicalize(path).ok();
        name == self.name() || path(Path::new(name)).is_some_and(|named| path(&self.source.path) == Some(named))
    }
}
