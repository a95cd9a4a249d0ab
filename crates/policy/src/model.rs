//! Loading a model: configuration, tokenizer, and weights one tensor at a time.

use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;

use burn::tensor::{Device, Tensor, TensorData};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::architecture::Architecture;
use crate::checkpoint;
use crate::config::ModelConfig;
use crate::decoder::{self, Decoder};
use crate::device::ComputeDevice;
use crate::encoder::{self, Encoder};
use crate::error::PolicyError;
use crate::float_type::FloatType;
use crate::gguf::{Gguf, GgufOrigin};
use crate::layout::{Layout, Lora, Spec};
use crate::source::ModelSource;
use crate::tokenizer::Tokenizer;
use crate::weight::Weight;
use crate::weights::{self, Weights};
use crate::{peft, save};

/// A model of one of the two architectures, with its weights.
#[derive(Clone, Debug)]
pub(crate) enum Transformer {
    Decoder(Decoder),
    Encoder(Encoder),
}

/// A model that was loaded from a path: its configuration, weights and tokenizer.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub config: Arc<ModelConfig>,
    pub model: Transformer,
    pub tokenizer: Tokenizer,
    /// For an adapter, where its base model was found; `None` for a model without an adapter.
    pub base: Option<ModelSource>,
    /// The type in which the model is published, that of the weights in its files; `float32` for a GGUF file.
    pub float_type: FloatType,
    /// For a GGUF file, or an adapter of one: what its metadata say about its origin. `None` for other models.
    pub gguf: Option<GgufOrigin>,
}

/// The kind of model that a caller of [`load`] needs. A model of the other kind is an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Head {
    LanguageModel,
    Classifier,
}

/// What happens to the matrices that a GGUF file stores in quantised blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GgufMatrices {
    /// They are dequantised to `f32`, so that they can be trained.
    Dequantised,
    /// On the CPU, they stay in these blocks and are frozen. On other devices, they are dequantised.
    Quantised,
}

impl Head {
    fn check(self, path: &Path, config: &ModelConfig) -> Result<(), PolicyError> {
        let message = match (self, config.labels) {
            (Self::LanguageModel, None) | (Self::Classifier, Some(_)) => return Ok(()),
            (Self::LanguageModel, Some(_)) => {
                "is a classifier (a reward model), not a language model; `rlar score` runs it"
            }
            (Self::Classifier, None) => "is a language model, not a classifier; `rlar generate` runs it",
        };
        Err(PolicyError::WrongHead { path: path.to_owned(), message })
    }
}

/// The indices of a model's tensors in its [`Layout`] (the list of all declared tensors), by architecture.
pub(crate) enum TensorIds {
    Decoder(Arc<decoder::DecoderTensors>),
    Encoder(Arc<encoder::EncoderTensors>),
}

pub(crate) fn declare(config: &ModelConfig, lora: Option<Lora>) -> Result<(Arc<Layout>, TensorIds), PolicyError> {
    let (layout, tensors) = match &config.architecture {
        Architecture::Decoder(d) => {
            let (layout, tensors) = decoder::layout(d, config.labels, lora);
            (layout, TensorIds::Decoder(tensors))
        }
        Architecture::Encoder(e) => {
            let (layout, tensors) = encoder::layout(e, config.labels.unwrap_or(1), lora);
            (layout, TensorIds::Encoder(tensors))
        }
    };
    layout.check().map_err(PolicyError::Adapter)?;
    Ok((Arc::new(layout), tensors))
}

fn assemble(config: &ModelConfig, tensors: TensorIds, weights: Weights<Weight>, device: &ComputeDevice) -> Transformer {
    let weights = weights.freeze(Weight::is_quantised);
    match (&config.architecture, tensors) {
        (Architecture::Decoder(d), TensorIds::Decoder(tensors)) => {
            Transformer::Decoder(Decoder::new(d.clone(), tensors, weights, device))
        }
        (Architecture::Encoder(e), TensorIds::Encoder(tensors)) => {
            Transformer::Encoder(Encoder::new(e.clone(), tensors, weights, device))
        }
        _ => unreachable!("tensors are declared from the same configuration"),
    }
}

/// Returns a function that copies a tensor's values to a device, in the shape that the tensor's declaration gives.
pub(crate) fn put(device: &Device) -> impl Fn(&Spec, Vec<f32>) -> Weight + '_ {
    move |spec, values| Weight::Dense(Tensor::from_data(TensorData::new(values, spec.shape), device))
}

