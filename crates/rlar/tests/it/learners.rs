//! Supervised fine-tuning, reward models, adapters, and dry runs.

use std::fmt::Write;
use std::fs;

use safetensors::{Dtype, SafeTensors};
use serde_json::Value;

use crate::hub_models::job;
use crate::rewards_gone_wrong::with_verifier;
use crate::training::metrics;
use crate::{refused, rlar, run, smoke, starting_from, text, trained};

const SCRATCH: &str = "version: 1\nmodel:\n  scratch: { vocab_size: 270, hidden_size: 64, intermediate_size: 128, layers: 2, heads: 4, kv_heads: 2, positions: 64 }\n";

#[test]
fn supervised_fine_tuning_learns_the_assistants_turns_alone() {
    let folder = tempfile::tempdir().unwrap();
    let mut rows = String::new();
    for i in 0..40 {
        let (a, b) = (i % 8, i / 8);
        let turns = serde_json::json!({ "messages": [
            { "role": "user", "content": format!("{a} + {b} =") }, { "role": "assistant", "content": (a + b).to_string() },
            { "role": "user", "content": "again" }, { "role": "assistant", "content": (a + b).to_string() },
        ]});
        writeln!(rows, "{turns}").unwrap();
    }
    fs::write(folder.path().join("turns.jsonl"), rows).unwrap();
    let config = format!(
        "{SCRATCH}run: {{ folder: run }}\ndata: {{ demonstrations: turns.jsonl }}\ntrain: {{ steps: 150, batch: 20 }}\n\
         optimizer: {{ learning_rate: 3.0e-3 }}\n"
    );
    fs::write(folder.path().join("sft.yaml"), config).unwrap();
    let out = run(folder.path(), &["sft", "--config", "sft.yaml"]);
    assert!(out.status.success(), "{}", text(&out.stderr));
    let records = metrics(&folder.path().join("run"));
    // Two assistant turns of one or two digits and an end token, for twenty conversations.
    let tokens = records[0]["tokens"].as_u64().unwrap();
    assert!((80..=120).contains(&tokens), "{tokens} tokens are learned from");
    let loss = |r: &Value| r["loss"].as_f64().unwrap();
    assert!(loss(&records[149]) < 0.3 * loss(&records[0]), "{} to {}", loss(&records[0]), loss(&records[149]));
    let reply = run(folder.path(), &["generate", "--model", "run/final", "--prompt", "3 + 2 =", "--temperature", "0"]);
    assert_eq!(text(&reply.stdout).trim(), "5", "{}", text(&reply.stderr));
}

#[test]
fn a_reward_model_learns_to_prefer_what_people_prefer_and_scores_afterwards() {
    let folder = tempfile::tempdir().unwrap();
    for (name, from, to) in [("train", 0, 160), ("heldout", 160, 200)] {
        let mut rows = String::new();
        for i in from..to {
            let (a, b) = (i * 7 % 10, i * 3 % 10);
            let row = serde_json::json!({
                "prompt": format!("{a} or {b}?"), "chosen": "yes, gladly", "rejected": format!("no {}", i % 5), "margin": 0.5,
            });
            writeln!(rows, "{row}").unwrap();
        }
        fs::write(folder.path().join(format!("{name}.jsonl")), rows).unwrap();
    }
    let config = format!(
        "{SCRATCH}run: {{ folder: run, checkpoint_every: 5 }}\ndata: {{ preferences: train.jsonl, heldout: heldout.jsonl }}\n\
         train: {{ steps: 40, batch: 16 }}\noptimizer: {{ learning_rate: 1.0e-3 }}\neval: {{ every: 10 }}\n"
    );
    fs::write(folder.path().join("rm.yaml"), config).unwrap();
    let out = run(folder.path(), &["train-rm", "--config", "rm.yaml"]);
    assert!(out.status.success(), "{}", text(&out.stderr));
    let log = text(&out.stderr);
    let steps: Vec<&str> = log.lines().filter(|line| line.starts_with("train-rm ")).collect();
    assert_eq!(steps.len(), 10, "a line for each tenth of the steps: {log}");
    assert!(steps[0].starts_with("train-rm 4/40  ") && steps[9].starts_with("train-rm 40/40  "), "{log}");
    assert!(
        text(&out.stdout).contains("100.0 % after") && text(&out.stdout).contains("The reward model is in run/final")
    );
    let score = |reply: &str| -> f64 {
        let out = run(folder.path(), &["score", "--model", "run/final", "--prompt", "1 or 2?", "--response", reply]);
        let row: Value = serde_json::from_slice(&out.stdout).unwrap();
        row["score"].as_f64().unwrap()
    };
    assert!(score("yes, gladly") > score("no 3") + 0.5);
    // Resumed from an earlier checkpoint, it ends with the same weights.
    let path = folder.path().join("run");
    let whole = fs::read(path.join("final/model.safetensors")).unwrap();
    fs::remove_dir_all(path.join("checkpoints/step-000040")).unwrap();
    let out = run(folder.path(), &["train-rm", "--config", "rm.yaml", "--resume"]);
    assert!(out.status.success(), "{}", text(&out.stderr));
    assert!(whole == fs::read(path.join("final/model.safetensors")).unwrap());
    refused(&run(folder.path(), &["generate", "--model", "run/final", "--prompt", "x"]), 2, &["rlar score"]);
}

