//! Data sets as people have them, from the command line.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::{refused, run, smoke, starting_from, text};

/// Writes a config whose training data is the given file. It starts from no demonstrations.
fn config(folder: &Path, train: &str, more: &str) -> String {
    let data = format!("  train: {train}\n  heldout: {train}\n  demonstrations: datasets/digits/sft.jsonl\n{more}");
    let earlier = "  train: datasets/digits/train.jsonl\n  heldout: datasets/digits/heldout.jsonl\n  demonstrations: \
                   datasets/digits/sft.jsonl\n";
    smoke(folder, &[(earlier, &data), ("positions: 32", "positions: 256"), ("max_tokens: 4", "max_tokens: 4")])
}

fn write_lines(folder: &Path, name: &str, lines: impl Iterator<Item = String>) {
    fs::write(folder.join(name), lines.collect::<Vec<_>>().join("\n")).unwrap();
}

fn write(folder: &Path, name: &str, rows: &[Value]) {
    write_lines(folder, name, rows.iter().map(Value::to_string));
}

/// Problems with worked solutions; `ending` writes the end of a solution from its answer.
fn problems(ending: impl Fn(u32) -> String) -> Vec<Value> {
    let solution =
        |n: u32| format!("First {n} + 5 = {}, then {} * 2 = {}.{}", n + 5, n + 5, 2 * (n + 5), ending(2 * (n + 5)));
    (0..20).map(|n| json!({"question": format!("Twice {n} and five?"), "answer": solution(n)})).collect()
}

/// The standard error of a dry run of `rlar train`, and the tools that it assigns.
fn dry_run(folder: &Path, config: &str) -> String {
    let out = run(folder, &["train", "--config", config, "--dry-run"]);
    assert!(out.status.success(), "{}", text(&out.stderr));
    text(&out.stdout) + &text(&out.stderr)
}

#[test]
fn worked_solutions_are_trained_on_by_their_final_answer() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "rows.jsonl", &problems(|answer| format!("\n#### {answer}")));
    let told = dry_run(folder.path(), &config(folder.path(), "rows.jsonl", ""));
    assert!(told.contains("`question` is the prompt"), "{told}");
    assert!(told.contains("the reference is what follows `####` (20 of 20 rows)"), "{told}");
    let found = "row `1`: the reference `10` was taken from \"First 0 + 5 = 5, then 5 * 2 = 10. #### 10\"\n";
    assert!(told.contains(found), "{told}");
    let config = config(folder.path(), "rows.jsonl", "");
    for command in [&["check"][..], &["rewards", "choose"], &["rewards", "choose", "--data", "rows.jsonl"]] {
        let out = run(folder.path(), &[command, &["--config", &config]].concat());
        assert!(out.status.success() && text(&out.stderr).contains(found), "{command:?}: {}", text(&out.stderr));
    }
    assert!(!told.contains("rouge") && !told.contains("token_f1"), "{told}");
}

#[test]
fn a_warning_says_that_replies_like_those_in_the_data_would_be_cut_off() {
    let folder = tempfile::tempdir().unwrap();
    let f = folder.path();
    // Each solution has 14 words, and a word is a token of this model.
    let rows = problems(|answer| format!("\n#### {answer}"));
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/../policy/tests/fixtures/models/llama");
    let demonstrations = |long: usize| {
        let rows = rows.iter().enumerate().map(|(i, row)| {
            let reply = if i < long { row["answer"].clone() } else { "So 4.".into() };
            json!({ "prompt": row["question"], "demonstration": reply })
        });
        write(f, "shown.jsonl", &rows.collect::<Vec<_>>());
    };
    write(f, "rows.jsonl", &rows);
    demonstrations(11);
    let data = "  train: datasets/digits/train.jsonl\n  heldout: datasets/digits/heldout.jsonl\n  demonstrations: \
                datasets/digits/sft.jsonl\n";
    let own = (data, "  train: rows.jsonl\n  heldout: rows.jsonl\n  demonstrations: shown.jsonl\n");
    let check = |changes: &[(&str, &str)]| {
        let config = starting_from(f, model, &[&[own], changes].concat());
        let out = run(f, &["check", "--config", &config]);
        assert!(out.status.success(), "{}", text(&out.stderr));
        text(&out.stderr)
    };
    let told = check(&[]);
    let warning = "11 of 20 demonstrations are longer than `sampling.max_tokens`: 4; the longest has 14 tokens";
    assert!(told.contains(warning), "{told}");
    let unimitated = ("warmup:\n  steps: 120", "warmup:\n  steps: 0");
    let told = check(&[unimitated]);
    let warning =
        "20 of 20 worked solutions in the references are longer than `sampling.max_tokens`: 4; the longest has 14";
    assert!(told.contains(warning), "{told}");
    let told = check(&[unimitated, ("max_tokens: 4", "max_tokens: 14")]);
    assert!(!told.contains("longer than"), "{told}");
    demonstrations(10);
    let told = check(&[]);
    assert!(!told.contains("longer than"), "half of the demonstrations are no majority: {told}");
    // The same at the start of a job, with a model whose tokenizer is trained on the demonstrations.
    demonstrations(20);
    let config = smoke(f, &[own, ("positions: 32", "positions: 256")]);
    let told = dry_run(f, &config);
    assert!(told.contains("20 of 20 demonstrations are longer than `sampling.max_tokens`: 4"), "{told}");
}

