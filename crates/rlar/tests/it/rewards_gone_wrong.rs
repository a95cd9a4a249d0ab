//! Rewards that fail, are all equal, or are not finite numbers.

use std::fs;
use std::path::Path;

use crate::training::metrics;
use crate::{refused, run, smoke, text};

/// Writes a library with one verifier, and gives the section of a config that uses it, to replace `sampling:`.
pub fn with_verifier(folder: &Path, body: &str) -> String {
    let home = folder.join("tools/own");
    fs::create_dir_all(&home).unwrap();
    let card = "name: own\nkind: verifier\nrole: correctness\nmeasures: m\ntasks: [expressions]\nneeds_reference: true\n\
                range: [0, 1]\nfunction: compute_x\nfile: v.py\norigin: test\n";
    fs::write(home.join("tool.yaml"), card).unwrap();
    fs::write(home.join("v.py"), format!("def compute_x(prompt, reply, reference):\n    {body}\n")).unwrap();
    "rewards:\n  library: tools\n  unadmitted: allow\n  deadline: 1\n  failure_limit: 1.0\nsampling:".into()
}

/// Writes the config of a job of a few steps with one verifier instead of the built-in library.
fn job(folder: &Path, body: &str, more: &[(&str, &str)]) -> String {
    let rewards = with_verifier(folder, body);
    let mut changes = vec![
        ("warmup:\n  steps: 120", "warmup:\n  steps: 20"),
        ("sampling:", rewards.as_str()),
        ("train:\n  steps: 300", "train:\n  steps: 6"),
    ];
    changes.extend_from_slice(more);
    smoke(folder, &changes)
}

#[test]
fn a_reward_that_is_not_a_finite_number_is_a_failure_and_stops_the_run_by_name() {
    for (value, word) in [("float('nan')", "nan"), ("float('inf')", "inf"), ("7.0", "range")] {
        let folder = tempfile::tempdir().unwrap();
        let config = job(folder.path(), &format!("return {value}"), &[("failure_limit: 1.0", "failure_limit: 0.1")]);
        let out = run(folder.path(), &["train", "--config", &config, "--run", "run"]);
        refused(&out, 1, &["tool `own` failed", word, "rewards.failure_limit"]);
    }
}

#[test]
fn failed_outcomes_never_move_a_parameter() {
    let folder = tempfile::tempdir().unwrap();
    let kl = ("  kl:\n    estimator: k3\n    weight: 0.0005", "  dynamic_sampling: 0");
    let config = job(folder.path(), "raise ValueError('broken')", &[kl]);
    let out = run(folder.path(), &["train", "--config", &config, "--run", "run"]);
    assert!(out.status.success(), "{}", text(&out.stderr));
    let weights = |name: &str| fs::read(folder.path().join("run").join(name).join("model.safetensors")).unwrap();
    assert!(weights("start") == weights("final"), "a failure moved a parameter");
    for m in metrics(&folder.path().join("run")) {
        assert_eq!((&m["reward"], &m["loss"], &m["advantage"]), (&().into(), &().into(), &().into()), "{m}");
        assert_eq!(m["unscored"], 128);
        assert_eq!(m["tools"]["own"]["outcomes"]["failed"], 128);
    }
}

#[test]
fn rewards_that_tell_nothing_apart_end_the_run_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let config = job(folder.path(), "return 0.25", &[("prompts: 16", "prompts: 16\n  flat_steps: 3")]);
    let out = run(folder.path(), &["train", "--config", &config, "--run", "run"]);
    refused(&out, 1, &["no group's rewards differed for 3 steps", "`train.flat_steps`", "from 0.25 to 0.25", "too hard or too easy"]);
}

#[test]
fn a_slow_verifier_does_not_hold_a_step_beyond_its_deadline() {
    let folder = tempfile::tempdir().unwrap();
    // Every fourth reply hangs: one second each would be 32 seconds per step, on two processes 16.
    let body =
        "import time\n    if len(prompt) + len(reply) & 3 == 0: time.sleep(100)\n    return float(reply == reference)";
    let config = job(folder.path(), body, &[("deadline: 1\n", "deadline: 0.3\n  step_deadline: 0.2\n")]);
    let out = run(folder.path(), &["train", "--config", &config, "--run", "run"]);
    assert!(out.status.success(), "{}", text(&out.stderr));
    let text = fs::read_to_string(folder.path().join("run/metrics.jsonl")).unwrap();
    let mut late = 0;
    for line in text.lines() {
        let m: serde_json::Value = serde_json::from_str(line).unwrap();
        late += m["tools"]["own"]["outcomes"]["late"].as_u64().unwrap();
    }
    assert!(late > 0, "no step ran out of time for scoring: {text}");
}
