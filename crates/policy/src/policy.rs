//! A causal language model with its tokenizer: loading, LoRA adapters, saving.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::config::ModelConfig;
use crate::decoder::Decoder;
use crate::device::ComputeDevice;
use crate::engine::Engine;
use crate::error::PolicyError;
use crate::float_type::FloatType;
use crate::gguf::GgufOrigin;
use crate::layout::{Layout, Lora, Spec};
use crate::model::{self, GgufMatrices, Head, Loaded, Transformer};
use crate::peft;
use crate::reward::RewardModel;
use crate::sampling::Sampling;
use crate::save::{self, File};
use crate::source::ModelSource;
use crate::tokenizer::Tokenizer;
use crate::weight::Weight;
use crate::weights::{self, Weights};

/// A causal language model with its tokenizer: the policy that is sampled from and trained.
#[derive(Clone, Debug)]
pub struct Policy {
    /// The transformer with its weights.
    pub decoder: Decoder,
    /// The model's tokenizer.
    pub tokenizer: Tokenizer,
    config: Arc<ModelConfig>,
    device: ComputeDevice,
    /// For an adapter, where its base model was found; `None` for a model without an adapter.
    base: Option<ModelSource>,
    /// The type of the weights in the files from which the model was first loaded.
    float_type: FloatType,
    /// What the metadata of the model's or the base model's GGUF file say about its origin; `None` without such a file.
    gguf: Option<GgufOrigin>,
    sampling: Sampling,
    /// Text of the model's `generation_config.json`, which saving the model writes back; `None` where there is none.
    generation: Option<String>,
}

impl Policy {
    /// Loads a policy from a Hugging Face folder (`config.json`, `tokenizer.json`, safetensors), a folder with a PEFT
    /// adapter, or a GGUF file. A reward model is an error.
    pub fn load(path: &Path, device: &ComputeDevice) -> Result<Self, PolicyError> {
        Self::load_with(path, device, GgufMatrices::Dequantised)
    }

    /// Loads a policy as [`Policy::load`] does, to sample from it or to train only an adapter: on the CPU, the matrices
    /// that a GGUF file stores in quantised blocks stay in these blocks and are frozen, which takes a quarter to a
    /// seventh of the memory.
    pub fn load_frozen(path: &Path, device: &ComputeDevice) -> Result<Self, PolicyError> {
        Self::load_with(path, device, GgufMatrices::Quantised)
    }

    fn load_with(path: &Path, device: &ComputeDevice, matrices: GgufMatrices) -> Result<Self, PolicyError> {
        let Loaded { config, model, tokenizer, base, float_type, gguf } =
            model::load(path, Head::LanguageModel, device, matrices)?;
        let Transformer::Decoder(decoder) = model else { return Err(PolicyError::NotALanguageModel) };
        let (sampling, generation) = default_sampling(base.as_ref().map_or(path, |base| &base.path))?;
        let device = device.clone();
        Ok(Self { decoder, tokenizer, config, device, base, float_type, gguf, sampling, generation })
    }

    /// Makes a policy with random initial weights. A configuration of a classifier or an encoder is an error.
    pub fn random(
        config: ModelConfig,
        tokenizer: Tokenizer,
        seed: u64,
        device: &ComputeDevice,
    ) -> Result<Self, PolicyError> {
        match model::random(&config, seed, device)? {
            Transformer::Decoder(decoder) if config.labels.is_none() => {
                let (config, sampling) = (Arc::new(config), Sampling::default());
                let (device, float_type) = (device.clone(), FloatType::Float32);
                let (base, gguf, generation) = (None, None, None);
                Ok(Self { decoder, tokenizer, config, device, base, float_type, gguf, sampling, generation })
            }
            _ => Err(PolicyError::NotALanguageModel),
        }
    }

