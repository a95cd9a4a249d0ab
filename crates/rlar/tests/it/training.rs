use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::{refused, rlar, run, smoke, text};

/// Writes the config of a job of a second or two.
fn short(folder: &Path) -> String {
    smoke(
        folder,
        &[
            ("warmup:\n  steps: 120", "warmup:\n  steps: 40"),
            ("train:\n  steps: 300", "train:\n  steps: 60"),
            ("checkpoint_every: 10", "checkpoint_every: 7"),
        ],
    )
}

/// A run's metrics without timings.
pub fn metrics(folder: &Path) -> Vec<Value> {
    let text = fs::read_to_string(folder.join("metrics.jsonl")).unwrap();
    let record = |line: &str| {
        let mut v: Value = serde_json::from_str(line).unwrap();
        strip(&mut v);
        v
    };
    text.lines().map(record).collect()
}

/// Removes timings from a record.
pub fn strip(record: &mut Value) {
    for clock in ["seconds", "tokens_per_second", "time", "memory", "agents"] {
        record.as_object_mut().unwrap().remove(clock);
    }
}

pub fn steps(folder: &Path, records: &str) -> usize {
    fs::read_to_string(folder.join(records)).map_or(0, |t| t.lines().count())
}

/// Waits until the run has done this many steps.
fn wait_for(child: &mut Child, folder: &Path, records: &str, wanted: usize) {
    let began = Instant::now();
    while steps(folder, records) < wanted {
        assert!(began.elapsed() < Duration::from_mins(2), "the run does not get anywhere");
        assert!(child.try_wait().unwrap().is_none(), "the run ended before it could be stopped");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn start(folder: &Path, config: &str, name: &str) -> Child {
    rlar(folder, &["train", "--config", config, "--run", name])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn the_smoke_job_learns_and_keeps_what_it_did() {
    let folder = tempfile::tempdir().unwrap();
    let out = run(folder.path(), &["train", "--config", "smoke.yaml", "--run", "smoke"]);
    assert!(out.status.success(), "{}", text(&out.stderr));
    assert!(text(&out.stdout).contains("held-out accuracy"));
    let path = folder.path().join("smoke");
    let rewards: Vec<f64> = metrics(&path).iter().map(|m| m["reward"]["mean"].as_f64().unwrap()).collect();
    let mean = |x: &[f64]| x.iter().sum::<f64>() / x.len() as f64;
    let (early, late) = (mean(&rewards[..20]), mean(&rewards[rewards.len() - 20..]));
    assert!(late > early + 0.2, "reward {early:.3} at first, {late:.3} at the end");
    for m in metrics(&path) {
        assert!(m["sampler_trainer_gap"].as_f64().unwrap() < 1e-4, "sampler and trainer disagree: {m}");
    }
    let assignments = fs::read_to_string(path.join("assignments.jsonl")).unwrap();
    assert!(assignments.lines().all(|l| l.contains("\"why\"")) && assignments.lines().count() == 100);
    assert!(path.join("rollouts/step-000001.parquet").exists() && path.join("rollouts/step-000300.parquet").exists());
    assert!(path.join("tensorboard/events.out.tfevents.rlar").exists());
    let reply =
        run(folder.path(), &["generate", "--model", "smoke/final", "--prompt", "2 + 2 =", "--temperature", "0"]);
    assert!(reply.status.success(), "{}", text(&reply.stderr));
    let measured = run(folder.path(), &["eval", "--config", "smoke.yaml", "--model", "smoke/final"]);
    assert!(text(&measured.stdout).contains("digits"), "{}", text(&measured.stderr));
}

#[test]
fn several_epochs_and_minibatches_learn_from_a_batch_again() {
    let folder = tempfile::tempdir().unwrap();
    let records = |more: &str, name: &str| {
        let prompts = format!("prompts: 16{more}");
        let changes = [
            ("steps: 120", "steps: 40"),
            ("train:\n  steps: 300", "train:\n  steps: 4"),
            ("prompts: 16", prompts.as_str()),
        ];
        let config = smoke(folder.path(), &changes);
        let out = run(folder.path(), &["train", "--config", &config, "--run", name]);
        assert!(out.status.success(), "{}", text(&out.stderr));
        metrics(&folder.path().join(name))
    };
    let (once, often) = (records("", "once"), records("\n  epochs: 3\n  minibatches: 2", "often"));
    let spread = |m: &Value| m["ratio"]["max"].as_f64().unwrap() - m["ratio"]["min"].as_f64().unwrap();
    for m in &once {
        assert_eq!(m["optimizer_steps"], 1);
        assert!(spread(m) < 1e-3, "one step at the policy that drew the batch has ratios of 1: {m}");
    }
    for m in &often {
        assert_eq!(m["optimizer_steps"], 6);
        assert!(spread(m) > 1e-2, "later steps are taken from a policy that has moved: {m}");
        assert!(m["sampler_trainer_gap"].as_f64().unwrap() < 1e-4, "only the first step tells the gap: {m}");
    }
}

#[test]
fn a_batch_drawn_ahead_is_one_step_old_and_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let changes = [
        ("steps: 120", "steps: 40"),
        ("train:\n  steps: 300", "train:\n  steps: 8"),
        ("prompts: 16", "prompts: 16\n  asynchronous: true"),
    ];
    let config = smoke(folder.path(), &changes);
    let out = run(folder.path(), &["train", "--config", &config, "--run", "run"]);
    assert!(out.status.success(), "{}", text(&out.stderr));
    let staleness: Vec<u64> =
        metrics(&folder.path().join("run")).iter().map(|m| m["staleness"].as_u64().unwrap()).collect();
    assert_eq!(staleness, [0, 1, 1, 1, 1, 1, 1, 1]);
}

#[cfg(unix)]
#[test]
fn ctrl_c_and_sigterm_finish_the_step_save_and_can_be_resumed() {
    for signal in ["-INT", "-TERM"] {
        interrupted_and_resumed(signal);
    }
}

#[cfg(unix)]
fn interrupted_and_resumed(signal: &str) {
    let folder = tempfile::tempdir().unwrap();
    let config = short(folder.path());
    let mut child = start(folder.path(), &config, "run");
    let path = folder.path().join("run");
    wait_for(&mut child, &path, "metrics.jsonl", 3);
    let sent = std::process::Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
    let out = child.wait_with_output().unwrap();
    refused(&out, 1, &["interrupted after 40 warm-up steps", "--resume"]);
    let done = steps(&path, "metrics.jsonl");
    assert!(done < 60);
    assert!(path.join(format!("checkpoints/step-{:06}/state.json", 40 + done)).exists());
    let resumed = run(folder.path(), &["train", "--config", &config, "--run", "run", "--resume"]);
    assert!(resumed.status.success(), "{}", text(&resumed.stderr));
    assert_eq!(steps(&path, "metrics.jsonl"), 60);
    let processes = fs::read_to_string(path.join("environment.jsonl")).unwrap();
    let processes: Vec<Value> = processes.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let began: Vec<&Value> = processes.iter().map(|process| &process["step"]).collect();
    assert_eq!(began, [&json!(0), &json!(done)], "both processes say what they computed on");
    assert!(
        processes.iter().all(|process| process["version"] == env!("CARGO_PKG_VERSION") && process["device"] == "cpu")
    );
}

#[cfg(target_os = "linux")]
#[test]
fn a_verifier_that_never_answers_dies_with_rlar() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("tools/slow");
    fs::create_dir_all(&home).unwrap();
    let card = "name: slow\nkind: verifier\nrole: correctness\nmeasures: m\ntasks: [expressions]\nneeds_reference: true\n\
                range: [0, 1]\nfunction: compute_x\nfile: v.py\norigin: test\n";
    fs::write(home.join("tool.yaml"), card).unwrap();
    fs::write(home.join("v.py"), "def compute_x(a, b, c):\n    while True: pass\n").unwrap();
    let rewards = "rewards:\n  library: tools\n  unadmitted: allow\n  deadline: 3000\nwarmup:\n  steps: 120";
    let config = smoke(folder.path(), &[("warmup:\n  steps: 120", rewards)]);
    let mut child = start(folder.path(), &config, "run");
    let stat = |pid: &str| fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let parent = |pid: &str| Some(stat(pid).rsplit(") ").next()?.split(' ').nth(1)?.to_owned());
    let rlar = child.id().to_string();
    // Fork servers are children of rlar, and verifiers are children of fork servers.
    let workers = || -> Vec<String> {
        let pids = fs::read_dir("/proc").unwrap().filter_map(|e| e.unwrap().file_name().into_string().ok());
        let ours = |pid: &String| {
            let above = parent(pid);
            above.as_ref() == Some(&rlar) || above.and_then(|p| parent(&p)).as_ref() == Some(&rlar)
        };
        pids.filter(|p| p.bytes().all(|b| b.is_ascii_digit())).filter(ours).collect()
    };
    let began = Instant::now();
    while workers().len() < 3 || !folder.path().join("run/start/model.safetensors").exists() {
        assert!(began.elapsed() < Duration::from_mins(1), "no verifier was started");
        std::thread::sleep(Duration::from_millis(5));
    }
    let started = workers();
    child.kill().unwrap();
    child.wait().unwrap();
    let began = Instant::now();
    // A zombie is dead, although it has not been reaped yet.
    let alive = |pid: &String| stat(pid).rsplit(") ").next().is_some_and(|s| !s.is_empty() && !s.starts_with('Z'));
    while started.iter().any(alive) {
        assert!(began.elapsed() < Duration::from_secs(10), "a verifier outlived rlar");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_start_that_failed_leaves_the_folder_free() {
    let folder = tempfile::tempdir().unwrap();
    let narrow = smoke(folder.path(), &[("positions: 32", "positions: 8")]);
    refused(&run(folder.path(), &["train", "--config", &narrow, "--run", "run"]), 2, &["`sft-00`", "room for 1 to 7"]);
    let long = serde_json::json!({ "id": "far", "prompt": "1 + ".repeat(99), "reference": "1" });
    fs::write(folder.path().join("long.jsonl"), long.to_string()).unwrap();
    let long = smoke(folder.path(), &[("train: datasets/digits/train.jsonl", "train: long.jsonl")]);
    refused(
        &run(folder.path(), &["train", "--config", &long, "--run", "run"]),
        2,
        &["example `far`", "room for 1 to 31"],
    );
    let right = short(folder.path());
    let out = run(folder.path(), &["train", "--config", &right, "--run", "run"]);
    assert!(out.status.success(), "{}", text(&out.stderr));
    let log = text(&out.stderr);
    assert!(log.contains("warm-up 40/40") && log.contains("train 60/60"), "without a terminal, lines: {log}");
}

#[test]
fn a_folder_in_use_or_used_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let config = short(folder.path());
    let mut child = start(folder.path(), &config, "run");
    wait_for(&mut child, &folder.path().join("run"), "metrics.jsonl", 1);
    refused(&run(folder.path(), &["train", "--config", &config, "--run", "run"]), 2, &["in use by another run"]);
    child.kill().unwrap();
    child.wait().unwrap();
    refused(
        &run(folder.path(), &["train", "--config", &config, "--run", "run"]),
        2,
        &["holds an earlier run", "--resume"],
    );
    let other = ["train", "--config", config.as_str(), "--run", "run", "--resume", "--seed", "5"];
    refused(&run(folder.path(), &other), 2, &["other inputs", "`seed` was 0 and is 5 now"]);
}