#[test]
fn beside_an_adapter_the_reference_is_the_model_without_it() {
    let folder = tempfile::tempdir().unwrap();
    let base = trained(folder.path());
    let changes = [("train:\n  steps: 300", "train:\n  steps: 12"), ("steps: 120", "steps: 0")];
    let config = starting_from(folder.path(), &format!("{base}\n  lora:\n    rank: 4\n    dropout: 0.5"), &changes);
    fs::rename(folder.path().join(config), folder.path().join("lora.yaml")).unwrap();
    let out = run(folder.path(), &["train", "--config", "lora.yaml", "--run", "lora"]);
    assert!(out.status.success(), "{}", text(&out.stderr));
    for m in metrics(&folder.path().join("lora")) {
        let gap = m["sampler_trainer_gap"].as_f64().unwrap();
        assert!(gap < 1e-4, "dropout must not count as a difference between sampler and trainer: {m}");
    }
    let kl: Vec<f64> = metrics(&folder.path().join("lora")).iter().map(|m| m["kl"]["k3"].as_f64().unwrap()).collect();
    assert!(kl[0].abs() < 1e-6, "a fresh adapter changes nothing: {}", kl[0]);
    assert!(kl[11] > 1e-5, "an adapter that learns moves away: {kl:?}");
    // Other weights of the base model are another model.
    let weights = folder.path().join("base/start/model.safetensors");
    let mut bytes = fs::read(&weights).unwrap();
    let last = bytes.len() - 2;
    bytes[last] ^= 0x10;
    fs::write(&weights, bytes).unwrap();
    let out = run(folder.path(), &["train", "--config", "lora.yaml", "--run", "lora", "--resume"]);
    refused(&out, 2, &["other inputs", "`inputs.model` differs"]);
}

#[test]
fn a_dry_run_prints_the_plan_and_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let out = run(folder.path(), &["train", "--config", "smoke.yaml", "--dry-run"]);
    assert!(out.status.success(), "{}", text(&out.stderr));
    let plan = text(&out.stdout);
    for word in
        ["estimator: k3", "parameters", "tokens at a time", "81 prompts", "numeric_match for 100 prompts", "minutes"]
    {
        assert!(plan.contains(word), "`{word}` is not in {plan}");
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "something was written");
}

