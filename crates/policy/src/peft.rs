//! LoRA adapters as PEFT stores them: a folder with `adapter_config.json` and `adapter_model.safetensors`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::checkpoint;
use crate::config::ModelConfig;
use crate::decoder::Decoder;
use crate::device::ComputeDevice;
use crate::error::PolicyError;
use crate::float_type::FloatType;
use crate::gguf::{Gguf, GgufOrigin};
use crate::hub_cache;
use crate::layout::{Form, Layout, Lora, Spec};
use crate::model::{self, GgufMatrices, Head, Loaded};
use crate::save::File;
use crate::source::{ModelSource, Repository};
use crate::tokenizer::Tokenizer;

/// Prefix of every tensor's name in the files of PEFT.
const PEFT: &str = "base_model.model.";

/// The file beside an adapter of a GGUF file that says where that file is. `adapter_config.json` cannot: PEFT takes what
/// it names for a Hugging Face model.
const TRAINED_ON: &str = "trained_on.json";

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

/// The contents of [`TRAINED_ON`]: the GGUF file that an adapter was trained on.
#[derive(Serialize, Deserialize)]
struct TrainedOn {
    /// Path of the file, absolute or relative to the adapter's folder or to the working directory.
    path: PathBuf,
    /// Where the file is on the Hub; `None` for a file that was not taken from there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    repository: Option<Repository>,
}

/// A base model that is not on this machine, as its adapter names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AbsentBase {
    /// Its name: a path that does not exist, or the id of a model on the Hub.
    pub name: String,
    /// For a model of the Hub, its branch, tag or commit.
    pub revision: String,
    /// For a GGUF file on the Hub, its path in the repository.
    pub file: Option<String>,
}

/// The base model of the adapter in `folder` if it is not on this machine: neither at the path that the adapter names
/// nor in the Hub's cache. `None` if it is, or if the folder holds no adapter.
pub fn absent_base(folder: &Path) -> Result<Option<AbsentBase>, PolicyError> {
    let at = folder.join("adapter_config.json");
    if !at.exists() {
        return Ok(None);
    }
    Ok(find_base(folder, &read_json(&at)?)?.err())
}

fn read_json(path: &Path) -> Result<Value, PolicyError> {
    let text = std::fs::read_to_string(path).map_err(PolicyError::io(path))?;
    serde_json::from_str(&text).map_err(|e| PolicyError::file(path, format!("not JSON: {e}")))
}

/// Finds the base model of the adapter in `folder`, whose `adapter_config.json` is `json`: the GGUF file that
/// [`TRAINED_ON`] names; or else the model that `json` names, a path (relative to the adapter's folder or to the working
/// directory, or absolute) or a model in the Hub's cache on this machine. The inner error is a base that is not there.
fn find_base(folder: &Path, json: &Value) -> Result<Result<ModelSource, AbsentBase>, PolicyError> {
    let existing = |named: &Path| {
        let paths = [folder.join(named), named.to_owned()].into_iter();
        paths.filter(|_| !named.as_os_str().is_empty()).find(|path| path.exists())
    };
    let at = folder.join(TRAINED_ON);
    if at.exists() {
        let trained_on = serde_json::from_value(read_json(&at)?);
        let TrainedOn { path, repository } = trained_on.map_err(|e| PolicyError::file(&at, e.to_string()))?;
        if let Some(path) = existing(&path) {
            return Ok(Ok(ModelSource { path, repository }));
        }
        if let Some(Repository { id, commit, file: Some(file) }) = &repository {
            let cached = hub_cache::snapshot(id, commit).map(|snapshot| snapshot.join(file)).filter(|p| p.exists());
            let absent = || AbsentBase { name: id.clone(), revision: commit.clone(), file: Some(file.clone()) };
            return Ok(cached.map(|path| ModelSource { path, repository: repository.clone() }).ok_or_else(absent));
        }
    }
    let name = json["base_model_name_or_path"].as_str().unwrap_or_default();
    if let Some(path) = existing(Path::new(name)) {
        return Ok(Ok(path.into()));
    }
    let revision = json["revision"].as_str().filter(|revision| !revision.is_empty()).unwrap_or("main");
    // A download may have been cut off.
    let is_whole = |snapshot: &PathBuf| snapshot.join("config.json").exists() && checkpoint::has_weights(snapshot);
    let cached = hub_cache::snapshot(name, revision).filter(is_whole);
    let absent = || AbsentBase { name: name.to_owned(), revision: revision.to_owned(), file: None };
    Ok(cached.map(|path| in_cache(name, path)).ok_or_else(absent))
}

/// The base model of the adapter in `folder`, as [`find_base`] finds it.
///
/// # Errors
///
/// When the base is not on this machine.
fn base_of(folder: &Path, json: &Value) -> Result<ModelSource, PolicyError> {
    find_base(folder, json)?.map_err(|AbsentBase { name, .. }| {
        let message = format!(
            "`base_model_name_or_path` {name:?} is neither a folder nor a file on this machine, nor a model in the Hub's \
             cache; set it to the path of the base model"
        );
        PolicyError::file(&folder.join("adapter_config.json"), message)
    })
}

