use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use half::bf16;
use rlar_policy::{ComputeDevice, File, FloatType, Policy, RewardModel, Sequence, Weight};
use safetensors::{Dtype, SafeTensors};

use crate::{parity, tiny};

fn saved() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in tiny::policy().files().unwrap() {
        fs::write(folder.path().join(name), bytes).unwrap();
    }
    folder
}

fn load(folder: &Path) -> Result<Policy, String> {
    Policy::load(folder, &ComputeDevice::new("cpu").unwrap()).map_err(|e| e.to_string())
}

#[track_caller]
fn refused(folder: &Path, words: &[&str]) {
    let error = load(folder).map(|_| ()).unwrap_err();
    for word in words {
        assert!(error.contains(word), "`{error}` does not mention `{word}`");
    }
}

#[test]
fn what_is_saved_loads_as_the_same_model() {
    let folder = saved();
    let (before, after) = (tiny::policy(), load(folder.path()).unwrap());
    let sequence = [Sequence { prompt: &[1, 2], completion: &[3, 4, 5] }];
    let score = |p: &Policy| p.decoder.log_probs(&sequence, 1.0).log_probs.into_data();
    assert_eq!(score(&before), score(&after));
    let text = "12 and a quick fox";
    assert_eq!(before.tokenizer.encode(text).unwrap(), after.tokenizer.encode(text).unwrap());
    assert_eq!(after.tokenizer.decode(&after.tokenizer.encode(text).unwrap()).unwrap(), text);
    assert_eq!(before.tokenizer.eos(), after.tokenizer.eos());
}

#[test]
fn many_safetensors_files_are_one_model() {
    let folder = saved();
    let whole = folder.path().join("model.safetensors");
    let bytes = fs::read(&whole).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let mut map = serde_json::Map::new();
    for (file, first) in [("model-1.safetensors", true), ("model-2.safetensors", false)] {
        let part: Vec<_> =
            tensors.tensors().into_iter().filter(|(name, _)| name.contains("layers.0") == first).collect();
        map.extend(part.iter().map(|(name, _)| (name.clone(), file.into())));
        fs::write(folder.path().join(file), safetensors::serialize(part, None).unwrap()).unwrap();
    }
    fs::remove_file(&whole).unwrap();
    let index = folder.path().join("model.safetensors.index.json");
    fs::write(&index, serde_json::json!({ "weight_map": map }).to_string()).unwrap();
    let sequence = [Sequence { prompt: &[1, 2], completion: &[3, 4, 5] }];
    let score = |p: &Policy| p.decoder.log_probs(&sequence, 1.0).log_probs.into_data();
    assert_eq!(score(&tiny::policy()), score(&load(folder.path()).unwrap()));
    fs::remove_file(folder.path().join("model-2.safetensors")).unwrap();
    refused(folder.path(), &["model-2.safetensors", "No such file"]);
}

#[test]
fn configurations_in_older_and_newer_form_mean_the_same() {
    let parse = |key: &str, rope: serde_json::Value| {
        let mut json = tiny::json();
        json[key] = rope;
        rlar_policy::ModelConfig::new(json).map(|c| c.architecture)
    };
    let older = parse("rope_scaling", serde_json::json!({ "type": "linear", "factor": 2.0 })).unwrap();
    let newer = serde_json::json!({ "rope_type": "linear", "factor": 2.0, "rope_theta": 10000.0 });
    assert_eq!(older, parse("rope_parameters", newer).unwrap());
    assert_ne!(older, rlar_policy::ModelConfig::new(tiny::json()).unwrap().architecture);
}

#[test]
fn what_a_configuration_asks_for_and_rlar_cannot_do_is_named() {
    let refused = |key: &str, value: serde_json::Value, words: &[&str]| {
        let mut json = tiny::json();
        json[key] = value;
        let error = rlar_policy::ModelConfig::new(json).unwrap_err();
        for word in words {
            assert!(error.contains(word), "`{error}` does not mention `{word}`");
        }
    };
    refused("model_type", "mamba".into(), &["mamba", "supported: llama"]);
    refused("rope_scaling", serde_json::json!({ "rope_type": "longrope" }), &["longrope", "supported: default"]);
    refused("rope_scaling", serde_json::json!({ "rope_type": "linear" }), &["`factor`", "missing"]);
    refused("hidden_act", "softsign".into(), &["softsign", "supported: silu"]);
    refused("hidden_size", 0.into(), &["`hidden_size`", "between 1"]);
    refused("hidden_size", (1u64 << 40).into(), &["`hidden_size`", "2^24"]);
    refused("head_dim", 5.into(), &["`head_dim`", "even"]);
    refused("num_key_value_heads", 4.into(), &["6 attention heads", "4 key-value heads"]);
    refused("rms_norm_eps", (-1.0).into(), &["`rms_norm_eps`", "positive"]);
    refused("tie_word_embeddings", "yes".into(), &["`tie_word_embeddings`", "true or false"]);
    refused("architectures", serde_json::json!(["LlamaForTokenClassification"]), &["LlamaForTokenClassification"]);
}

