//! Runs that are killed at random moments and resumed.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::rewards_gone_wrong::with_verifier;
use crate::training::{metrics, steps, strip};
use crate::{refused, rlar, run, smoke, starting_from, text, trained};

/// Kills per test; `RLAR_KILLS` sets another number.
fn kills() -> usize {
    std::env::var("RLAR_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(5)
}

/// Writes the config of a job of 50 steps per kill, with checkpoints every few steps.
fn long(folder: &Path, kills: usize, more: &[(&str, &str)]) -> String {
    let steps = format!("train:\n  steps: {}", 50 * kills);
    let mut changes = vec![
        ("warmup:\n  steps: 120", "warmup:\n  steps: 40"),
        ("train:\n  steps: 300", steps.as_str()),
        ("checkpoint_every: 10", "checkpoint_every: 4"),
        ("rollouts_every: 10", "rollouts_every: 1"),
        ("eval:\n  samples: 8", "eval:\n  samples: 1\n  every: 20"),
    ];
    changes.extend_from_slice(more);
    smoke(folder, &changes)
}

/// The files that a run leaves, without timings.
#[derive(PartialEq)]
struct Left {
    metrics: Vec<Value>,
    weights: Vec<u8>,
    report: Value,
    rollouts: BTreeMap<String, Vec<u8>>,
}

fn left(folder: &Path) -> Left {
    let mut report: Value = serde_json::from_slice(&fs::read(folder.join("report.json")).unwrap()).unwrap();
    strip(&mut report);
    let rollouts = fs::read_dir(folder.join("rollouts")).unwrap().map(|e| e.unwrap().path());
    let named = |p: PathBuf| (p.file_name().unwrap().to_string_lossy().into_owned(), fs::read(&p).unwrap());
    Left {
        metrics: metrics(folder),
        weights: fs::read(folder.join("final/model.safetensors")).unwrap(),
        report,
        rollouts: rollouts.map(named).collect(),
    }
}

/// How often a job is killed. It has 50 training steps per kill.
#[derive(Clone, Copy)]
pub struct KillSchedule {
    pub warmup_steps: usize,
    pub kills: usize,
}

/// Runs a job to its end in `folder/broken`, killed at random moments and resumed. Gives the records that were in its metrics
/// before each kill.
fn broken(folder: &Path, config: &str, name: &str, schedule: KillSchedule) -> Vec<Value> {
    let KillSchedule { warmup_steps: warmup, kills } = schedule;
    let total = warmup + 50 * kills;
    let again = ["train", "--config", config, "--run", "broken", "--resume", "auto"];
    let broken = folder.join("broken");
    let mut random = 0x9e37_79b9_7f4a_7c15u64 ^ name.len() as u64;
    let mut draw = |below: usize| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) as usize % below
    };
    // The step at which each kill happens; one of them during the warm-up, if there is one.
    let mut moments: Vec<usize> = (1..kills).map(|_| warmup + draw(total - warmup - 4)).collect();
    moments.push(draw(warmup.max(1)));
    moments.sort_unstable();
    let (mut in_checkpoint, mut in_warmup, mut seen) = (0, 0, Vec::new());
    for moment in moments {
        let mut child = rlar(folder, &again).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let began = Instant::now();
        while steps(&broken, "warmup.jsonl") + steps(&broken, "metrics.jsonl") < moment {
            assert!(began.elapsed() < Duration::from_mins(5), "the run does not get anywhere");
            assert!(child.try_wait().unwrap().is_none(), "the run ended before it could be killed");
            std::thread::sleep(Duration::from_millis(1));
        }
        // During sampling, scoring, the optimizer step or a checkpoint.
        std::thread::sleep(Duration::from_micros(draw(30_000) as u64));
        assert!(child.try_wait().unwrap().is_none(), "the run ended before it could be killed");
        child.kill().unwrap();
        child.wait().unwrap();
        let half = |e: fs::DirEntry| e.path().extension().is_some_and(|x| x == "tmp");
        let mut entries = fs::read_dir(broken.join("checkpoints")).into_iter().flatten().flatten();
        in_checkpoint += usize::from(entries.any(half));
        in_warmup += usize::from(!broken.join("metrics.jsonl").exists());
        let text = fs::read_to_string(broken.join("metrics.jsonl")).unwrap_or_default();
        // The last line may be cut short.
        seen.extend(text.lines().filter_map(|l| serde_json::from_str::<Value>(l).ok()));
    }
    let last = run(folder, &again);
    assert!(last.status.success(), "{}", text(&last.stderr));
    println!("{name}: {kills} kills, {in_checkpoint} in a checkpoint's write, {in_warmup} before the first step");
    assert!(kills < 50 || in_checkpoint > 0, "no kill came in the middle of a checkpoint's write");
    seen.iter_mut().for_each(strip);
    seen
}

