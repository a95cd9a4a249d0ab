//! Low-rank adaptations: what they change, what they cost, and that PEFT's files are read and written.

#![allow(clippy::print_stdout)]

use std::fs;
use std::path::{Path, PathBuf};

use rlar_policy::{
    AbsentBase, AdamW, ComputeDevice, File, Gradients, Lora, ModelSource, Moments, Policy, PolicyError, Repository,
    SavedActivations, Sequence, absent_base, floats,
};

use crate::wide::wide;
use crate::{ggufs, parity, tiny};

const SEQUENCES: [Sequence<'static>; 2] =
    [Sequence { prompt: &[5, 9], completion: &[17, 3] }, Sequence { prompt: &[44], completion: &[1, 2, 3] }];

fn lora(dropout: f32) -> Lora {
    let target_modules = vec!["q_proj".to_owned(), "down_proj".to_owned()];
    Lora { r: 3, lora_alpha: 6.0, target_modules, lora_dropout: dropout, use_rslora: false }
}

fn save(policy: &Policy) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in policy.files().unwrap() {
        fs::write(folder.path().join(name), bytes).unwrap();
    }
    folder
}

fn scores(policy: &Policy) -> Vec<f32> {
    floats(&policy.decoder.log_probs(&SEQUENCES, 1.0).log_probs)
}

fn adam() -> AdamW {
    AdamW { beta1: 0.9, beta2: 0.99, eps: 1e-8, weight_decay: 0.0, max_norm: 1.0 }
}

/// A model on disk, and the same with an adaptation that has taken a step.
fn trained() -> (tempfile::TempDir, Policy, Moments) {
    let base = save(&tiny::policy());
    let mut policy = Policy::load(base.path(), &ComputeDevice::new("cpu").unwrap()).unwrap();
    policy = policy.adapt(lora(0.0), 1, base.path().into()).unwrap();
    let mut moments = Moments::zeros(&policy.decoder);
    for _ in 0..3 {
        let mut gradients = Gradients::default();
        gradients.add(&policy.decoder, &SEQUENCES, 1.0, SavedActivations::All, |s| s.log_probs.mean().neg());
        adam().step(&mut policy.decoder, &mut moments, gradients, 0.05);
    }
    (base, policy, moments)
}

#[test]
fn a_fresh_adaptation_changes_nothing_and_a_step_changes_only_it() {
    let base = tiny::policy();
    let (_folder, policy, moments) = trained();
    let fresh = tiny::policy().adapt(lora(0.0), 1, Path::new("base").into()).unwrap();
    assert_eq!(scores(&base), scores(&fresh));
    assert!(scores(&policy).iter().sum::<f32>() > scores(&base).iter().sum::<f32>() + 0.1);
    let (old, new) = (base.weights(), policy.weights());
    for (spec, after) in new.entries() {
        match old.entries().find(|(s, _)| s.name == spec.name) {
            Some((_, before)) => assert!(before == after && !spec.trained, "{} moved", spec.name),
            None => assert!(spec.name.contains(".lora_") && spec.trained),
        }
    }
    // Frozen weights have no moments.
    let held: usize = moments.m.entries().map(|(_, m)| m.len()).sum();
    let own: usize =
        policy.layout().specs().iter().filter(|s| s.trained).map(rlar_policy::layout::Spec::elements).sum();
    assert_eq!(held, own);
}

#[test]
fn adapter_and_moments_come_back_from_disk_bit_for_bit_and_merging_keeps_the_scores() {
    let cpu = ComputeDevice::new("cpu").unwrap();
    let (_base, policy, moments) = trained();
    let folder = save(&policy);
    for (name, bytes) in [moments.first_file().unwrap(), moments.second_file().unwrap()] {
        fs::write(folder.path().join(name), bytes).unwrap();
    }
    let again = Policy::load(folder.path(), &cpu).unwrap();
    assert_eq!(scores(&policy), scores(&again));
    let loaded = Moments::load(&again.decoder, folder.path(), 3).unwrap();
    for (a, b) in [(&moments.m, &loaded.m), (&moments.v, &loaded.v)] {
        assert!(a.entries().zip(b.entries()).all(|((_, a), (_, b))| a == b));
    }
    let merged = policy.merged().unwrap();
    assert!(merged.layout().lora().is_none());
    let whole = Policy::load(save(&merged).path(), &cpu).unwrap();
    for (a, b) in scores(&policy).iter().zip(scores(&whole)) {
        assert!((a - b).abs() < 1e-5, "{a} is not {b}");
    }
}

