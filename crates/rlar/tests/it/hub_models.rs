//! Models of the Hub by name, for every command that takes a model. The Hub is on loopback.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use rlar_net::hub::serve::HubServer;
use serde_json::Value;
use tempfile::TempDir;

use crate::{refused, rlar, smoke, text};

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../policy/tests/fixtures");

/// An address at which nothing answers.
const NOWHERE: &str = "http://127.0.0.1:9";

/// A Hub with some models, and a folder for commands with a cache of its own.
struct TestHub {
    folder: TempDir,
    served: TempDir,
    server: HubServer,
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

impl TestHub {
    fn new() -> Self {
        let (folder, served) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        let models = Path::new(FIXTURES).join("models");
        copy(&models.join("llama"), &served.path().join("acme/tiny"));
        copy(&models.join("qwen3_reward"), &served.path().join("acme/reward"));
        let server = HubServer::start(served.path(), "127.0.0.1:0", None).unwrap();
        Self { folder, served, server }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn served(&self, id: &str) -> PathBuf {
        self.served.path().join(id)
    }

    fn run_with(&self, variables: &[(&str, &str)], arguments: &[&str]) -> Output {
        let mut command = rlar(self.path(), arguments);
        for name in ["HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_TOKEN"] {
            command.env_remove(name);
        }
        command.env("HF_HOME", self.path().join("hf")).env("HF_ENDPOINT", self.server.endpoint());
        command.envs(variables.iter().copied()).output().unwrap()
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.run_with(&[], arguments)
    }

    /// What a model replies to a prompt, greedily.
    fn reply_with(&self, variables: &[(&str, &str)], model: &str) -> Output {
        let arguments =
            ["generate", "--model", model, "--prompt", "w", "--plain", "--temperature", "0", "--max-tokens", "6"];
        self.run_with(variables, &arguments)
    }

    #[track_caller]
    fn reply(&self, model: &str) -> String {
        said(&self.reply_with(&[], model))
    }
}

#[track_caller]
fn said(output: &Output) -> String {
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout)
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

#[test]
fn a_model_of_the_hub_is_the_one_on_disk_also_offline() {
    let hub = TestHub::new();
    let tiny = format!("{FIXTURES}/models/llama");
    let expected = hub.reply(&tiny);
    assert_eq!(hub.reply("acme/tiny"), expected);
    let offline = [("HF_HUB_OFFLINE", "1"), ("HF_ENDPOINT", NOWHERE)];
    assert_eq!(said(&hub.reply_with(&offline, "acme/tiny")), expected);
    refused(&hub.reply_with(&offline, "acme/other"), 2, &["acme/other", "not in the cache", "HF_HUB_OFFLINE"]);
    let snapshots = hub.path().join("hf/hub/models--acme--tiny/snapshots");
    let commit = fs::read_dir(snapshots).unwrap().next().unwrap().unwrap().file_name().into_string().unwrap();
    let pinned = format!("acme/tiny@{commit}");
    assert_eq!(said(&hub.reply_with(&[("HF_ENDPOINT", NOWHERE)], &pinned)), expected, "a commit needs no request");
    // Reward models, and conversion.
    let score = |model: &str| said(&hub.run(&["score", "--model", model, "--prompt", "w2", "--response", "w3"]));
    assert_eq!(score("acme/reward"), score(&format!("{FIXTURES}/models/qwen3_reward")));
    said(&hub.run(&["convert", "--model", "acme/tiny", "--output", "converted"]));
    assert_eq!(hub.reply("converted"), expected);
}

#[test]
fn a_file_of_a_gguf_repository_is_named_behind_it() {
    let hub = TestHub::new();
    let ggufs = Path::new(FIXTURES).join("gguf");
    fs::create_dir_all(hub.served("acme/tiny-GGUF")).unwrap();
    for name in ["llama.gguf", "qwen2.gguf"] {
        fs::copy(ggufs.join(name), hub.served("acme/tiny-GGUF").join(name)).unwrap();
    }
    let several = hub.reply_with(&[], "acme/tiny-GGUF");
    refused(&several, 2, &["several GGUF files", "acme/tiny-GGUF@main/llama.gguf", "acme/tiny-GGUF@main/qwen2.gguf"]);
    for name in ["llama.gguf", "qwen2.gguf"] {
        let local = ggufs.join(name).display().to_string();
        assert_eq!(hub.reply(&format!("acme/tiny-GGUF/{name}")), hub.reply(&local), "{name}");
    }
}

#[test]
fn what_the_hub_does_not_have_or_give_is_said() {
    let hub = TestHub::new();
    copy(&hub.served("acme/tiny"), &hub.served("acme/gated"));
    fs::write(hub.served("acme/gated/README.md"), "---\nlicense: mit\ngated: true\n---\n").unwrap();
    fs::create_dir(hub.served("acme/pickled")).unwrap();
    fs::write(hub.served("acme/pickled/pytorch_model.bin"), "x").unwrap();
    refused(&hub.reply_with(&[], "acme/none"), 2, &["acme/none: no such model"]);
    refused(&hub.reply_with(&[], "acme/tiny@v9"), 2, &["acme/tiny: no revision `v9`"]);
    refused(
        &hub.reply_with(&[], "acme/gated"),
        2,
        &["acme/gated: access is restricted", "accept the terms", "HF_TOKEN"],
    );
    refused(&hub.reply_with(&[], "acme/pickled"), 2, &["acme/pickled at `main`", "pickles"]);
    refused(
        &hub.run(&["init", "--data", "datasets/digits/train.jsonl", "--model", "acme/none"]),
        2,
        &["no such model"],
    );
    said(&hub.run(&["init", "--data", "datasets/digits/train.jsonl", "--model", "acme/gated"]));
    assert!(!hub.path().join("hf/hub/models--acme--gated").exists(), "nothing is downloaded for a config");
}

#[test]
fn a_path_comes_before_the_hub() {
    let hub = TestHub::new();
    copy(&Path::new(FIXTURES).join("models/llama"), &hub.path().join("acme/tiny"));
    let no_hub = [("HF_ENDPOINT", NOWHERE)];
    assert_eq!(said(&hub.reply_with(&no_hub, "acme/tiny")), hub.reply(&format!("{FIXTURES}/models/llama")));
    // A mistake in a path below an existing folder is not sent to the Hub.
    let mistake = hub.reply_with(&no_hub, "acme/tinny");
    refused(&mistake, 2, &["model acme/tinny does not exist", "for the model of the Hub, write acme/tinny@main"]);
    assert_eq!(hub.reply("acme/tiny@main"), hub.reply("acme/tiny"));
}

/// Writes `job.yaml`, two steps of supervised fine-tuning of a tiny model, with more keys of `model`.
pub fn job(folder: &Path, model: &str, more: &str) {
    let row = |i: usize| format!("{{\"prompt\": \"w{i} w3\", \"demonstration\": \"w5 w{i}\"}}\n");
    fs::write(folder.join("rows.jsonl"), (2..8).map(row).collect::<String>()).unwrap();
    let yaml = format!(
        "version: 1\nrun: {{ folder: run }}\nmodel: {{ path: {model}{more} }}\n\
         data: {{ demonstrations: rows.jsonl, format: plain }}\ntrain: {{ method: sft, steps: 2, batch: 4 }}\n"
    );
    fs::write(folder.join("job.yaml"), yaml).unwrap();
}

#[test]
fn a_resumed_run_starts_from_the_commit_of_its_start() {
    let hub = TestHub::new();
    job(hub.path(), "acme/tiny", "");
    let train = |variables: &[(&str, &str)], more: &[&str]| {
        hub.run_with(variables, &[&["train", "--config", "job.yaml"], more].concat())
    };
    said(&train(&[], &[]));
    let inputs = json(&hub.path().join("run/inputs.json"));
    let commit = inputs["hub"]["acme/tiny"].as_str().unwrap().to_owned();
    assert!(hub.path().join("hf/hub/models--acme--tiny/snapshots").join(&commit).is_dir(), "{commit}");
    assert!(fs::read_to_string(hub.path().join("run/config.yaml")).unwrap().contains("path: acme/tiny\n"));
    // The branch moves on.
    let config = fs::read_to_string(hub.served("acme/tiny/config.json")).unwrap();
    fs::write(hub.served("acme/tiny/config.json"), config + "\n\n").unwrap();
    said(&train(&[("HF_ENDPOINT", NOWHERE)], &["--resume"]));
    said(&train(&[], &["--resume"]));
    assert_eq!(json(&hub.path().join("run/inputs.json")), inputs);
    said(&train(&[], &["--run", "new"]));
    let new = json(&hub.path().join("new/inputs.json"));
    assert_ne!(new["hub"]["acme/tiny"].as_str().unwrap(), commit);
    let pinned = format!("acme/tiny@{commit}");
    said(&train(&[("HF_ENDPOINT", NOWHERE)], &["--run", "again", "--model", &pinned]));
}

#[test]
fn an_adapter_names_its_base_on_the_hub_which_is_downloaded_with_it() {
    let hub = TestHub::new();
    job(hub.path(), "acme/tiny", ", lora: { rank: 2, targets: [q_proj, down_proj] }");
    said(&hub.run(&["train", "--config", "job.yaml"]));
    let commit = json(&hub.path().join("run/inputs.json"))["hub"]["acme/tiny"].clone();
    let config = json(&hub.path().join("run/adapter/adapter_config.json"));
    assert_eq!((&config["base_model_name_or_path"], &config["revision"]), (&"acme/tiny".into(), &commit));
    said(&hub.run(&["train", "--config", "job.yaml", "--resume"]));
    let expected = hub.reply("run/adapter");
    // A machine that has neither of them.
    copy(&hub.path().join("run/adapter"), &hub.served("acme/adapter"));
    let elsewhere = hub.path().join("elsewhere").display().to_string();
    let cache = [("HF_HOME", elsewhere.as_str())];
    assert_eq!(said(&hub.reply_with(&cache, "acme/adapter")), expected);
    let offline = [cache[0], ("HF_HUB_OFFLINE", "1")];
    assert_eq!(said(&hub.reply_with(&offline, "run/adapter")), expected);
    fs::remove_dir_all(&elsewhere).unwrap();
    refused(&hub.reply_with(&offline, "run/adapter"), 2, &["the base model of the adapter run/adapter", "acme/tiny"]);
}

#[test]
fn a_config_may_name_a_local_language_model_of_the_hub() {
    let hub = TestHub::new();
    let check = |model: &str| {
        let llm = format!("rewards:\n  llm: {{ local: {model} }}\nsampling:");
        hub.run(&["check", "--config", &smoke(hub.path(), &[("sampling:", llm.as_str())])])
    };
    said(&check("acme/tiny"));
    refused(&check("acme/none"), 2, &["job.yaml:", "`rewards.llm.local`", "acme/none: no such model"]);
    job(hub.path(), "acme/none", "");
    refused(&hub.run(&["check", "--config", "job.yaml"]), 2, &["job.yaml:3: `model.path`", "acme/none: no such model"]);
    job(hub.path(), "acme/tiny", "");
    said(&hub.run(&["check", "--config", "job.yaml"]));
}