/// Runs a job without kills and again with kills at random moments; both must leave the same files, which are returned.
fn killed(name: &str, more: &[(&str, &str)]) -> Left {
    let folder = tempfile::tempdir().unwrap();
    let config = long(folder.path(), kills(), more);
    let whole = run(folder.path(), &["train", "--config", &config, "--run", "whole"]);
    assert!(whole.status.success(), "{}", text(&whole.stderr));
    broken(folder.path(), &config, name, KillSchedule { warmup_steps: 40, kills: kills() });
    let [whole, again] = ["whole", "broken"].map(|name| left(&folder.path().join(name)));
    assert_eq!(whole.metrics.len(), again.metrics.len());
    for (a, b) in whole.metrics.iter().zip(&again.metrics) {
        assert_eq!(a, b);
    }
    assert!(whole.weights == again.weights, "the final weights differ");
    assert_eq!(whole.report, again.report);
    assert!(whole.rollouts == again.rollouts, "the rollouts differ");
    whole
}

/// Runs a job with kills whose verifier gives a random score, which only the journal can repeat: the records before a kill must
/// be the same at the end.
pub fn scored_once(folder: &Path, config: &str, name: &str, schedule: KillSchedule) {
    let seen = broken(folder, config, name, schedule);
    let last = metrics(&folder.join("broken"));
    assert!(seen.len() > 20, "{} records were seen before kills", seen.len());
    for record in seen {
        let step = record["step"].as_u64().unwrap() as usize;
        assert_eq!(record, last[step - 1], "step {step} was scored again");
    }
}

const RANDOM_SCORE: &str = "import os\n    return os.urandom(1)[0] / 255";

#[test]
fn a_resumed_run_scores_no_reply_again() {
    let folder = tempfile::tempdir().unwrap();
    let rewards = with_verifier(folder.path(), RANDOM_SCORE);
    let steps = format!("train:\n  steps: {}", 50 * kills());
    let changes = [
        ("warmup:\n  steps: 120", "warmup:\n  steps: 40"),
        ("train:\n  steps: 300", steps.as_str()),
        ("checkpoint_every: 10", "checkpoint_every: 15"),
        ("sampling:", rewards.as_str()),
    ];
    let config = smoke(folder.path(), &changes);
    scored_once(folder.path(), &config, "random scores", KillSchedule { warmup_steps: 40, kills: kills() });
}

