//! Commands that look at a config or at runs without training: `check`, `rollouts`, `compare`.

use std::fs;
use std::path::{Path, PathBuf};

use rlar_data::read_rows;
use serde_json::{Map, Value, json};

use crate::{refused, run, smoke, starting_from, text};

#[test]
fn check_says_everything_that_is_wrong_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let data = "  train: datasets/digits/train.jsonl\n  heldout: datasets/digits/heldout.jsonl\n";
    let changes = [
        (data, "  train: nowhere.jsonl\n  heldout: also-nowhere.csv\n"),
        ("  samples: 8", "  samples: 8\nrewards:\n  assign:\n    digits: [{ tool: last_numbr }]"),
    ];
    let config = smoke(folder.path(), &changes);
    let out = run(folder.path(), &["check", "--config", &config]);
    refused(
        &out,
        2,
        &["`data.train`: nowhere.jsonl", "`data.heldout`: also-nowhere.csv", "did you mean `last_number`?"],
    );
    let config = smoke(
        folder.path(),
        &[("  samples: 8", "  samples: 8\nrewards:\n  assign:\n    digitz: [{ tool: last_number }]")],
    );
    refused(&run(folder.path(), &["check", "--config", &config]), 2, &["no prompt has the domain `digitz`"]);
    let config = smoke(folder.path(), &[]);
    let out = run(folder.path(), &["check", "--config", &config]);
    assert!(out.status.success() && text(&out.stdout).contains("nothing is wrong; "), "{}", text(&out.stderr));
    assert!(!folder.path().join("runs").exists(), "a check must touch nothing");
}

#[test]
fn check_names_the_lines_and_near_names_of_all_that_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let f = folder.path();
    fs::write(f.join("prompts.jsonl"), "{\"prompt\": \"1 + 1 =\", \"reference\": \"2\"}\n").unwrap();
    fs::write(f.join("reward.py"), "def f(completions, **columns):\n    return [0.0 for c in completions]\n").unwrap();
    let suite = "version: 1\nname: mine\ndata: prompts.jsonl\nprompt: \"{{ prompt }}\"\nreference: \"{{ reference }}\"\n\
                 tools: [{ tool: exact_mach }, { tool: last_numbr }]\nmetrics: [accuracy]\n";
    fs::write(f.join("mine.yaml"), suite).unwrap();
    let data = "  train: datasets/digits/train.jsonl\n  heldout: datasets/digits/heldout.jsonl\n";
    let changes = [
        (data, "  train: [promts.jsonl, none/at-all.csv]\n  heldout: prompts.jsonl\n"),
        (
            "eval:\n  samples: 8",
            "eval:\n  samples: 8\n  suites: [{ suite: gsm8 }, { suite: mine.yaml }]\nrewards:\n  library: missing-tools\n  \
             python: rewad.py:f",
        ),
    ];
    let config = starting_from(f, "missing-model", &changes);
    let yaml = fs::read_to_string(f.join(&config)).unwrap();
    let at = |key: &str| 1 + yaml.lines().position(|line| line.trim_start().starts_with(key)).unwrap();
    let (model, train, suites, library, python) =
        (at("path:"), at("train: ["), at("suites:"), at("library:"), at("python:"));
    refused(
        &run(f, &["check", "--config", &config]),
        2,
        &[
            &format!("job.yaml:{model}: `model.path`: model missing-model does not exist"),
            &format!("job.yaml:{train}: `data.train`: promts.jsonl is neither"),
            "did you mean `prompts.jsonl`?",
            &format!("job.yaml:{train}: `data.train`: none/at-all.csv is neither"),
            &format!("job.yaml:{python}: `rewards.python[0]`: rewad.py does not exist"),
            "did you mean `reward.py`?",
            &format!("job.yaml:{library}: `rewards.library`: the library missing-tools does not exist"),
            "`rlar fetch-rewards --config job.yaml --library missing-tools`",
            &format!("job.yaml:{suites}: `eval.suites[0]`: suite gsm8 is neither"),
            "did you mean `gsm8k`?",
            &format!("job.yaml:{suites}: `eval.suites[1]`: suite `mine`: no tool `exact_mach`"),
            "did you mean `exact_match`?",
            "no tool `last_numbr`",
            "did you mean `last_number`?",
        ],
    );
}

