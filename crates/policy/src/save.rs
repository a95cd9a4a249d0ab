//! Saving a model as the files of a Hugging Face folder, which `transformers` can load.

use crate::checkpoint;
use crate::config::ModelConfig;
use crate::error::PolicyError;
use crate::tokenizer::Tokenizer;
use crate::weight::Weight;
use crate::weights::Weights;

/// Name and contents of a file that is to be written.
pub type File = (&'static str, Vec<u8>);

/// The files of a model: `config.json`, the weights in `f32`, and the tokenizer's files.
pub(crate) fn files(
    config: &ModelConfig,
    weights: &Weights<Weight>,
    tokenizer: &Tokenizer,
) -> Result<Vec<File>, PolicyError> {
    let mut json = config.json.clone();
    json["architectures"] = serde_json::json!([config.class()]);
    json["dtype"] = "float32".into();
    json["torch_dtype"] = "float32".into();
    if config.labels.is_none() {
        json["eos_token_id"] = tokenizer.eos().into();
    }
    let weights = checkpoint::to_safetensors(weights, |spec| Some(spec.name.clone()))?;
    let mut files = vec![("config.json", format!("{json:#}").into_bytes()), ("model.safetensors", weights)];
    files.extend(tokenizer_files(tokenizer)?);
    Ok(files)
}

/// The files of a tokenizer.
pub(crate) fn tokenizer_files(tokenizer: &Tokenizer) -> Result<Vec<File>, PolicyError> {
    Ok(tokenizer.files()?.into_iter().map(|(name, text)| (name, text.into_bytes())).collect())
}