#[test]
fn dropout_is_decided_by_its_seed_and_only_where_it_is_asked_for() {
    let policy = tiny::policy().adapt(lora(0.5), 1, Path::new("base").into()).unwrap();
    let gradient = |seed: Option<u64>, keep| {
        let decoder = seed.map_or_else(|| policy.decoder.clone(), |s| policy.decoder.with_dropout(s));
        let mut gradients = Gradients::default();
        gradients.add(&decoder, &SEQUENCES, 1.0, keep, |s| s.log_probs.mean().neg());
        gradients.to_map()["model.layers.0.self_attn.q_proj.lora_B.weight"].clone()
    };
    let one = gradient(Some(1), SavedActivations::All);
    assert_eq!(one, gradient(Some(1), SavedActivations::All));
    assert_ne!(one, gradient(Some(2), SavedActivations::All));
    assert_ne!(one, gradient(None, SavedActivations::All));
    for (a, b) in one.iter().zip(gradient(Some(1), SavedActivations::LayerInputs)) {
        assert!((a - b).abs() < 1e-5, "computing layers again drops something else: {a}, {b}");
    }
}

#[test]
fn what_an_adapter_asks_for_and_rlar_cannot_do_is_named() {
    let cpu = ComputeDevice::new("cpu").unwrap();
    let refused = |change: &dyn Fn(&mut serde_json::Value), words: &[&str]| {
        let folder = tempfile::tempdir().unwrap();
        for file in fs::read_dir(parity::folder("llama_adapter")).unwrap() {
            let file = file.unwrap().path();
            fs::copy(&file, folder.path().join(file.file_name().unwrap())).unwrap();
        }
        let path = folder.path().join("adapter_config.json");
        let mut json: serde_json::Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
        json["base_model_name_or_path"] = parity::folder("llama").display().to_string().into();
        change(&mut json);
        fs::write(&path, json.to_string()).unwrap();
        let error = Policy::load(folder.path(), &cpu).unwrap_err().to_string();
        for word in words {
            assert!(error.contains(word), "`{error}` does not mention `{word}`");
        }
    };
    refused(&|j| j["init_lora_weights"] = "pissa".into(), &["`init_lora_weights`", "pissa"]);
    refused(&|j| j["trainable_token_indices"] = serde_json::json!([1]), &["`trainable_token_indices`"]);
    refused(&|j| j["target_modules"] = "all-linear".into(), &["`target_modules`", "list"]);
    refused(&|j| j["modules_to_save"] = serde_json::json!(["lm_head"]), &["`modules_to_save`", "lm_head", "merge"]);
    refused(&|j| j["base_model_name_or_path"] = "../nowhere".into(), &["`base_model_name_or_path`"]);
    refused(&|j| j["use_dora"] = true.into(), &["`use_dora`", "adapter_config.json"]);
    refused(&|j| j["base_model_name_or_path"] = "org/model".into(), &["`base_model_name_or_path`", "org/model"]);
    refused(&|j| j["r"] = 4.into(), &["lora_", "shape", "4"]);
    refused(&|j| j["target_modules"] = serde_json::json!(["c_attn"]), &["`c_attn`", "does not have"]);
    refused(&|j| j["target_modules"] = serde_json::json!(["q_proj"]), &["not a part"]);
}

/// A copy of the fixture with an adapter whose configuration names this base model and these targets.
fn adapter(base: &str, targets: serde_json::Value) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for file in fs::read_dir(parity::folder("llama_adapter")).unwrap() {
        let file = file.unwrap().path();
        fs::copy(&file, folder.path().join(file.file_name().unwrap())).unwrap();
    }
    let path = folder.path().join("adapter_config.json");
    let mut json: serde_json::Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    json["base_model_name_or_path"] = base.into();
    json["target_modules"] = targets;
    fs::write(&path, json.to_string()).unwrap();
    folder
}

/// The log-probs of a sequence in the small vocabulary of the fixtures.
fn fixture_scores(policy: &Policy) -> Vec<f32> {
    let sequence = Sequence { prompt: &[5, 9], completion: &[17, 3, 30] };
    floats(&policy.decoder.log_probs(&[sequence], 1.0).log_probs)
}

/// The targets of the fixture's adapter.
fn targets() -> serde_json::Value {
    let config = fs::read_to_string(parity::folder("llama_adapter").join("adapter_config.json")).unwrap();
    serde_json::from_str::<serde_json::Value>(&config).unwrap()["target_modules"].clone()
}

#[test]
fn targets_that_a_regular_expression_names_are_those_of_the_file() {
    let cpu = ComputeDevice::new("cpu").unwrap();
    let base = parity::folder("llama").display().to_string();
    let listed = Policy::load(adapter(&base, targets()).path(), &cpu).unwrap();
    let matched = adapter(&base, r"(?:.*?(?:self_attn|mlp).*?)".into());
    let matched = Policy::load(matched.path(), &cpu).unwrap();
    assert_eq!(fixture_scores(&matched), fixture_scores(&listed));
    let again = save(&matched);
    assert_eq!(fixture_scores(&Policy::load(again.path(), &cpu).unwrap()), fixture_scores(&listed));
}