    /// Makes an engine that samples from this policy, about `batch` sequences at a time.
    pub fn engine(&self, batch: usize) -> Engine<'_> {
        Engine::new(&self.decoder, &self.tokenizer, batch)
    }

    /// The sampling settings of the model's `generation_config.json`. For a model without this file: temperature 1, and
    /// no top-k, top-p or min-p.
    pub fn sampling(&self) -> &Sampling {
        &self.sampling
    }

    /// The folder or GGUF file of the base model, if this policy is a LoRA adapter on frozen weights; otherwise `None`.
    pub fn base_model(&self) -> Option<&Path> {
        self.base.as_ref().map(|base| base.path.as_path())
    }

    /// Whether matrices of this policy are kept in the quantised blocks of a GGUF file.
    pub fn is_quantised(&self) -> bool {
        self.decoder.weights().entries().any(|(_, weight)| weight.is_quantised())
    }

    /// The configuration of the model: its checked `config.json`.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Freezes the weights and adds a LoRA adapter to be trained, which does not change the outputs at first. `base` is
    /// where the frozen weights were found, which the files of the adapter will name. A model that already has an adapter
    /// is an error.
    pub fn adapt(self, lora: Lora, seed: u64, base: ModelSource) -> Result<Self, PolicyError> {
        if self.decoder.layout().lora().is_some() {
            return Err(PolicyError::AdapterPresent);
        }
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let put = model::put(&self.device.device);
        let mut existing = self.decoder.weights().entries();
        let decoder = self.with_weights(Some(lora), |spec| {
            if spec.name.contains(".lora_") {
                return put(spec, weights::start(spec, &mut rng));
            }
            existing.next().map_or_else(|| put(spec, vec![0.0; spec.elements()]), |(_, w)| w.clone())
        })?;
        drop(existing);
        drop(put);
        Ok(Self { decoder, base: Some(base), ..self })
    }

    /// Returns this policy with its adapter merged into the weights; a policy without an adapter is only cloned. Matrices
    /// in quantised blocks are dequantised if they have an adapter.
    pub fn merged(&self) -> Result<Self, PolicyError> {
        let Some(scale) = self.decoder.layout().lora().map(Lora::scale) else { return Ok(self.clone()) };
        let entries: Vec<_> = self.decoder.weights().entries().collect();
        let named = |name: &str| entries.iter().find(|(spec, _)| spec.name == name).map(|(_, w)| (*w).clone());
        let device = &self.device.device;
        let put = model::put(device);
        let decoder = self.with_weights(None, |spec| {
            let weight = named(&spec.name).unwrap_or_else(|| put(spec, vec![0.0; spec.elements()]));
            let part = |p: &str| spec.name.strip_suffix(".weight").and_then(|n| named(&format!("{n}.lora_{p}.weight")));
            match (part("A"), part("B")) {
                (Some(a), Some(b)) => {
                    Weight::Dense(weight.tensor(device) + b.tensor(device).matmul(a.tensor(device)) * scale)
                }
                _ => weight,
            }
        })?;
        Ok(Self { decoder, base: None, ..self.clone() })
    }

    /// Makes a decoder of this policy's configuration whose weights are those that `weight` returns for each declared
    /// tensor. `lora` holds the settings of its adapter; `None`: the decoder has no adapter.
    fn with_weights(&self, lora: Option<Lora>, weight: impl FnMut(&Spec) -> Weight) -> Result<Decoder, PolicyError> {
        match model::with(&self.config, lora, &self.device, weight)? {
            Transformer::Decoder(decoder) => Ok(decoder),
            Transformer::Encoder(_) => Err(PolicyError::NotALanguageModel),
        }
    }

    /// Makes a reward model from this policy: the same weights, with an adapter merged, but instead of the output head
    /// a layer with one output and random initial weights.
    pub fn reward_model(&self, seed: u64) -> Result<RewardModel, PolicyError> {
        let mut json = self.config.json.clone();
        json["architectures"] = serde_json::json!([self.config.family.class(Some(1))]);
        json["id2label"] = serde_json::json!({ "0": "reward" });
        json["label2id"] = serde_json::json!({ "reward": 0 });
        if json["pad_token_id"].is_null() {
            json["pad_token_id"] = self.tokenizer.eos().first().copied().unwrap_or(0).into();
        }
        let config = ModelConfig::new(json).map_err(PolicyError::Config)?;
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let put = model::put(&self.device.device);
        let merged = self.merged()?;
        let entries: Vec<_> = merged.decoder.weights().entries().collect();
        let model = model::with(&config, None, &self.device, |spec| {
            let weight = entries.iter().find(|(have, _)| have.name == spec.name).map(|(_, w)| (*w).clone());
            weight.unwrap_or_else(|| put(spec, weights::start(spec, &mut rng)))
        })?;
        Ok(RewardModel::assemble(model, self.tokenizer.clone(), config, self.float_type))
    }

    /// The declarations of the weights: names and shapes.
    pub fn layout(&self) -> &Arc<Layout> {
        self.decoder.layout()
    }

    /// Copies all weights to the host's memory, in `f32`.
    pub fn weights(&self) -> Weights<Vec<f32>> {
        self.decoder.weights().map(|_, w| w.values().into_owned())
    }

    /// The files of a Hugging Face folder that holds this model exactly, with the weights in `f32`. For a policy with an
    /// adapter, the files of a PEFT folder that holds the adapter alone.
    pub fn files(&self) -> Result<Vec<File>, PolicyError> {
        let files = match self.layout().lora() {
            None => save::exact_files(&self.config, self.decoder.weights(), &self.tokenizer, self.float_type)?,
            Some(lora) => return self.adapter(lora),
        };
        Ok(self.with_generation_config(files))
    }

    /// The files of this model for others, like [`Policy::files`], but with the weights in the type `float_type`, rounded to
    /// nearest; without it in the type of the files from which the model was first loaded (`f32` for a GGUF file and a new
    /// model). Where that type cannot represent all weights, they are in `f32`. An adapter is in `f32`; beside one of a GGUF
    /// file, a `README.md` says how PEFT loads it.
    pub fn published_files(&self, float_type: Option<FloatType>) -> Result<Vec<File>, PolicyError> {
        let Some(lora) = self.layout().lora() else {
            let float_type = float_type.unwrap_or(self.float_type);
            let files = save::published_files(&self.config, self.decoder.weights(), &self.tokenizer, float_type)?;
            return Ok(self.with_generation_config(files));
        };
        let mut files = self.adapter(lora)?;
        if let (Some(base), Some(origin)) = (&self.base, &self.gguf) {
            files.push(("README.md", peft::readme(base, origin).into_bytes()));
        }
        Ok(files)
    }

    fn with_generation_config(&self, mut files: Vec<File>) -> Vec<File> {
        files.extend(self.generation.iter().map(|g| ("generation_config.json", g.clone().into_bytes())));
        files
    }

    fn adapter(&self, lora: &Lora) -> Result<Vec<File>, PolicyError> {
        let mut files = peft::files(&self.decoder, lora, self.base.as_ref(), self.gguf.as_ref())?;
        files.extend(save::tokenizer_files(&self.tokenizer)?);
        Ok(files)
    }
}

