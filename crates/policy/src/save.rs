//! Saving a model as the files of a Hugging Face folder, which `transformers` can load.

use crate::checkpoint;
use crate::checkpoint::Floats;
use crate::config::ModelConfig;
use crate::error::PolicyError;
use crate::float_type::FloatType;
use crate::tokenizer::Tokenizer;
use crate::weight::Weight;
use crate::weights::Weights;

/// Name and contents of a file that is to be written.
pub type File = (&'static str, Vec<u8>);

/// The key of a `config.json` that keeps, in a model whose weights were saved in `float32`, the type that they had in
/// the files from which the model was first loaded.
const SOURCE_DTYPE: &str = "source_dtype";

/// The type in which a model with this `config.json` is published: the one that [`files`] noted, or else `stored`, the
/// type of the weights in the folder's files.
pub(crate) fn published_type(config: &ModelConfig, stored: FloatType) -> FloatType {
    config.json[SOURCE_DTYPE].as_str().and_then(FloatType::of_name).unwrap_or(stored)
}

/// The files of a model for a checkpoint: `config.json`, the weights in `float32`, and the tokenizer's files. A model that is
/// loaded from them is published in the type `published`.
pub(crate) fn exact_files(
    config: &ModelConfig,
    weights: &Weights<Weight>,
    tokenizer: &Tokenizer,
    published: FloatType,
) -> Result<Vec<File>, PolicyError> {
    let note = (published != FloatType::Float32).then_some(published);
    files(config, weights, tokenizer, FloatType::Float32, note)
}

/// The files of a model for others: `config.json`, the weights in the type `published`, and the tokenizer's files. Where
/// the type cannot represent all weights, they are in `float32`.
pub(crate) fn published_files(
    config: &ModelConfig,
    weights: &Weights<Weight>,
    tokenizer: &Tokenizer,
    published: FloatType,
) -> Result<Vec<File>, PolicyError> {
    let fits = published == FloatType::Float32
        || weights.entries().all(|(_, weight)| weight.floats().iter().all(|x| published.has_in_range(*x)));
    if !fits {
        tracing::warn!("weights beyond the range of {}: they are saved in float32", published.name());
    }
    files(config, weights, tokenizer, if fits { published } else { FloatType::Float32 }, None)
}

fn files(
    config: &ModelConfig,
    weights: &Weights<Weight>,
    tokenizer: &Tokenizer,
    stored: FloatType,
    note: Option<FloatType>,
) -> Result<Vec<File>, PolicyError> {
    let mut json = config.json.clone();
    json["architectures"] = serde_json::json!([config.class()]);
    json["dtype"] = stored.name().into();
    json["torch_dtype"] = stored.name().into();
    if let Some(source) = note {
        json[SOURCE_DTYPE] = source.name().into();
    } else if let Some(keys) = json.as_object_mut() {
        // The other keys keep their order.
        keys.shift_remove(SOURCE_DTYPE);
    }
    if config.labels.is_none() {
        json["eos_token_id"] = tokenizer.eos().into();
    }
    let weights = checkpoint::to_safetensors(weights, stored, |spec| Some(spec.name.clone()))?;
    let mut files = vec![("config.json", format!("{json:#}").into_bytes()), ("model.safetensors", weights)];
    files.extend(tokenizer_files(tokenizer)?);
    Ok(files)
}

/// The files of a tokenizer.
pub(crate) fn tokenizer_files(tokenizer: &Tokenizer) -> Result<Vec<File>, PolicyError> {
    Ok(tokenizer.files()?.into_iter().map(|(name, text)| (name, text.into_bytes())).collect())
}