/// Puts a snapshot of the fixture `llama` into a cache of the Hub, as `org/small-llama` at a branch or tag. Returns the
/// snapshot's folder.
fn cached_base(cache: &Path, revision: &str, commit: &str) -> PathBuf {
    let model = cache.join("models--org--small-llama");
    let snapshot = model.join("snapshots").join(commit);
    fs::create_dir_all(&snapshot).unwrap();
    fs::create_dir_all(model.join("refs")).unwrap();
    fs::write(model.join("refs").join(revision), commit).unwrap();
    for file in fs::read_dir(parity::folder("llama")).unwrap() {
        let file = file.unwrap().path();
        fs::copy(&file, snapshot.join(file.file_name().unwrap())).unwrap();
    }
    snapshot
}

/// What a process prints that loads an adapter with this cache of the Hub. The variables of the tests' own process are
/// those of all tests.
fn load_with_cache(cache: &Path, adapter: &Path) -> String {
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "adapters::a_process_loads_the_adapter_that_its_variable_names", "--nocapture"])
        .env("HF_HUB_CACHE", cache)
        .env("RLAR_TEST_ADAPTER", adapter)
        .output()
        .unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_base_model_is_found_in_the_cache_of_the_hub() {
    let cache = tempfile::tempdir().unwrap();
    let snapshot = cached_base(cache.path(), "main", "0123456789abcdef0123456789abcdef01234567");
    let said = load_with_cache(cache.path(), adapter("org/small-llama", targets()).path());
    assert!(said.contains(&format!("base {}", snapshot.display())), "{said}");
}

#[test]
fn the_revision_of_a_base_model_is_the_one_that_its_adapter_names() {
    let cache = tempfile::tempdir().unwrap();
    cached_base(cache.path(), "main", "0123456789abcdef0123456789abcdef01234567");
    let tagged = cached_base(cache.path(), "v2", "89abcdef0123456789abcdef0123456789abcdef");
    let folder = adapter("org/small-llama", targets());
    let path = folder.path().join("adapter_config.json");
    let mut json: serde_json::Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    json["revision"] = "v2".into();
    fs::write(&path, json.to_string()).unwrap();
    let said = load_with_cache(cache.path(), folder.path());
    assert!(said.contains(&format!("base {}", tagged.display())), "{said}");
    json["revision"] = "v3".into();
    fs::write(&path, json.to_string()).unwrap();
    let said = load_with_cache(cache.path(), folder.path());
    assert!(!said.contains("base /") && said.contains("test result: FAILED"), "{said}");
}

#[test]
fn a_process_loads_the_adapter_that_its_variable_names() {
    let Some(folder) = std::env::var_os("RLAR_TEST_ADAPTER") else { return };
    let policy = Policy::load(folder.as_ref(), &ComputeDevice::new("cpu").unwrap()).unwrap();
    println!("base {}", policy.base_model().unwrap().display());
}

#[test]
fn an_adapted_policy_cannot_be_adapted_again() {
    let policy = tiny::policy().adapt(lora(0.0), 1, Path::new("base").into()).unwrap();
    assert!(
        matches!(policy.adapt(lora(0.0), 1, Path::new("base").into()), Err(e @ PolicyError::AdapterPresent) if e.to_string().contains("merge"))
    );
}

#[test]
fn an_adapter_with_its_own_tokenizer_still_ends_where_its_model_ends() {
    let cpu = ComputeDevice::new("cpu").unwrap();
    let (base, policy, _) = trained();
    let config = base.path().join("config.json");
    let mut json: serde_json::Value = serde_json::from_str(&fs::read_to_string(&config).unwrap()).unwrap();
    json["eos_token_id"] = serde_json::json!([0, 7]);
    fs::write(&config, json.to_string()).unwrap();
    let adapter = save(&policy);
    assert!(adapter.path().join("tokenizer.json").exists());
    assert_eq!(Policy::load(adapter.path(), &cpu).unwrap().tokenizer.eos(), [0, 7]);
}

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// An untrained adapter of the GGUF file at `path`, as it is published.
fn gguf_adapter(path: &Path, repository: Option<Repository>) -> Vec<File> {
    let policy = Policy::load_frozen(path, &ComputeDevice::new("cpu").unwrap()).unwrap();
    let source = ModelSource { path: path.to_owned(), repository };
    policy.adapt(lora(0.0), 1, source).unwrap().published_files(None).unwrap()
}

fn written(files: &[File]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        fs::write(folder.path().join(name), bytes).unwrap();
    }
    folder
}