#[test]
fn a_missing_file_is_named() {
    let folder = saved();
    fs::remove_file(folder.path().join("model.safetensors")).unwrap();
    refused(folder.path(), &["model.safetensors", "No such file"]);
    fs::remove_file(folder.path().join("tokenizer.json")).unwrap();
    refused(folder.path(), &["tokenizer.json", "missing"]);
    refused(&folder.path().join("nowhere"), &["nowhere"]);
}

#[test]
fn a_truncated_file_is_called_truncated_at_every_length() {
    let folder = saved();
    let path = folder.path().join("model.safetensors");
    let whole = fs::read(&path).unwrap();
    for keep in [0, 4, 100, whole.len() / 2, whole.len() - 1] {
        fs::write(&path, &whole[..keep]).unwrap();
        refused(folder.path(), &["model.safetensors", "truncated"]);
    }
}

#[test]
fn a_header_that_claims_terabytes_is_refused_before_memory_is_taken() {
    let folder = saved();
    fs::write(folder.path().join("model.safetensors"), (1u64 << 42).to_le_bytes()).unwrap();
    refused(folder.path(), &["not a safetensors file"]);
}

#[test]
fn nan_in_weights_is_found_and_placed() {
    let folder = saved();
    let path = folder.path().join("model.safetensors");
    let mut bytes = fs::read(&path).unwrap();
    let end = bytes.len();
    bytes[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    fs::write(&path, bytes).unwrap();
    refused(folder.path(), &["tensor `", "NaN", "damaged"]);
}

#[test]
fn a_tokenizer_of_another_model_is_refused() {
    let folder = saved();
    let path = folder.path().join("config.json");
    let config = fs::read_to_string(&path).unwrap().replace("\"vocab_size\": 290", "\"vocab_size\": 128");
    fs::write(&path, config).unwrap();
    refused(folder.path(), &["tokenizer.json", "vocabulary holds 128"]);
}

#[test]
fn shapes_and_names_are_checked_against_the_configuration() {
    let folder = saved();
    let path = folder.path().join("config.json");
    let config = fs::read_to_string(&path).unwrap();
    let with = |from: &str, to: &str| {
        assert!(config.contains(from));
        fs::write(&path, config.replace(from, to)).unwrap();
    };
    with("\"intermediate_size\": 40", "\"intermediate_size\": 48");
    refused(folder.path(), &["down_proj", "[24, 40]", "[24, 48]"]);
    with("\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3");
    refused(folder.path(), &["model.layers.2.", "missing"]);
    with("\"num_hidden_layers\": 2", "\"num_hidden_layers\": 1");
    refused(folder.path(), &["model.layers.1.", "not a part"]);
    with("\"model_type\": \"llama\"", "\"model_type\": \"mamba\"");
    refused(folder.path(), &["mamba", "supported: llama"]);
}

#[test]
fn a_gguf_that_is_not_one_or_is_cut_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    fs::write(&path, b"PK\x03\x04 something else").unwrap();
    refused(&path, &["not a GGUF file"]);
    fs::write(&path, b"GGUF\x03\0\0\0\xff\xff\xff\xff\xff\xff\xff\x7f\x05\0\0\0\0\0\0\0").unwrap();
    refused(&path, &["truncated"]);
}

#[test]
fn every_gguf_format_is_read_as_the_reference_reads_it() {
    let folder = std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures"));
    let gguf = rlar_policy::gguf::Gguf::open(&folder.join("formats.gguf")).unwrap();
    let text = fs::read_to_string(folder.join("formats.json")).unwrap();
    let wanted: std::collections::BTreeMap<String, Vec<f32>> = serde_json::from_str(&text).unwrap();
    assert_eq!(wanted.len(), 9);
    for (name, wanted) in wanted {
        let (values, _) = gguf.tensor(&name).unwrap();
        assert_eq!(values.len(), wanted.len(), "{name}");
        for (i, (a, b)) in values.iter().zip(&wanted).enumerate() {
            assert!((a - b).abs() <= 1e-6 * b.abs().max(1.0), "{name}[{i}]: {a}, not {b}");
        }
    }
}

