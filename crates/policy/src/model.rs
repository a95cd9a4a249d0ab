//! Loading a model: configuration, tokenizer, and weights one tensor at a time.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::tensor::{Device, Tensor, TensorData};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde_json::Value;

use crate::architecture::Architecture;
use crate::checkpoint;
use crate::config::ModelConfig;
use crate::decoder::{self, Decoder};
use crate::device::ComputeDevice;
use crate::encoder::{self, Encoder};
use crate::error::PolicyError;
use crate::gguf::Gguf;
use crate::hub_cache;
use crate::layout::{Layout, Lora, Spec};
use crate::tokenizer::Tokenizer;
use crate::weight::Weight;
use crate::weights::{self, Weights};

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
    /// For an adapter, the folder or file of its base model; `None` for a model without an adapter.
    pub base: Option<PathBuf>,
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
enum TensorIds {
    Decoder(Arc<decoder::DecoderTensors>),
    Encoder(Arc<encoder::EncoderTensors>),
}

fn declare(config: &ModelConfig, lora: Option<Lora>) -> Result<(Arc<Layout>, TensorIds), PolicyError> {
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
        return load_adapter(path, head, device, matrices);
    }
    load_with(path, head, device, matrices, None, &mut |spec| vec![0.0; spec.elements()])
}

/// Loads a base model from a Hugging Face folder or a GGUF file, and does not look for an adapter there. With `lora`,
/// its weights are frozen, and a LoRA adapter is added, whose tensors get the values that `make` returns.
fn load_with(
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
        let weights = checkpoint::find_in_folder(path, &layout)?.read(make, put)?;
        let model = assemble(&config, tensors, weights, device);
        return Ok(Loaded { config: Arc::new(config), model, tokenizer, base: None });
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
    Ok(Loaded { config: Arc::new(config), model, tokenizer, base: None })
}

/// Loads only the tokenizer of a model: of a Hugging Face folder, of a folder with a PEFT adapter, which may have one of
/// its own, or of a GGUF file. Whether it belongs to the model's vocabulary is not checked.
pub fn load_tokenizer(path: &Path) -> Result<Tokenizer, PolicyError> {
    let adapter = path.join("adapter_config.json");
    let mut path = path.to_owned();
    if adapter.exists() && !path.join("tokenizer.json").exists() {
        let text = std::fs::read_to_string(&adapter).map_err(PolicyError::io(&adapter))?;
        let json = serde_json::from_str(&text).map_err(|e| PolicyError::file(&adapter, format!("not JSON: {e}")))?;
        path = find_base(&path, &json).map_err(|why| PolicyError::file(&adapter, why))?;
    }
    if path.is_dir() { Tokenizer::load(&path, usize::MAX) } else { Tokenizer::from_gguf(&path, &Gguf::open(&path)?) }
}

/// Prefix of every tensor's name in the files of PEFT.
pub(crate) const PEFT: &str = "base_model.model.";

/// Keys of a PEFT `adapter_config.json` that are not refused by the general check of values, because rlar reads them or
/// because they do not change the model's outputs. Most other keys must be `null`, `false` or empty.
const HARMLESS: [&str; 16] = [
    "peft_type",
    "task_type",
    "r",
    "lora_alpha",
    "lora_dropout",
    "use_rslora",
    "target_modules",
    "fan_in_fan_out",
    "base_model_name_or_path",
    "revision",
    "inference_mode",
    "auto_mapping",
    "peft_version",
    "megatron_core",
    "ensure_weight_tying",
    // This key has no effect while `use_qalora` is false, and `use_qalora: true` is refused.
    "qalora_group_size",
];

/// Finds the path of the base model that `json`, an adapter's `adapter_config.json`, names. The name is a path
/// (relative to the adapter's `folder` or to the working directory, or absolute), or the name of a model in the Hugging
/// Face Hub's cache on this machine.
fn find_base(folder: &Path, json: &Value) -> Result<PathBuf, String> {
    let named = json["base_model_name_or_path"].as_str().unwrap_or_default();
    let paths = [folder.join(named), PathBuf::from(named)].into_iter().find(|p| !named.is_empty() && p.exists());
    let revision = json["revision"].as_str().filter(|revision| !revision.is_empty()).unwrap_or("main");
    paths.or_else(|| hub_cache::snapshot(named, revision)).ok_or_else(|| {
        format!(
            "`base_model_name_or_path` {} is neither a folder nor a file on this machine, nor a model in the Hub's cache; \
             set it to the path of the base model",
            json["base_model_name_or_path"]
        )
    })
}