fn adapter_config(files: &[File]) -> serde_json::Value {
    let (_, bytes) = files.iter().find(|(name, _)| *name == "adapter_config.json").unwrap();
    serde_json::from_slice(bytes).unwrap()
}

fn readme(files: &[File]) -> &str {
    let (_, bytes) = files.iter().find(|(name, _)| *name == "README.md").unwrap();
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn an_adapter_of_a_gguf_names_the_model_that_the_file_was_converted_from() {
    let source = [("general.source.repo_url", "https://huggingface.co/org/small")];
    let gguf = wide(&ggufs::file("llama"), "llama", &source);
    let files = gguf_adapter(gguf.path(), None);
    assert_eq!(adapter_config(&files)["base_model_name_or_path"], "org/small");
    assert!(readme(&files).contains("base_model: org/small"), "{}", readme(&files));
    // rlar goes on with the file that the adapter was trained on.
    let folder = written(&files);
    let again = Policy::load(folder.path(), &ComputeDevice::new("cpu").unwrap()).unwrap();
    assert_eq!(again.base_model(), Some(gguf.path()));
    assert_eq!(absent_base(folder.path()).unwrap(), None);
    let same = again.published_files(None).unwrap();
    assert_eq!(adapter_config(&same), adapter_config(&files));
    assert_eq!(readme(&same), readme(&files));
    // Without that file, the named model takes its place.
    drop(gguf);
    let absent = AbsentBase { name: "org/small".into(), revision: "main".into(), file: None };
    assert_eq!(absent_base(folder.path()).unwrap(), Some(absent));
    let error = Policy::load(folder.path(), &ComputeDevice::new("cpu").unwrap()).unwrap_err().to_string();
    assert!(error.contains("org/small") && error.contains("`base_model_name_or_path`"), "{error}");
}

#[test]
fn an_adapter_of_a_gguf_of_unknown_origin_says_how_peft_loads_it() {
    // A parent may be the model from which the one in the file was fine-tuned: it is no base for the adapter.
    let parent = [("general.base_model.0.repo_url", "https://huggingface.co/org/pretrained")];
    let gguf = wide(&ggufs::file("llama"), "llama", &parent);
    let files = gguf_adapter(gguf.path(), None);
    let path = gguf.path().display().to_string();
    assert_eq!(adapter_config(&files)["base_model_name_or_path"], path.as_str());
    let name = gguf.path().file_name().unwrap().to_string_lossy();
    for part in ["org/pretrained", "`base_model_name_or_path`", &format!("gguf_file=\"{name}\"")] {
        assert!(readme(&files).contains(part), "{}", readme(&files));
    }
    assert!(!readme(&files).contains("base_model:"), "{}", readme(&files));
}

#[test]
fn an_adapter_of_a_gguf_on_the_hub_names_its_repository_and_commit() {
    let gguf = wide(&ggufs::file("llama"), "llama", &[]);
    let file = Some("q4.gguf".to_owned());
    let repository = Repository { id: "org/small-GGUF".into(), commit: COMMIT.into(), file: file.clone() };
    let files = gguf_adapter(gguf.path(), Some(repository));
    let config = adapter_config(&files);
    assert_eq!((&config["base_model_name_or_path"], &config["revision"]), (&"org/small-GGUF".into(), &COMMIT.into()));
    let load = format!("from_pretrained(\"org/small-GGUF\", revision=\"{COMMIT}\", gguf_file=\"q4.gguf\")");
    assert!(readme(&files).contains(&load), "{}", readme(&files));
    let folder = written(&files);
    assert_eq!(absent_base(folder.path()).unwrap(), None);
    drop(gguf);
    let absent = AbsentBase { name: "org/small-GGUF".into(), revision: COMMIT.into(), file };
    assert_eq!(absent_base(folder.path()).unwrap(), Some(absent));
}

#[test]
fn an_adapter_of_a_model_on_the_hub_names_its_id_and_commit() {
    let base = save(&tiny::policy());
    let policy = Policy::load(base.path(), &ComputeDevice::new("cpu").unwrap()).unwrap();
    let repository = Repository { id: "org/small".into(), commit: COMMIT.into(), file: None };
    let source = ModelSource { path: base.path().to_owned(), repository: Some(repository) };
    let files = policy.adapt(lora(0.0), 1, source).unwrap().published_files(None).unwrap();
    let config = adapter_config(&files);
    assert_eq!((&config["base_model_name_or_path"], &config["revision"]), (&"org/small".into(), &COMMIT.into()));
    let names: Vec<&str> = files.iter().map(|(name, _)| *name).filter(|name| !name.contains("token")).collect();
    assert_eq!(names, ["adapter_config.json", "adapter_model.safetensors"]);
}