#[test]
fn a_run_resumed_before_its_first_checkpoint_scores_no_reply_again() {
    let folder = tempfile::tempdir().unwrap();
    let base = trained(folder.path());
    let rewards = with_verifier(folder.path(), RANDOM_SCORE);
    // Every resume takes all steps again.
    let kills = kills().min(10);
    let wanted = format!("train:\n  steps: {}", 50 * kills);
    let changes = [
        ("warmup:\n  steps: 120", "warmup:\n  steps: 0"),
        ("train:\n  steps: 300", wanted.as_str()),
        ("checkpoint_every: 10", "checkpoint_every: 100000"),
        ("sampling:", rewards.as_str()),
    ];
    let config = starting_from(folder.path(), &base, &changes);
    scored_once(folder.path(), &config, "before the first checkpoint", KillSchedule { warmup_steps: 0, kills });
    // Such a run cannot be resumed with other inputs either.
    let mut child = rlar(folder.path(), &["train", "--config", &config, "--run", "short"]).spawn().unwrap();
    let began = Instant::now();
    while steps(&folder.path().join("short"), "metrics.jsonl") < 2 {
        assert!(began.elapsed() < Duration::from_mins(2), "the run does not get anywhere");
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let out = run(folder.path(), &["train", "--config", &config, "--run", "short", "--resume", "auto", "--seed", "5"]);
    refused(&out, 2, &["other inputs", "`seed` was 0 and is 5 now"]);
}

#[test]
fn a_run_with_kills_ends_as_one_without() {
    killed("synchronous", &[]);
}

#[test]
fn an_asynchronous_run_with_learned_weights_and_kills_ends_as_one_without() {
    let rewards = "rewards:\n  weights: learned\n  assign:\n    digits: [{ tool: edit_similarity }, { tool: token_f1 }]\n  \
                   audit: { tools: [numeric_match], share: 0.5 }\nsampling:";
    let more = [("prompts: 16", "prompts: 16\n  asynchronous: true"), ("sampling:", rewards)];
    let whole = killed("asynchronous", &more);
    for record in &whole.metrics {
        let [edits, words] = ["edit_similarity", "token_f1"].map(|tool| &record["weights"]["digits"][tool]);
        let weight = |tool: &Value, key: &str| tool[key].as_f64().unwrap();
        assert!((weight(edits, "weight") + weight(words, "weight") - 1.0).abs() < 1e-9, "{record}");
        assert!(weight(edits, "low") <= weight(edits, "weight") && weight(edits, "weight") <= weight(edits, "high"));
    }
}

#[test]
fn no_time_is_counted_twice() {
    for more in ["", "\n  asynchronous: true"] {
        let folder = tempfile::tempdir().unwrap();
        let prompts = format!("prompts: 16{more}");
        let config = long(folder.path(), 1, &[("prompts: 16", prompts.as_str())]);
        let began = Instant::now();
        let out = run(folder.path(), &["train", "--config", &config, "--run", "run"]);
        assert!(out.status.success(), "{}", text(&out.stderr));
        let report: Value = serde_json::from_slice(&fs::read(folder.path().join("run/report.json")).unwrap()).unwrap();
        let parts = report["seconds"].as_object().unwrap().values().map(|s| s.as_f64().unwrap());
        assert!(parts.clone().all(|s| s >= 0.0), "{report}");
        assert!(parts.sum::<f64>() <= began.elapsed().as_secs_f64(), "more time than went by: {report}");
        for line in fs::read_to_string(folder.path().join("run/metrics.jsonl")).unwrap().lines() {
            let m: Value = serde_json::from_str(line).unwrap();
            assert!(m["seconds"].as_object().unwrap().values().all(|s| s.as_f64().unwrap() >= 0.0), "{m}");
        }
    }
}

#[test]
fn a_run_with_a_moving_reference_and_dynamic_sampling_ends_after_kills_as_one_without() {
    let more = [
        ("weight: 0.0005", "weight: 0.0005\n    reanchor_every: 6\n  dynamic_sampling: 2"),
        ("prompts: 16", "prompts: 8"),
    ];
    killed("re-anchored", &more);
}

#[test]
fn measuring_while_training_changes_nothing_but_what_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let weights = |every: &str, keep: &str, name: &str| {
        let eval = format!("eval:\n  samples: 1\n  every: {every}");
        let kept = format!("rollouts_every: 10\n  keep_last: 1\n  keep_best: {keep}");
        let changes = [
            ("warmup:\n  steps: 120", "warmup:\n  steps: 40"),
            ("train:\n  steps: 300", "train:\n  steps: 30"),
            ("eval:\n  samples: 8", eval.as_str()),
            ("rollouts_every: 10", kept.as_str()),
        ];
        let config = smoke(folder.path(), &changes);
        let out = run(folder.path(), &["train", "--config", &config, "--run", name]);
        assert!(out.status.success(), "{}", text(&out.stderr));
        fs::read(folder.path().join(name).join("final/model.safetensors")).unwrap()
    };
    assert!(weights("0", "0", "never") == weights("3", "1", "often"), "measuring disturbed the training");
    let often = folder.path().join("often");
    let report: Value = serde_json::from_slice(&fs::read(often.join("report.json")).unwrap()).unwrap();
    let best = report["best"][0].as_u64().unwrap();
    assert!(often.join(format!("checkpoints/step-{best:06}/model.safetensors")).exists(), "the best is not kept");
    let measured: Vec<f64> = metrics(&often).iter().filter_map(|m| m["eval"]["accuracy"].as_f64()).collect();
    assert_eq!(measured.len(), 10);
    let best = measured.iter().copied().fold(0.0, f64::max);
    assert!((report["best"][2].as_f64().unwrap() - best).abs() < 1e-12);
}

#[test]
fn a_checkpoint_of_another_version_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let config = smoke(folder.path(), &[("train:\n  steps: 300", "train:\n  steps: 3"), ("steps: 120", "steps: 20")]);
    assert!(run(folder.path(), &["train", "--config", &config, "--run", "run"]).status.success());
    let checkpoint = folder.path().join("run/checkpoints/step-000023");
    let state = fs::read_to_string(checkpoint.join("state.json")).unwrap();
    let other = state.replace("\"format\": 4", "\"format\": 99").replace("\"version\": \"", "\"version\": \"9.");
    assert_ne!(state, other);
    fs::write(checkpoint.join("state.json"), &other).unwrap();
    let manifest = fs::read_to_string(checkpoint.join("sha256.json")).unwrap();
    let hash = |text: &str| rlar_run::sha256(text.as_bytes());
    fs::write(checkpoint.join("sha256.json"), manifest.replace(&hash(&state), &hash(&other))).unwrap();
    let out = run(folder.path(), &["train", "--config", &config, "--run", "run", "--resume"]);
    refused(&out, 1, &["step-000023", "rlar 9.", "format 99", "--model"]);
}