/// Loads the PEFT adapter in `folder` together with its base model.
fn load_adapter(
    folder: &Path,
    head: Head,
    device: &ComputeDevice,
    matrices: GgufMatrices,
) -> Result<Loaded, PolicyError> {
    let at = folder.join("adapter_config.json");
    let text = std::fs::read_to_string(&at).map_err(PolicyError::io(&at))?;
    let wrong = |why: String| PolicyError::file(&at, why);
    let mut json: Value = serde_json::from_str(&text).map_err(|e| wrong(format!("not JSON: {e}")))?;
    if json["peft_type"] != "LORA" {
        return Err(wrong(format!("`peft_type` {} is not supported; supported: LORA", json["peft_type"])));
    }
    for (key, value) in json.as_object().into_iter().flatten() {
        let empty = value.is_null()
            || value == false
            || value.as_array().is_some_and(Vec::is_empty)
            || value.as_object().is_some_and(serde_json::Map::is_empty);
        let plain = match key.as_str() {
            "init_lora_weights" => value == true || value == "gaussian",
            "bias" => value == "none",
            "target_modules" if !value.is_array() && (!value.is_string() || value == "all-linear") => {
                return Err(wrong(format!(
                    "`target_modules` {value} is neither a list of names nor a regular expression; list the matrices \
                     one by one"
                )));
            }
            "modules_to_save" if !empty => {
                return Err(wrong(format!(
                    "`modules_to_save` {value} is not supported (it trains whole matrices in addition to the adapter); \
                     merge the adapter into its base with PEFT (`merge_and_unload`), and use the merged model"
                )));
            }
            _ => HARMLESS.contains(&key.as_str()),
        };
        if !empty && !plain {
            return Err(wrong(format!("`{key}` {value} is not supported")));
        }
    }
    let weights = folder.join("adapter_model.safetensors");
    if json["target_modules"].is_string() {
        // A regular expression matched the matrices that the file has tensors for.
        json["target_modules"] = checkpoint::adapted_matrices(&weights, PEFT)?.into();
    }
    let lora: Lora = serde_json::from_value(json.clone()).map_err(|e| wrong(e.to_string()))?;
    let base = find_base(folder, &json).map_err(wrong)?;
    let config = if base.is_dir() {
        let at = base.join("config.json");
        let text = std::fs::read_to_string(&at).map_err(PolicyError::io(&at))?;
        ModelConfig::parse(&text).map_err(|why| PolicyError::file(&at, why))?
    } else {
        Gguf::open(&base)?.config()?
    };
    let (layout, _) = declare(&config, Some(lora.clone()))?;
    let mut stored = Layout::new(None);
    for spec in layout.specs().iter().filter(|s| s.trained) {
        stored.tensor(format!("{PEFT}{}", spec.name), spec.shape, spec.form, spec.start);
    }
    let found = checkpoint::find_in_file(&weights, &Arc::new(stored))?;
    let mut held: std::collections::BTreeMap<String, Vec<f32>> = std::collections::BTreeMap::new();
    found.read(
        |_| Vec::new(),
        |spec, values| {
            held.insert(spec.name[PEFT.len()..].to_owned(), values);
        },
    )?;
    let mut make = |spec: &Spec| held.remove(&spec.name).unwrap_or_else(|| vec![0.0; spec.elements()]);
    let mut loaded = load_with(&base, head, device, matrices, Some(lora), &mut make)?;
    // The folder of an adapter may hold a tokenizer of its own.
    if folder.join("tokenizer.json").exists() {
        let ends = loaded.tokenizer.eos().to_vec();
        loaded.tokenizer = Tokenizer::load(folder, config.vocab_size())?;
        loaded.tokenizer.also_ends(&ends);
    }
    loaded.base = Some(base);
    Ok(loaded)
}