/// A copy of a fixture whose JSON files were changed.
fn changed(name: &str, file: &str, change: impl Fn(&mut serde_json::Value)) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(crate::parity::folder(name)).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
    }
    let path = folder.path().join(file);
    let text = fs::read_to_string(&path).unwrap_or_else(|_| "{}".into());
    let mut json = serde_json::from_str(&text).unwrap();
    change(&mut json);
    fs::write(&path, json.to_string()).unwrap();
    folder
}

fn turns<'a>(question: &'a str, answer: &'a str) -> [rlar_policy::Turn<'a>; 2] {
    [("user", question), ("assistant", answer)].map(|(role, content)| rlar_policy::Turn { role, content })
}

#[test]
fn what_a_tokenizer_file_cuts_and_pads_to_is_not_obeyed() {
    let cut = changed("bert", "tokenizer.json", |j| {
        j["truncation"] =
            serde_json::json!({ "direction": "Right", "max_length": 8, "strategy": "LongestFirst", "stride": 0 });
        j["padding"] = serde_json::json!({ "strategy": { "Fixed": 20 }, "direction": "Right", "pad_to_multiple_of": null,
                                           "pad_id": 0, "pad_type_id": 0, "pad_token": "w0" });
    });
    let cpu = ComputeDevice::new("cpu").unwrap();
    let [cut, whole] = [cut.path().to_owned(), crate::parity::folder("bert")]
        .map(|path| rlar_policy::RewardModel::load(&path, &cpu).unwrap());
    for answer in ["w3 w3 w3 w3 w3 w3 w3 w3 w3 w3 w4", "w3"] {
        assert_eq!(cut.input(&turns("w2", answer)).unwrap(), whole.input(&turns("w2", answer)).unwrap());
    }
}

#[test]
fn a_decoder_scores_its_last_token_that_is_not_padding() {
    // The padding token of the fixture is 39.
    let model =
        rlar_policy::RewardModel::load(&crate::parity::folder("qwen3_reward"), &ComputeDevice::new("cpu").unwrap())
            .unwrap();
    let score = |ids: &[u32]| {
        let input = rlar_policy::RewardInput { ids: ids.to_vec(), segments: vec![0; ids.len()] };
        model.outputs(&[input], 100).unwrap()[0][0]
    };
    assert!((score(&[2, 3, 39, 39]) - score(&[2, 3])).abs() < 1e-6);
    assert!((score(&[2, 39, 3]) - score(&[2, 3])).abs() > 1e-6);
}

#[test]
fn a_tokenizer_that_contradicts_itself_is_an_error() {
    let beyond = changed("llama", "tokenizer.json", |j| {
        j["added_tokens"] = serde_json::json!([{ "id": 40, "content": "<image>", "single_word": false, "lstrip": false,
                                                 "rstrip": false, "normalized": false, "special": true }]);
    });
    let policy = load(beyond.path()).unwrap();
    assert!(policy.tokenizer.encode("w2 w3").is_ok());
    let error = policy.tokenizer.encode("w2 <image>").unwrap_err().to_string();
    assert!(error.contains("40"), "{error}");
    let absent = changed("bert", "tokenizer.json", |j| {
        j["post_processor"]["special_tokens"] = serde_json::json!({});
    });
    let model = rlar_policy::RewardModel::load(absent.path(), &ComputeDevice::new("cpu").unwrap());
    let outcome = model.map_err(|e| e.to_string()).and_then(|m| m.input(&turns("w2", "w3")).map_err(|e| e.to_string()));
    assert!(outcome.unwrap_err().contains("tokenizer"));
}