#[test]
fn the_recipe_of_the_documentation_imitates_worked_solutions() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("gsm8k")).unwrap();
    write(folder.path(), "gsm8k/train.jsonl", &problems(|answer| format!("\n#### {answer}")));
    let hints = include_str!("../../../../docs/reference/run.md").split_once("## Hints").unwrap().1;
    let recipe = hints.split_once("```yaml\n").unwrap().1.split_once("```").unwrap().0;
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/../policy/tests/fixtures/models/llama");
    fs::write(folder.path().join("job.yaml"), format!("version: 1\nmodel:\n  path: {model}\n{recipe}")).unwrap();
    let out = run(folder.path(), &["check", "--config", "job.yaml"]);
    assert!(out.status.success(), "{}", text(&out.stderr));
    assert!(text(&out.stdout).contains("20 prompts, 20 demonstrations"), "{}", text(&out.stdout));
    assert!(!text(&out.stderr).contains("longer than"), "{}", text(&out.stderr));
}

#[test]
fn worked_solutions_without_a_mark_are_refused_with_what_to_write() {
    let folder = tempfile::tempdir().unwrap();
    let ends = ["", " That is all.", " Done!", " So it is even."];
    write(folder.path(), "rows.jsonl", &problems(|answer| ends[answer as usize / 2 % 4].into()));
    let out = run(folder.path(), &["train", "--config", &config(folder.path(), "rows.jsonl", ""), "--dry-run"]);
    refused(&out, 2, &["`data.train`", "look like worked solutions", "data.columns", "rewards.assign"]);
    let columns = "  columns:\n    prompt: \"{{ question }}\"\n    reference: \"{{ answer.split('=')[-1].split('.')[0] | trim }}\"\n";
    let told = dry_run(folder.path(), &config(folder.path(), "rows.jsonl", columns));
    assert!(!told.contains("rouge"), "{told}");
}

#[test]
fn rows_of_other_tools_are_read_from_lists_and_patterns() {
    let folder = tempfile::tempdir().unwrap();
    let verl = |n: u32| {
        json!({"data_source": "sums", "prompt": [{"role": "user", "content": format!("{n} + 1 =")}],
        "reward_model": {"style": "rule", "ground_truth": (n + 1).to_string()}, "extra_info": {"index": n}})
    };
    write(folder.path(), "part-1.jsonl", &(0..10).map(verl).collect::<Vec<_>>());
    write(folder.path(), "part-2.jsonl", &(10..20).map(verl).collect::<Vec<_>>());
    for files in ["part-*.jsonl", "[part-1.jsonl, part-2.jsonl]"] {
        let told = dry_run(folder.path(), &config(folder.path(), files, ""));
        assert!(told.contains("`reward_model.ground_truth` is the reference") && told.contains("20 prompts"), "{told}");
    }
    let out = run(folder.path(), &["train", "--config", &config(folder.path(), "none-*.jsonl", ""), "--dry-run"]);
    refused(&out, 2, &["`data.train`", "none-*.jsonl is neither on disk"]);
}

#[test]
fn parallel_text_files_are_columns() {
    let folder = tempfile::tempdir().unwrap();
    write_lines(folder.path(), "x.q", (0..20).map(|n| format!("{n} + 1 =")));
    write_lines(folder.path(), "x.a", (0..20).map(|n| (n + 1).to_string()));
    let told = dry_run(folder.path(), &config(folder.path(), "{ prompt: x.q, reference: x.a }", ""));
    assert!(told.contains("20 prompts"), "{told}");
}

#[test]
fn a_wrong_template_is_refused_with_its_key() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "rows.jsonl", &[json!({"q": "1 + 1 =", "a": "2"})]);
    let with = |columns: &str| {
        let config = config(folder.path(), "rows.jsonl", columns);
        run(folder.path(), &["train", "--config", &config, "--dry-run"])
    };
    refused(&with("  columns: { prompt: \"{{ q\" }\n"), 2, &["`data.columns.prompt`"]);
    refused(&with("  columns: { prompt: \"{{ question }}\" }\n"), 2, &["rows.jsonl:1", "the row has: q, a"]);
    refused(&with("  columns: { promt: \"{{ q }}\" }\n"), 2, &["did you mean `prompt`"]);
    refused(&with(""), 2, &["rows.jsonl:1", "`data.columns: { prompt: \"{{ q }}\" }`"]);
}
