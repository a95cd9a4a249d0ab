//! A run whose base model stays in the quantised blocks of its GGUF file (QLoRA).

#[path = "../../../policy/tests/it/wide.rs"]
mod wide;

use std::fs;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use rlar_grpo::{Config, Job, TrainError, train};
use serde_json::Value;

use crate::jobs::similarity_job;

const CONFIG: &str = "
version: 1
run: { checkpoint_every: 3 }
model:
  path: model.gguf
  lora: { rank: 2, alpha: 4, targets: [q_proj, v_proj, down_proj], quantised: true }
data: { train: words.jsonl, format: plain }
sampling: { max_tokens: 6 }
train: { steps: 4, prompts: 2, group_size: 4 }
algorithm: { kl: { estimator: k3, weight: 0.01 } }
optimizer: { learning_rate: 1.0e-2 }
";

/// A job that starts from a GGUF file, in the run folder `run`.
fn job<'i>(run: &Path, gguf: &Path, resume: bool, interrupted: &'i AtomicBool) -> Job<'i> {
    let mut config: Config = serde_yaml::from_str(CONFIG).unwrap();
    config.run.folder = run.display().to_string();
    Job { resume, ..similarity_job(config, gguf, "w3w5w3", interrupted) }
}

#[test]
fn an_adapter_of_quantised_matrices_trains_and_a_stopped_run_ends_as_one_that_was_not() {
    let folder = tempfile::tempdir().unwrap();
    let fixture = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../policy/tests/fixtures/gguf/llama.gguf"));
    let gguf = wide::wide(fixture, "llama", &[]);
    let [whole, stopped] = ["whole", "stopped"].map(|name| folder.path().join(name));
    let (going_on, stop) = (AtomicBool::new(false), AtomicBool::new(true));
    train(job(&whole, gguf.path(), false, &going_on)).unwrap();
    let error = train(job(&stopped, gguf.path(), false, &stop)).unwrap_err();
    assert!(matches!(error, TrainError::Interrupted { step: 1, .. }), "{error}");
    train(job(&stopped, gguf.path(), true, &going_on)).unwrap();

    let adapter = |folder: &Path| fs::read(folder.join("adapter_model.safetensors")).unwrap();
    assert!(adapter(&whole.join("adapter")) != adapter(&whole.join("start")), "nothing was learned");
    assert!(adapter(&whole.join("adapter")) == adapter(&stopped.join("adapter")), "the adapters differ");
    let weights = |run: &Path| fs::read(run.join("final/model.safetensors")).unwrap();
    assert!(weights(&whole) == weights(&stopped), "the merged weights differ");
    for run in [&whole, &stopped] {
        let metrics = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
        assert_eq!(metrics.lines().count(), 4);
        for line in metrics.lines() {
            let record: Value = serde_json::from_str(line).unwrap();
            // Sampling rounds activations only where matrices are in their blocks.
            assert!(record["sampler_trainer_gap"].as_f64().unwrap() > 1e-4, "{record}");
        }
    }
}