/// Makes a model with random initial weights.
pub(crate) fn random(config: &ModelConfig, seed: u64, device: &ComputeDevice) -> Result<Transformer, PolicyError> {
    let (layout, tensors) = declare(config, None)?;
    let put = put(&device.device);
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let weights = Weights::from(&layout, |spec| put(spec, weights::start(spec, &mut rng)));
    Ok(assemble(config, tensors, weights, device))
}

/// Makes a model whose weights are those that `weight` returns. `weight` is called once per tensor, in the order
/// of the layout. With `lora`, the layout also has the tensors of a LoRA adapter with these settings.
pub(crate) fn with(
    config: &ModelConfig,
    lora: Option<Lora>,
    device: &ComputeDevice,
    mut weight: impl FnMut(&Spec) -> Weight,
) -> Result<Transformer, PolicyError> {
    let (layout, tensors) = declare(config, lora)?;
    let Ok(weights) = Weights::try_from(&layout, |spec| Ok::<_, Infallible>(weight(spec)));
    Ok(assemble(config, tensors, weights, device))
}

/// Loads a model from one of three places: a Hugging Face folder (`config.json`, `tokenizer.json`, safetensors), a
/// folder with a PEFT adapter (`adapter_config.json`, `adapter_model.safetensors`), or a GGUF file.
pub(crate) fn load(
    path: &Path,
    head: Head,
    device: &ComputeDevice,
    matrices: GgufMatrices,
) -> Result<Loaded, PolicyError> {
    if path.join("adapter_config.json").exists() {
        return peft::load(path, head, device, matrices);
    }
    load_with(path, head, device, matrices, None, &mut |spec| vec![0.0; spec.elements()])
}

/// Loads a base model from a Hugging Face folder or a GGUF file, and does not look for an adapter there. With `lora`,
/// its weights are frozen, and a LoRA adapter is added, whose tensors get the values that `make` returns.
pub(crate) fn load_with(
    path: &Path,
    head: Head,
    device: &ComputeDevice,
    matrices: GgufMatrices,
    lora: Option<Lora>,
    make: &mut dyn FnMut(&Spec) -> Vec<f32>,
) -> Result<Loaded, PolicyError> {
    let put = put(&device.device);
    if path.is_dir() {
        let at = path.join("config.json");
        if !at.exists() {
            return Err(PolicyError::file(path, "has no config.json: not a model folder"));
        }
        let text = std::fs::read_to_string(&at).map_err(PolicyError::io(&at))?;
        let config = ModelConfig::parse(&text).map_err(|why| PolicyError::file(&at, why))?;
        head.check(path, &config)?;
        let tokenizer = Tokenizer::load(path, config.vocab_size())?;
        let (layout, tensors) = declare(&config, lora)?;
        let found = checkpoint::find_in_folder(path, &layout)?;
        let float_type = save::published_type(&config, found.float_type());
        let model = assemble(&config, tensors, found.read(make, put)?, device);
        return Ok(Loaded { config: Arc::new(config), model, tokenizer, base: None, float_type, gguf: None });
    }
    let gguf = Gguf::open(path)?;
    let config = gguf.config()?;
    head.check(path, &config)?;
    let tokenizer = Tokenizer::from_gguf(path, &gguf)?;
    // The check uses a layout without the adapter, whose tensors are not in the file.
    let (plain, _) = declare(&config, None)?;
    gguf.check(&plain)?;
    let (layout, tensors) = declare(&config, lora)?;
    let keep = matrices == GgufMatrices::Quantised && device.ops.fused();
    let weights = Weights::try_from(&layout, |spec| {
        let stored = !spec.name.contains(".lora_");
        if keep
            && stored
            && let Some(matrix) = gguf.quantised_weight(spec, &config)?
        {
            return Ok(Weight::Quantised(matrix));
        }
        let values = if stored { gguf.weight(spec, &config)? } else { make(spec) };
        checkpoint::finite(path, &spec.name, values).map(|values| put(spec, values))
    })?;
    let model = assemble(&config, tensors, weights, device);
    let (float_type, gguf) = (FloatType::Float32, Some(gguf.origin()));
    Ok(Loaded { config: Arc::new(config), model, tokenizer, base: None, float_type, gguf })
}

/// Loads only the tokenizer of a model: of a Hugging Face folder, of a folder with a PEFT adapter, which may have one of
/// its own, or of a GGUF file. Whether it belongs to the model's vocabulary is not checked.
pub fn load_tokenizer(path: &Path) -> Result<Tokenizer, PolicyError> {
    let is_adapter = path.join("adapter_config.json").exists() && !path.join("tokenizer.json").exists();
    let path = if is_adapter { peft::base_path(path)? } else { path.to_owned() };
    if path.is_dir() { Tokenizer::load(&path, usize::MAX) } else { Tokenizer::from_gguf(&path, &Gguf::open(&path)?) }
}