/// The path of the base model of the adapter in `folder`.
pub(crate) fn base_path(folder: &Path) -> Result<PathBuf, PolicyError> {
    Ok(base_of(folder, &read_json(&folder.join("adapter_config.json"))?)?.path)
}

/// The source of a model whose snapshot in the Hub's cache is the folder `path`.
fn in_cache(id: &str, path: PathBuf) -> ModelSource {
    let commit = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    ModelSource { path, repository: Some(Repository { id: id.to_owned(), commit, file: None }) }
}

/// Loads the PEFT adapter in `folder` together with its base model.
pub(crate) fn load(
    folder: &Path,
    head: Head,
    device: &ComputeDevice,
    matrices: GgufMatrices,
) -> Result<Loaded, PolicyError> {
    let at = folder.join("adapter_config.json");
    let wrong = |why: String| PolicyError::file(&at, why);
    let mut json = read_json(&at)?;
    if json["peft_type"] != "LORA" {
        return Err(wrong(format!("`peft_type` {} is not supported; supported: LORA", json["peft_type"])));
    }
    check_keys(&json).map_err(wrong)?;
    let weights = folder.join("adapter_model.safetensors");
    if json["target_modules"].is_string() {
        // A regular expression matched the matrices that the file has tensors for.
        json["target_modules"] = checkpoint::adapted_matrices(&weights, PEFT)?.into();
    }
    let lora: Lora = serde_json::from_value(json.clone()).map_err(|e| wrong(e.to_string()))?;
    let base = base_of(folder, &json)?;
    let config = if base.path.is_dir() {
        let at = base.path.join("config.json");
        let text = std::fs::read_to_string(&at).map_err(PolicyError::io(&at))?;
        ModelConfig::parse(&text).map_err(|why| PolicyError::file(&at, why))?
    } else {
        Gguf::open(&base.path)?.config()?
    };
    let (layout, _) = model::declare(&config, Some(lora.clone()))?;
    let mut stored = Layout::new(None);
    for spec in layout.specs().iter().filter(|s| s.trained) {
        stored.tensor(format!("{PEFT}{}", spec.name), spec.shape, spec.form, spec.start);
    }
    let found = checkpoint::find_in_file(&weights, &Arc::new(stored))?;
    let mut held: BTreeMap<String, Vec<f32>> = BTreeMap::new();
    found.read(
        |_| Vec::new(),
        |spec, values| {
            held.insert(spec.name[PEFT.len()..].to_owned(), values);
        },
    )?;
    let mut make = |spec: &Spec| held.remove(&spec.name).unwrap_or_else(|| vec![0.0; spec.elements()]);
    let mut loaded = model::load_with(&base.path, head, device, matrices, Some(lora), &mut make)?;
    // The folder of an adapter may hold a tokenizer of its own.
    if folder.join("tokenizer.json").exists() {
        let ends = loaded.tokenizer.eos().to_vec();
        loaded.tokenizer = Tokenizer::load(folder, config.vocab_size())?;
        loaded.tokenizer.also_ends(&ends);
    }
    loaded.base = Some(base);
    Ok(loaded)
}

/// Checks that an `adapter_config.json` asks for nothing that rlar does not compute. The error names the key.
fn check_keys(json: &Value) -> Result<(), String> {
    for (key, value) in json.as_object().into_iter().flatten() {
        let empty = value.is_null()
            || value == false
            || value.as_array().is_some_and(Vec::is_empty)
            || value.as_object().is_some_and(serde_json::Map::is_empty);
        let plain = match key.as_str() {
            "init_lora_weights" => value == true || value == "gaussian",
            "bias" => value == "none",
            "target_modules" if !value.is_array() && (!value.is_string() || value == "all-linear") => {
                return Err(format!(
                    "`target_modules` {value} is neither a list of names nor a regular expression; list the matrices \
                     one by one"
                ));
            }
            "modules_to_save" if !empty => {
                return Err(format!(
                    "`modules_to_save` {value} is not supported (it trains whole matrices in addition to the adapter); \
                     merge the adapter into its base with PEFT (`merge_and_unload`), and use the merged model"
                ));
            }
            _ => HARMLESS.contains(&key.as_str()),
        };
        if !empty && !plain {
            return Err(format!("`{key}` {value} is not supported"));
        }
    }
    Ok(())
}