/// Reads the `generation_config.json` in a folder: returns its sampling settings and its text, or default settings and
/// `None` where there is no such file. `do_sample: false` means greedy. Without the key `do_sample`, tokens are sampled
/// at temperature 1 without top-k, top-p or min-p.
fn default_sampling(folder: &Path) -> Result<(Sampling, Option<String>), PolicyError> {
    let path = folder.join("generation_config.json");
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        // `folder` is the path of a GGUF file, or the folder has no such file.
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok((Sampling::default(), None));
        }
        Err(e) => return Err(PolicyError::io(&path)(e)),
    };
    let wrong = |why: String| PolicyError::file(&path, why);
    let json: serde_json::Value = serde_json::from_str(&text).map_err(|e| wrong(format!("not JSON: {e}")))?;
    let number = |key: &str, default: f64| match json.get(key) {
        None | Some(serde_json::Value::Null) => Ok(default),
        Some(value) => value.as_f64().ok_or_else(|| wrong(format!("`{key}` is {value}, not a number"))),
    };
    let drawn = json["do_sample"] == true;
    let sampled = |key, default| if drawn { number(key, default) } else { Ok(default) };
    let top_k = sampled("top_k", 0.0)?;
    if top_k < 0.0 || top_k.fract() != 0.0 {
        return Err(wrong(format!("`top_k` cannot be {top_k}")));
    }
    let sampling = Sampling {
        temperature: if json["do_sample"] == false { 0.0 } else { sampled("temperature", 1.0)? as f32 },
        top_p: sampled("top_p", 1.0)? as f32,
        top_k: top_k as usize,
        min_p: sampled("min_p", 0.0)? as f32,
        repetition_penalty: number("repetition_penalty", 1.0)? as f32,
        ..Sampling::default()
    };
    sampling.check().map_err(wrong)?;
    Ok((sampling, Some(text)))
}