#[test]
fn impossible_numbers_are_refused_by_key() {
    let refused = |name: &str, change: &dyn Fn(&mut serde_json::Value), key: &str| {
        let folder = changed(name, "config.json", change);
        let cpu = ComputeDevice::new("cpu").unwrap();
        let error = match rlar_policy::RewardModel::load(folder.path(), &cpu) {
            Err(rlar_policy::PolicyError::WrongHead { .. }) => load(folder.path()).map(|_| ()).unwrap_err(),
            other => other.map(|_| ()).unwrap_err().to_string(),
        };
        assert!(error.contains(key), "`{error}` does not mention `{key}`");
    };
    refused("llama", &|j| j["num_hidden_layers"] = (1 << 24).into(), "`num_hidden_layers`");
    refused("llama", &|j| j["rope_parameters"] = "yarn".into(), "`rope_scaling`");
    refused("llama", &|j| j["partial_rotary_factor"] = 0.5.into(), "`partial_rotary_factor`");
    refused("llama", &|j| j["quantization_config"] = serde_json::json!({ "bits": 4 }), "`quantization_config`");
    refused("llama_linear_biases", &|j| j["rope_parameters"]["factor"] = 0.into(), "`factor`");
    refused("llama_rope3", &|j| j["rope_parameters"]["low_freq_factor"] = (-1).into(), "`low_freq_factor`");
    refused("llama_yarn", &|j| j["rope_parameters"]["attention_factor"] = 0.into(), "`attention_factor`");
    refused("gemma3", &|j| j["query_pre_attn_scalar"] = 0.into(), "`query_pre_attn_scalar`");
    refused("gemma3", &|j| j["layer_types"] = "full".into(), "`layer_types`");
    refused("qwen3_reward", &|j| j["id2label"] = serde_json::json!({}), "`id2label`");
    refused("qwen3_reward", &|j| j["id2label"] = serde_json::json!([]), "`id2label`");
    refused("deberta_v2", &|j| j["pos_att_type"] = 7.into(), "`pos_att_type`");
    refused("bert", &|j| j["type_vocab_size"] = (-1).into(), "`type_vocab_size`");
}

#[test]
fn a_model_is_sampled_as_its_generation_config_asks() {
    let with = |json: serde_json::Value| {
        let folder = changed("llama", "generation_config.json", |j| *j = json.clone());
        load(folder.path()).map(|p| {
            let kept = p.files().unwrap().into_iter().find(|(name, _)| *name == "generation_config.json");
            assert_eq!(serde_json::from_slice::<serde_json::Value>(&kept.unwrap().1).unwrap(), json);
            p.sampling().clone()
        })
    };
    let warm = with(serde_json::json!({ "do_sample": true, "temperature": 0.6, "top_k": 20, "top_p": 0.95 })).unwrap();
    assert_eq!((warm.temperature, warm.top_k, warm.top_p), (0.6, 20, 0.95));
    let greedy = with(serde_json::json!({ "do_sample": false, "temperature": 0.6 })).unwrap();
    assert!(greedy.temperature.abs() < f32::EPSILON);
    assert!(
        with(serde_json::json!({ "do_sample": true, "temperature": "hot" })).unwrap_err().contains("`temperature`")
    );
    assert!(with(serde_json::json!({ "do_sample": true, "top_k": -1 })).unwrap_err().contains("`top_k`"));
}

/// The contents of one of a model's files.
fn file<'f>(files: &'f [File], name: &str) -> &'f [u8] {
    &files.iter().find(|(other, _)| *other == name).unwrap().1
}

/// The type of every tensor in `model.safetensors`, and the values of all tensors by name.
fn stored(files: &[File]) -> (Vec<Dtype>, BTreeMap<String, Vec<f32>>) {
    let tensors = SafeTensors::deserialize(file(files, "model.safetensors")).unwrap();
    let values = |view: &safetensors::tensor::TensorView| -> Vec<f32> {
        match view.dtype() {
            Dtype::F32 => view.data().chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect(),
            Dtype::BF16 => view.data().chunks_exact(2).map(|b| bf16::from_le_bytes([b[0], b[1]]).to_f32()).collect(),
            other => panic!("{other:?}"),
        }
    };
    let mut types: Vec<Dtype> = tensors.tensors().iter().map(|(_, view)| view.dtype()).collect();
    types.sort();
    types.dedup();
    (types, tensors.tensors().iter().map(|(name, view)| (name.clone(), values(view))).collect())
}

fn config(files: &[File]) -> serde_json::Value {
    serde_json::from_slice(file(files, "config.json")).unwrap()
}

fn write(files: &[File]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        fs::write(folder.path().join(name), bytes).unwrap();
    }
    folder
}

