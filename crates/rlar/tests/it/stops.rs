//! Runs that end before their last step, and end at the same step when they are repeated.

use std::fs;
use std::path::Path;

use crate::rewards_gone_wrong::with_verifier;
use crate::training::metrics;
use crate::{refused, run, smoke, starting_from, text, trained};

/// Runs a job, and gives why it ended and after how many steps.
fn ended(folder: &Path, config: &str, more: &[&str]) -> (String, usize) {
    let out = run(folder, &[&["train", "--config", config, "--run", "run"], more].concat());
    assert!(out.status.success(), "{}", text(&out.stderr));
    let report: serde_json::Value = serde_json::from_slice(&fs::read(folder.join("run/report.json")).unwrap()).unwrap();
    let steps = metrics(&folder.join("run")).len();
    assert_eq!(report["steps"], steps);
    (report["ended"].as_str().unwrap().to_owned(), steps)
}

fn weights(folder: &Path) -> Vec<u8> {
    fs::read(folder.join("run/final/model.safetensors")).unwrap()
}

/// Removes the newest checkpoint, so that a resumed run repeats the last steps.
fn lose_the_newest(folder: &Path) {
    let newest = fs::read_dir(folder.join("run/checkpoints")).unwrap().map(|e| e.unwrap().path()).max().unwrap();
    fs::remove_dir_all(newest).unwrap();
}

#[test]
fn a_budget_of_tokens_ends_a_run_at_the_same_step_again() {
    let folder = tempfile::tempdir().unwrap();
    let config = smoke(
        folder.path(),
        &[("steps: 120", "steps: 20"), ("prompts: 16", "prompts: 16\n  max_tokens: 5000"), ("_every: 10", "_every: 4")],
    );
    let (why, steps) = ended(folder.path(), &config, &[]);
    assert!(why.contains("`train.max_tokens`, 5000 sampled tokens,"), "{why}");
    let drawn = |m: &serde_json::Value| m["tokens_drawn"].as_u64().unwrap();
    let records = metrics(&folder.path().join("run"));
    assert!(
        drawn(&records[steps - 1]) >= 5000 && drawn(&records[steps - 2]) < 5000,
        "it ends at the first step past it"
    );
    let whole = weights(folder.path());
    lose_the_newest(folder.path());
    assert_eq!(ended(folder.path(), &config, &["--resume"]), (why, steps));
    assert!(whole == weights(folder.path()));
}

#[test]
fn a_budget_of_time_ends_a_run_at_the_same_step_again_and_can_be_raised() {
    for (asynchronous, keep_last) in [(false, 2), (false, 1), (true, 1)] {
        let folder = tempfile::tempdir().unwrap();
        let prompts = format!("prompts: 16\n  max_minutes: 0.02\n  asynchronous: {asynchronous}");
        let every = format!("checkpoint_every: 4\n  keep_last: {keep_last}");
        let config = smoke(
            folder.path(),
            &[("steps: 120", "steps: 20"), ("prompts: 16", prompts.as_str()), ("checkpoint_every: 10", every.as_str())],
        );
        let (why, steps) = ended(folder.path(), &config, &[]);
        assert!(why.contains("`train.max_minutes`, 0.02 minutes,"), "{why}");
        assert!((1..300).contains(&steps));
        let whole = weights(folder.path());
        // The journal records the step at which the time was up, so that every resumed run ends there.
        for again in 0..3 {
            if again == 1 && keep_last == 2 {
                lose_the_newest(folder.path());
            }
            assert_eq!(ended(folder.path(), &config, &["--resume"]), (why.clone(), steps));
            assert!(whole == weights(folder.path()));
        }
        let (_, further) = ended(folder.path(), &config, &["--resume", "--minutes", "0.03"]);
        assert!(further > steps, "{further} steps with more time, {steps} before");
    }
}

#[test]
fn a_model_in_the_runs_own_folder_and_steps_without_a_checkpoint_are_not_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let base = trained(folder.path());
    let changes = [("steps: 120", "steps: 0"), ("train:\n  steps: 300", "train:\n  steps: 2")];
    let config = starting_from(folder.path(), &base, &changes);
    fs::remove_dir_all(folder.path().join("base/checkpoints")).unwrap();
    fs::remove_file(folder.path().join("base/journal.jsonl")).unwrap();
    let out = run(folder.path(), &["train", "--config", &config, "--run", "base"]);
    refused(&out, 1, &["lies in the run's folder", "--run"]);
    assert!(folder.path().join(&base).join("model.safetensors").exists());
    // The journal alone, without a checkpoint, also counts as an earlier run.
    assert!(run(folder.path(), &["train", "--config", &config, "--run", "run"]).status.success());
    let whole = weights(folder.path());
    fs::remove_dir_all(folder.path().join("run/checkpoints")).unwrap();
    refused(
        &run(folder.path(), &["train", "--config", &config, "--run", "run"]),
        2,
        &["holds an earlier run", "--resume"],
    );
    let out = run(folder.path(), &["train", "--config", &config, "--run", "run", "--resume"]);
    assert!(out.status.success(), "{}", text(&out.stderr));
    assert!(whole == weights(folder.path()), "the journal repeats what no checkpoint has");
}

#[test]
fn patience_ends_a_run_that_gets_no_better() {
    let folder = tempfile::tempdir().unwrap();
    let rewards = with_verifier(folder.path(), "return 1.0");
    let eval = "eval:\n  samples: 1\n  limit: 4\n  every: 3\n  patience: 2";
    let config = smoke(
        folder.path(),
        &[("steps: 120", "steps: 20"), ("sampling:", rewards.as_str()), ("eval:\n  samples: 8", eval)],
    );
    let (why, steps) = ended(folder.path(), &config, &[]);
    // All measurements are equal: the first is the best, and the next two are no better.
    assert_eq!((why.as_str(), steps), ("2 evaluations in a row were no better than the best one (`eval.patience`)", 9));
    lose_the_newest(folder.path());
    assert_eq!(ended(folder.path(), &config, &["--resume"]), (why, steps));
}

#[test]
fn a_group_of_one_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let config = smoke(folder.path(), &[("group_size: 8", "group_size: 1")]);
    refused(
        &run(folder.path(), &["train", "--config", &config]),
        2,
        &["job.yaml:", "`train.group_size` is 1", "at least 2"],
    );
}