#[test]
fn a_damaged_checkpoint_falls_back_to_the_one_before_and_ends_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let config = long(folder.path(), 1, &[]);
    let whole = run(folder.path(), &["train", "--config", &config, "--run", "whole"]);
    assert!(whole.status.success(), "{}", text(&whole.stderr));
    let copy = folder.path().join("copy");
    assert!(
        std::process::Command::new("cp")
            .args(["-r", "whole", "copy"])
            .current_dir(folder.path())
            .status()
            .unwrap()
            .success()
    );
    let newest = fs::read_dir(copy.join("checkpoints")).unwrap().map(|e| e.unwrap().path()).max().unwrap();
    fs::write(newest.join("adam_v.safetensors"), b"torn").unwrap();
    let out = run(folder.path(), &["train", "--config", &config, "--run", "copy", "--resume"]);
    assert!(out.status.success(), "{}", text(&out.stderr));
    assert!(text(&out.stderr).contains("damaged checkpoint, using the one before"), "{}", text(&out.stderr));
    assert!(left(&folder.path().join("whole")).weights == left(&copy).weights);
}

/// A shared library that moves the wall clock to and fro at every call.
const CLOCK: &str = r"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <time.h>
int clock_gettime(clockid_t id, struct timespec *t) {
    static int (*real)(clockid_t, struct timespec *);
    static long looks;
    if (!real) real = dlsym(RTLD_NEXT, __func__);
    int r = real(id, t);
    if (id == CLOCK_REALTIME) t->tv_sec += (++looks % 3 - 1) * 86400 * 400;
    return r;
}";

#[cfg(target_os = "linux")]
#[test]
fn a_clock_that_jumps_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("clock.c"), CLOCK).unwrap();
    let compiled = std::process::Command::new("cc")
        .args(["-shared", "-fPIC", "-o", "clock.so", "clock.c", "-ldl"])
        .current_dir(folder.path())
        .status();
    assert!(compiled.is_ok_and(|status| status.success()), "this test needs a C compiler `cc`");
    let changes = [
        ("warmup:\n  steps: 120", "warmup:\n  steps: 20"),
        ("train:\n  steps: 300", "train:\n  steps: 10\n  max_minutes: 5"),
    ];
    let config = smoke(folder.path(), &changes);
    let steady = run(folder.path(), &["train", "--config", &config, "--run", "steady"]);
    assert!(steady.status.success(), "{}", text(&steady.stderr));
    let mut command = rlar(folder.path(), &["train", "--config", &config, "--run", "jumping"]);
    let out = command.env("LD_PRELOAD", folder.path().join("clock.so")).output().unwrap();
    assert!(out.status.success(), "{}", text(&out.stderr));
    let [a, b] = ["steady", "jumping"].map(|name| metrics(&folder.path().join(name)));
    assert_eq!(a, b);
    let seconds = fs::read_to_string(folder.path().join("jumping/metrics.jsonl")).unwrap();
    for line in seconds.lines() {
        let record: Value = serde_json::from_str(line).unwrap();
        let other = record["seconds"]["other"].as_f64().unwrap();
        assert!((0.0..60.0).contains(&other), "a duration of {other} s");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_disk_that_fills_up_is_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let config = long(folder.path(), 2, &[("checkpoint_every: 4", "checkpoint_every: 4\n  disk_wait: 60")]);
    fs::create_dir(folder.path().join("disk")).unwrap();
    let whole = run(folder.path(), &["train", "--config", &config, "--run", "whole"]);
    assert!(whole.status.success(), "{}", text(&whole.stderr));
    // A disk of 10 MB in a separate mount namespace. Most of it is in use until the run waits for room.
    let script = format!(
        "mount -t tmpfs -o size=10m tmpfs disk || exit 77
         head -c 8500000 /dev/zero > disk/ballast
         {rlar} train --config {config} --run disk/run 2> log & run=$!
         while ! grep -q 'the disk is full' log; do kill -0 $run 2>/dev/null || break; sleep 0.05; done
         rm disk/ballast
         wait $run || exit 1
         cp -r disk/run left",
        rlar = env!("CARGO_BIN_EXE_rlar"),
    );
    let out = std::process::Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", &script])
        .current_dir(folder.path())
        .output();
    let log = fs::read_to_string(folder.path().join("log")).unwrap_or_default();
    match out {
        Ok(out) if out.status.code() == Some(0) => {}
        Ok(out) if !log.is_empty() => panic!("{log}{}", text(&out.stderr)),
        other => {
            println!("skipped: this machine gives no mount namespace for a small disk: {other:?}");
            return;
        }
    }
    assert!(log.contains("waiting for room for at most 60 s") && log.contains("going on"), "{log}");
    assert!(left(&folder.path().join("whole")) == left(&folder.path().join("left")), "something was lost");
}