#[test]
fn a_published_model_has_the_type_of_its_source_and_a_checkpoint_has_f32() {
    let policy = tiny::policy();
    let exact = stored(&policy.files().unwrap());
    assert_eq!(exact.0, [Dtype::F32]);
    assert_eq!(stored(&policy.published_files(None).unwrap()), exact, "a new model is in f32");
    let published = policy.published_files(Some(FloatType::Bfloat16)).unwrap();
    let (types, values) = stored(&published);
    assert_eq!((types, &config(&published)["dtype"]), (vec![Dtype::BF16], &"bfloat16".into()));
    for (name, values) in &values {
        for (rounded, value) in values.iter().zip(&exact.1[name]) {
            // Half a unit in the last of eight binary digits.
            assert!((rounded - value).abs() <= value.abs() / 256.0, "{name}: {rounded} is not near {value}");
            assert_eq!(rounded.to_bits(), bf16::from_f32(*value).to_f32().to_bits(), "{name}");
        }
    }
    let loaded = load(write(&published).path()).unwrap();
    for (spec, weight) in loaded.weights().entries() {
        assert_eq!(*weight, values[&spec.name], "{}", spec.name);
    }
    // A checkpoint is exact, and what is loaded from it is published like its source.
    let checkpoint = loaded.files().unwrap();
    assert_eq!(stored(&checkpoint), (vec![Dtype::F32], values));
    assert_eq!(config(&checkpoint)["dtype"], "float32");
    let resumed = load(write(&checkpoint).path()).unwrap();
    assert_eq!(resumed.files().unwrap(), checkpoint, "a checkpoint of a resumed run");
    let again = resumed.published_files(None).unwrap();
    for name in ["config.json", "model.safetensors"] {
        assert!(file(&again, name) == file(&published, name), "{name}");
    }
    assert_eq!(stored(&resumed.published_files(Some(FloatType::Float32)).unwrap()).0, [Dtype::F32]);
}

#[test]
fn files_of_several_types_are_published_in_f32() {
    let published = tiny::policy().published_files(Some(FloatType::Bfloat16)).unwrap();
    let tensors = SafeTensors::deserialize(file(&published, "model.safetensors")).unwrap();
    let norm = vec![0u8; 4 * 24];
    let mixed = tensors.tensors().into_iter().map(|(name, view)| {
        let norm = || safetensors::tensor::TensorView::new(Dtype::F32, vec![24], &norm).unwrap();
        if name == "model.norm.weight" { (name, norm()) } else { (name, view) }
    });
    let folder = write(&published);
    fs::write(folder.path().join("model.safetensors"), safetensors::serialize(mixed, None).unwrap()).unwrap();
    let loaded = load(folder.path()).unwrap();
    assert_eq!(stored(&loaded.published_files(None).unwrap()).0, [Dtype::F32]);
}

#[test]
fn weights_that_half_precision_cannot_hold_are_published_in_f32() {
    let mut policy = tiny::policy();
    let types = |policy: &Policy| {
        let files = policy.published_files(Some(FloatType::Float16)).unwrap();
        let tensors = SafeTensors::deserialize(file(&files, "model.safetensors")).unwrap();
        let (_, view) = tensors.tensors().remove(0);
        (view.dtype(), config(&files)["dtype"].as_str().unwrap().to_owned())
    };
    assert_eq!(types(&policy), (Dtype::F16, "float16".into()));
    let weight = &mut policy.decoder.weights_mut().values_mut()[0];
    *weight = Weight::Dense(weight.dense().unwrap().clone() * 1e7);
    assert_eq!(types(&policy), (Dtype::F32, "float32".into()));
}

#[test]
fn a_reward_model_keeps_the_type_of_its_source() {
    let cpu = ComputeDevice::new("cpu").unwrap();
    let source = fs::read(parity::folder("qwen3_reward").join("model.safetensors")).unwrap();
    let expected = stored(&[("model.safetensors", source)]);
    let model = RewardModel::load(&parity::folder("qwen3_reward"), &cpu).unwrap();
    assert_eq!(stored(&model.published_files(None).unwrap()), expected);
    let checkpoint = model.files().unwrap();
    assert_eq!(stored(&checkpoint), (vec![Dtype::F32], expected.1.clone()));
    let resumed = RewardModel::load(write(&checkpoint).path(), &cpu).unwrap();
    assert_eq!(stored(&resumed.published_files(None).unwrap()), expected);
}