#[test]
fn a_dry_run_samples_the_held_out_prompts_that_the_job_keeps() {
    let folder = tempfile::tempdir().unwrap();
    let row = |prompt: &str| serde_json::json!({ "prompt": prompt, "demonstration": "yes", "reference": "yes" });
    fs::write(folder.path().join("train.jsonl"), format!("{}\n", row("well?"))).unwrap();
    // The second prompt is longer than the model's 64 positions.
    let heldout = format!("{}\n{}\n", row("well?"), row(&"very long ".repeat(20)));
    fs::write(folder.path().join("heldout.jsonl"), heldout).unwrap();
    let config = format!(
        "{SCRATCH}data: {{ demonstrations: train.jsonl, heldout: heldout.jsonl, max_prompt_tokens: 32 }}\n\
         sampling: {{ max_tokens: 8 }}\ntrain: {{ steps: 1, batch: 1 }}\n"
    );
    fs::write(folder.path().join("sft.yaml"), config).unwrap();
    let out = run(folder.path(), &["sft", "--config", "sft.yaml", "--dry-run"]);
    assert!(out.status.success(), "{}", text(&out.stderr));
    let plan = text(&out.stdout);
    assert!(plan.contains("heldout   1 prompts") && plan.contains("peak "), "{plan}");
}

#[test]
fn a_dry_run_installs_no_packages() {
    let folder = tempfile::tempdir().unwrap();
    let rewards = with_verifier(folder.path(), "return 1.0");
    let card = folder.path().join("tools/own/tool.yaml");
    let text_of = fs::read_to_string(&card).unwrap();
    fs::write(&card, format!("{text_of}requires: [sympy]\n")).unwrap();
    let rewards = rewards.replace("  library:", "  packages: [sympy]\n  library:");
    let config = smoke(folder.path(), &[("sampling:", rewards.as_str())]);
    let cache = folder.path().join("cache");
    let mut command = rlar(folder.path(), &["train", "--config", &config, "--dry-run"]);
    let out = command.env("RLAR_CACHE", &cache).output().unwrap();
    assert!(out.status.success(), "{}", text(&out.stderr));
    let plan = text(&out.stdout);
    assert!(plan.contains("own for 100 prompts; installs sympy") && plan.contains("not measured"), "{plan}");
    assert!(!cache.exists() && !folder.path().join("runs").exists(), "something was written");
}

#[test]
fn a_bfloat16_model_is_trained_in_float32_and_saved_in_bfloat16() {
    let folder = tempfile::tempdir().unwrap();
    let f = folder.path();
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/../policy/tests/fixtures/models/llama_rope3");
    let weights = |path: &str| fs::read(f.join(path).join("model.safetensors")).unwrap();
    let train = |more: &str, arguments: &[&str]| {
        job(f, model, more);
        let out = run(f, &[&["train", "--config", "job.yaml"], arguments].concat());
        assert!(out.status.success(), "{}", text(&out.stderr));
    };
    train("", &[]);
    let (exact, saved) = (weights("run/checkpoints/step-000002"), weights("run/final"));
    let (exact, saved) = (SafeTensors::deserialize(&exact).unwrap(), SafeTensors::deserialize(&saved).unwrap());
    let mut moved = 0;
    for (name, tensor) in saved.tensors() {
        let exact = exact.tensor(&name).unwrap();
        assert_eq!((tensor.dtype(), exact.dtype()), (Dtype::BF16, Dtype::F32), "{name}");
        for (rounded, exact) in tensor.data().chunks_exact(2).zip(exact.data().chunks_exact(4)) {
            let bits = u32::from_le_bytes(exact.try_into().unwrap());
            // Round to nearest, ties to even.
            let expected = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
            assert_eq!(u32::from(u16::from_le_bytes([rounded[0], rounded[1]])), expected, "{name}");
            moved += usize::from(bits & 0xffff != 0);
        }
    }
    assert!(moved > 100, "training happens between the values of bfloat16");
    // The type can be chosen, also when a run is resumed.
    let types = || SafeTensors::deserialize(&weights("run/final")).unwrap().tensors()[0].1.dtype();
    for (name, dtype) in [("float32", Dtype::F32), ("float16", Dtype::F16), ("auto", Dtype::BF16)] {
        train(&format!(", save_dtype: {name}"), &["--resume"]);
        assert_eq!(types(), dtype);
    }
}