/// The files of a PEFT folder that holds the adapter of `decoder`, in `float32`. `gguf` is what the metadata of the base
/// model say about its origin if that is a GGUF file.
pub(crate) fn files(
    decoder: &Decoder,
    lora: &Lora,
    base: Option<&ModelSource>,
    gguf: Option<&GgufOrigin>,
) -> Result<Vec<File>, PolicyError> {
    let serialised = |json: serde_json::Result<Value>, format| {
        json.map_err(|e| PolicyError::Serialise { format, message: e.to_string() })
    };
    let mut json = serialised(serde_json::to_value(lora), "adapter_config.json")?;
    let BaseName { name, revision } = base_name(base, gguf);
    let transposed = decoder.layout().specs().iter().any(|s| s.form == Form::Transposed);
    let peft = [
        ("peft_type", "LORA".into()),
        ("task_type", "CAUSAL_LM".into()),
        ("bias", "none".into()),
        ("base_model_name_or_path", name.into()),
        ("fan_in_fan_out", transposed.into()),
        ("inference_mode", true.into()),
    ];
    for (key, value) in peft.into_iter().chain(revision.map(|commit| ("revision", commit.into()))) {
        json[key] = value;
    }
    let weights = checkpoint::to_safetensors(decoder.weights(), FloatType::Float32, |spec| {
        spec.trained.then(|| format!("{PEFT}{}", spec.name))
    })?;
    let mut files =
        vec![("adapter_config.json", format!("{json:#}").into_bytes()), ("adapter_model.safetensors", weights)];
    if let (Some(base), Some(_)) = (base, gguf) {
        let trained_on = TrainedOn { path: base.path.clone(), repository: base.repository.clone() };
        let json = serialised(serde_json::to_value(trained_on), TRAINED_ON)?;
        files.push((TRAINED_ON, format!("{json:#}").into_bytes()));
    }
    Ok(files)
}

/// The base model in an `adapter_config.json`.
struct BaseName {
    /// A path, or the id of a model on the Hub.
    name: String,
    /// The commit of a model on the Hub, where it is known.
    revision: Option<String>,
}

/// The name by which PEFT finds the base model: the id of a model on the Hub, for a GGUF file the one from which it was
/// converted; otherwise a path. Of a GGUF file whose metadata name no such model, PEFT finds nothing by this name.
fn base_name(base: Option<&ModelSource>, gguf: Option<&GgufOrigin>) -> BaseName {
    if let Some(id) = gguf.and_then(|origin| origin.converted_from.clone()) {
        return BaseName { name: id, revision: None };
    }
    match base {
        Some(ModelSource { repository: Some(Repository { id, commit, .. }), .. }) => {
            BaseName { name: id.clone(), revision: Some(commit.clone()) }
        }
        other => BaseName { name: other.map(|b| b.path.display().to_string()).unwrap_or_default(), revision: None },
    }
}

/// The text of a `README.md` beside an adapter of a GGUF file: which model it adapts, and how PEFT loads it.
pub(crate) fn readme(base: &ModelSource, origin: &GgufOrigin) -> String {
    let file = base.path.file_name().unwrap_or_default().to_string_lossy();
    let quoted = |text: &str| Value::from(text).to_string();
    let (place, load) = if let Some(Repository { id, commit, file: Some(file) }) = &base.repository {
        let load = format!("{}, revision={}, gguf_file={}", quoted(id), quoted(commit), quoted(file));
        (format!(" of {id} at commit `{commit}`"), load)
    } else {
        let folder = base.path.parent().unwrap_or(Path::new("")).display().to_string();
        (String::new(), format!("{}, gguf_file={}", quoted(&folder), quoted(&file)))
    };
    let front = match &origin.converted_from {
        Some(id) => format!("---\nbase_model: {id}\nlibrary_name: peft\n---\n"),
        None => "---\nlibrary_name: peft\n---\n".to_owned(),
    };
    let named = match (&origin.converted_from, &origin.parent) {
        (Some(id), _) => format!(
            "As the base model, `adapter_config.json` names {id}, from which the GGUF file was converted according to its \
             metadata. PEFT loads that model. Its weights are those from before quantisation, so outputs differ a little \
             from those in training. To load the weights of the training instead:"
        ),
        (None, parent) => {
            let hint = parent.as_ref().map_or(String::new(), |id| {
                format!(
                    " Its metadata name {id} as its parent, which is either that model or the one from which that was \
                     fine-tuned."
                )
            });
            format!(
                "The metadata of the GGUF file do not say from which Hugging Face model it was converted, so PEFT finds \
                 no base model by the name in `adapter_config.json`. If you know the model, write its name there as \
                 `base_model_name_or_path`.{hint} Or load the weights of the training:"
            )
        }
    };
    format!(
        "{front}\n# A LoRA adapter of a GGUF file\n\nrlar trained this adapter on the weights of `{file}`{place}. rlar finds \
         this file by `{TRAINED_ON}`.\n\n{named}\n\n```python\nfrom peft import PeftModel\nfrom transformers import \
         AutoModelForCausalLM\n\nbase = AutoModelForCausalLM.from_pretrained({load})\nmodel = \
         PeftModel.from_pretrained(base, \"THIS FOLDER\")\n```\n"
    )
}