#[test]
fn before_the_first_fetch_the_command_that_fills_the_library_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let fill = "`rlar fetch-rewards --config multitask.yaml --library library/multitask`";
    for command in ["check", "train"] {
        let out = run(folder.path(), &[command, "--config", "multitask.yaml"]);
        refused(&out, 2, &["the library library/multitask does not exist yet", fill]);
    }
}

/// The file and the id of every prompt for which `rlar rewards choose` chooses with some changes to the smoke config.
fn chosen_for(folder: &Path, changes: &[(&str, &str)], more: &[&str]) -> Vec<String> {
    let config = smoke(folder, changes);
    let out = run(folder, &[&["rewards", "choose", "--config", &config], more].concat());
    assert!(out.status.success(), "{}", text(&out.stderr));
    let choices = text(&out.stdout);
    let choices = choices.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    choices.map(|choice| format!("{} {}", choice["file"], choice["id"])).collect()
}

#[test]
fn choices_for_several_data_sets_name_the_file_of_each_prompt() {
    let folder = tempfile::tempdir().unwrap();
    let f = folder.path();
    let sums = "{\"prompt\": \"1 + 1 =\", \"reference\": \"2\"}\n{\"prompt\": \"1 + 2 =\", \"reference\": \"3\"}\n";
    fs::write(f.join("sums.jsonl"), sums).unwrap();
    fs::write(f.join("names.jsonl"), "{\"prompt\": \"Capital of France?\", \"reference\": \"Paris\"}\n").unwrap();
    let digits = "  train: datasets/digits/train.jsonl\n  heldout: datasets/digits/heldout.jsonl\n  demonstrations: \
                  datasets/digits/sft.jsonl\n";
    let shown = "demonstrations: datasets/digits/sft.jsonl\n";
    let several = format!("  mixture:\n    - train: sums.jsonl\n      {shown}    - train: names.jsonl\n");
    let several = [(digits, several.as_str())];
    let places = chosen_for(f, &several, &[]);
    assert_eq!(places, [r#""sums.jsonl" "1""#, r#""sums.jsonl" "2""#, r#""names.jsonl" "1""#]);
    assert_eq!(chosen_for(f, &several, &["--data", "names.jsonl"]), [r#"null "1""#]);
    let one = format!("  train: sums.jsonl\n  {shown}");
    assert_eq!(chosen_for(f, &[(digits, &one)], &[]), [r#"null "1""#, r#"null "2""#]);
}

#[test]
fn paths_are_found_beside_the_config() {
    let folder = tempfile::tempdir().unwrap();
    let below = folder.path().join("below");
    fs::create_dir_all(below.join("own-tools")).unwrap();
    let rewards = "eval:\n  samples: 8\nrewards:\n  library: own-tools\n  assign:\n    digits: [{ tool: last_number }]";
    smoke(&below, &[("eval:\n  samples: 8", rewards)]);
    let out = run(folder.path(), &["check", "--config", "below/job.yaml"]);
    refused(&out, 2, &["below/job.yaml:", "`rewards.assign.digits[0]`: no tool `last_number` in the library"]);
    assert!(!text(&out.stderr).contains("does not exist"), "{}", text(&out.stderr));
}

#[test]
fn names_of_other_trainers_are_answered_with_ours() {
    let folder = tempfile::tempdir().unwrap();
    let changes = [
        ("  group_size: 8", "  num_generations: 8"),
        ("  learning_rate: 3.0e-4", "  lr: 3.0e-4"),
        ("  max_tokens: 4", "  max_completion_length: 4"),
    ];
    let config = smoke(folder.path(), &changes);
    let out = run(folder.path(), &["train", "--config", &config]);
    refused(
        &out,
        2,
        &["here it is `train.group_size`", "here it is `optimizer.learning_rate`", "`sampling.max_tokens`"],
    );
}

#[test]
fn a_run_shows_its_rollouts_and_compares_with_another() {
    let folder = tempfile::tempdir().unwrap();
    let config = smoke(
        folder.path(),
        &[("warmup:\n  steps: 120", "warmup:\n  steps: 5"), ("train:\n  steps: 300", "train:\n  steps: 4")],
    );
    let runs = ["runs/a", "runs/b"];
    for (name, seed) in runs.iter().zip(["1", "2"]) {
        let out = run(folder.path(), &["train", "--config", &config, "--run", name, "--seed", seed]);
        assert!(out.status.success(), "{}", text(&out.stderr));
        assert!(text(&out.stderr).contains("hint: nothing can be learned from"), "{}", text(&out.stderr));
    }
    let shown = run(folder.path(), &["rollouts", "runs/a", "--worst", "--limit", "2"]);
    let shown = text(&shown.stdout);
    for part in ["── step 1, example ", "prompt:\n", "reply:\n", "reference:\n", "(weight 1)", "2 of 128 replies"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    refused(&run(folder.path(), &["rollouts", "runs/a", "--step", "3"]), 2, &["has rollouts of these steps: 1"]);
    refused(&run(folder.path(), &["rollouts", "runs/a", "--tool", "none"]), 2, &["no reply has a score of `none`"]);
    refused(&run(folder.path(), &["rollouts", "nowhere"]), 2, &["nowhere is no run with rollouts"]);
    let compared = text(&run(folder.path(), &["compare", "runs/a", "runs/b"]).stdout);
    for part in [
        "seed",
        "a: runs/a, the baseline\nb: runs/b\n",
        "reward/mean, last 4 steps",
        "steps",
        "held-out accuracy, sampled, after",
        "a, b: Accuracy is measured by the reward’s own tool",
    ] {
        assert!(compared.contains(part), "{part}: {compared}");
    }
    compares_many(folder.path(), &runs.map(|run| folder.path().join(run)));
    fs::write(folder.path().join("model.txt"), "x").unwrap();
    let out = run(folder.path(), &["train", "--config", &config, "--model", "model.txt"]);
    assert_eq!(out.status.code(), Some(2), "a model that cannot be read is a wrong request: {}", text(&out.stderr));
}

/// Six runs do not fit side by side: every table has the baseline, every run is in one, and no line is wider than 100 columns.
fn compares_many(folder: &Path, [one, other]: &[PathBuf; 2]) {
    let names = ["a", "b", "c", "d", "e", "f"];
    for (i, name) in names.iter().enumerate().skip(2) {
        let copy = folder.join("runs").join(name);
        fs::create_dir(&copy).unwrap();
        for file in ["config.yaml", "metrics.jsonl", "report.json"] {
            fs::copy(if i.is_multiple_of(2) { one } else { other }.join(file), copy.join(file)).unwrap();
        }
    }
    let paths = names.map(|name| format!("runs/{name}"));
    let arguments: Vec<&str> = ["compare"].into_iter().chain(paths.iter().map(String::as_str)).collect();
    let shown = text(&run(folder, &arguments).stdout);
    let heads: Vec<Vec<&str>> = shown
        .lines()
        .filter(|line| line.starts_with("metric "))
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert!(heads.len() > 1 && heads.iter().all(|head| head[..2] == ["metric", "a"]), "{shown}");
    let others: Vec<&str> = heads.iter().flat_map(|head| head[2..].iter().copied()).collect();
    assert_eq!(others, names[1..], "{shown}");
    assert!(shown.lines().all(|line| line.chars().count() <= 100), "{shown}");
    // Run `c` is a copy of the baseline.
    let mut rewards = shown.lines().filter(|line| line.starts_with("reward/mean"));
    assert!(rewards.any(|line| line.contains("(+0.0000)")), "{shown}");
    refused(&run(folder, &["compare", "runs/a"]), 2, &["RUN"]);
}

#[test]
fn rollouts_are_shown_from_the_best_or_the_worst_reward_and_unscored_ones_last() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir_all(folder.path().join("run/rollouts")).unwrap();
    let row = |example: &str, reward: Value| {
        let row = json!({"step": 1, "example": example, "prompt": "p", "completion": "c", "reward": reward, "verdicts": "[]"});
        format!("{row}\n")
    };
    let rows = [("b", json!(0.5)), ("none", Value::Null), ("a", json!(-2.0)), ("c", json!(3.0))];
    let rows = rows.map(|(example, reward)| row(example, reward)).concat();
    // The first bytes of a file, not its name, say that it is JSONL.
    fs::write(folder.path().join("run/rollouts/step-000001.parquet"), rows).unwrap();
    let examples = |arguments: &[&str]| {
        let out = run(folder.path(), &[&["rollouts", "run"], arguments].concat());
        let shown = text(&out.stdout);
        let heads = shown.lines().filter_map(|line| line.split_once(", example ")?.1.split_once(':'));
        heads.map(|(example, _)| example.to_owned()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(examples(&[]), "b none a c");
    assert_eq!(examples(&["--best"]), "c b a none");
    assert_eq!(examples(&["--worst"]), "a b c none");
    assert_eq!(examples(&["--best", "--limit", "1"]), "c");
    refused(&run(folder.path(), &["rollouts", "run", "--best", "--worst"]), 2, &["--best", "--worst"]);
}

/// The rollouts of the one step of a short run of the smoke config with changes, by their columns.
fn rollouts_of(folder: &Path, changes: &[(&str, &str)]) -> Vec<Map<String, Value>> {
    let mut all =
        vec![("warmup:\n  steps: 120", "warmup:\n  steps: 5"), ("train:\n  steps: 300", "train:\n  steps: 1")];
    all.extend_from_slice(changes);
    let config = smoke(folder, &all);
    let out = run(folder, &["train", "--config", &config, "--run", "run"]);
    assert!(out.status.success(), "{}", text(&out.stderr));
    let path = folder.join("run/rollouts/step-000001.parquet");
    read_rows(&path, &fs::read(&path).unwrap()).unwrap().into_iter().map(|row| row.columns).collect()
}

#[test]
fn rollouts_keep_the_rendered_prompt_and_the_values_that_were_compared() {
    let folder = tempfile::tempdir().unwrap();
    let rewards = "  samples: 8\nrewards:\n  assign:\n    digits: [{ tool: math_equivalence }]";
    let rows = rollouts_of(folder.path(), &[("  samples: 8", rewards)]);
    let column = |row: &Map<String, Value>, name: &str| row[name].as_str().unwrap().to_owned();
    assert_eq!(rows.len(), 128);
    let compares = |row: &&Map<String, Value>| {
        let reason = column(row, "math_equivalence_reason");
        assert!(!reason.is_empty() && column(row, "verdicts").contains(&serde_json::to_string(&reason).unwrap()));
        reason.ends_with(&format!(" against `{}`", column(row, "reference")))
    };
    assert!(rows.iter().filter(compares).count() > 64, "{rows:?}");
    for row in &rows {
        let (prompt, rendered) = (column(row, "prompt"), column(row, "rendered_prompt"));
        assert!(rendered.contains(&prompt) && rendered.len() > prompt.len(), "{rendered:?}");
    }
    let shown = text(&run(folder.path(), &["rollouts", "run", "--rendered", "--limit", "128"]).stdout);
    assert!(
        shown.contains("rendered prompt:\n") && shown.contains("    `") && shown.contains("` against `"),
        "{shown}"
    );
    let shown = text(&run(folder.path(), &["rollouts", "run"]).stdout);
    assert!(shown.contains("prompt:\n") && !shown.contains("rendered"), "{shown}");
}

#[test]
fn rollouts_keep_the_test_that_a_program_failed() {
    let folder = tempfile::tempdir().unwrap();
    let rows = (0..16).map(|i| format!("{{\"prompt\": \"f{i}?\", \"tests\": [\"assert f{i}() == {i}\"]}}\n"));
    fs::write(folder.path().join("programs.jsonl"), rows.collect::<String>()).unwrap();
    let data = "  train: datasets/digits/train.jsonl\n  heldout: datasets/digits/heldout.jsonl\n";
    for row in rollouts_of(folder.path(), &[(data, "  train: programs.jsonl\n")]) {
        let name = row["prompt"].as_str().unwrap().trim_end_matches('?');
        let wanted = format!("0 of 1 tests passed; test 1, `assert {name}() == {}`: ", &name[1..]);
        let reason = row["code_tests_reason"].as_str().unwrap();
        assert!(reason.starts_with(&wanted) && reason.len() > wanted.len(), "{reason}");
    }
}
