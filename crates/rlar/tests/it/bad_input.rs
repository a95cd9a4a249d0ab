use std::fs;

use crate::{refused, run, smoke};

#[test]
fn a_wrong_config_is_refused_whole_with_lines_and_near_names() {
    let folder = tempfile::tempdir().unwrap();
    let changes =
        [("group_size: 8", "group_sise: 8"), ("learning_rate: 3.0e-4", "learning_rate: -1"), ("seed: 0", "seed: zero")];
    let config = smoke(folder.path(), &changes);
    let out = run(folder.path(), &["train", "--config", &config]);
    refused(
        &out,
        2,
        &[
            "job.yaml:",
            "`train.group_sise`; did you mean `group_size`?",
            "`optimizer.learning_rate` is -1",
            "`seed` must be a whole number",
        ],
    );
    assert!(!folder.path().join("runs").exists(), "a refused request must touch nothing");
}

#[test]
fn a_config_for_another_version_or_that_is_nowhere_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let config = smoke(folder.path(), &[("version: 1", "version: 2")]);
    refused(&run(folder.path(), &["train", "--config", &config]), 2, &["job.yaml:3", "this build reads version 1"]);
    refused(
        &run(folder.path(), &["train", "--config", "nowhere.yaml"]),
        2,
        &["nowhere.yaml", "embedded: ", "math.yaml"],
    );
}

#[test]
fn yaml_that_cannot_be_read_is_named_by_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let config = smoke(folder.path(), &[("  folder: runs/smoke", "\tfolder: runs/smoke")]);
    let text = std::fs::read_to_string(folder.path().join(&config)).unwrap();
    let line = text.lines().position(|l| l.starts_with('\t')).unwrap() + 1;
    refused(&run(folder.path(), &["train", "--config", &config]), 2, &[&format!("job.yaml:{line}: not YAML")]);
    let device = smoke(folder.path(), &[("seed: 0", "seed: 0\ndevice: cuda:0")]);
    refused(&run(folder.path(), &["train", "--config", &device]), 2, &["job.yaml:5: `device`", "GPU support"]);
}

#[test]
fn what_the_command_line_changes_is_checked_like_the_config() {
    let folder = tempfile::tempdir().unwrap();
    let config = smoke(folder.path(), &[]);
    let with = |more: &[&str]| run(folder.path(), &[&["train", "--config", &config], more].concat());
    refused(&with(&["--minutes=-1"]), 2, &["`train.max_minutes`", "not a duration"]);
    let no_demonstrations = smoke(folder.path(), &[("  demonstrations: datasets/digits/sft.jsonl\n", "")]);
    let out = run(folder.path(), &["train", "--config", &no_demonstrations, "--model", ".", "--method", "sft"]);
    refused(&out, 2, &["`data`", "needs `demonstrations`"]);
}

#[test]
fn bad_data_is_named_by_file_and_line() {
    let folder = tempfile::tempdir().unwrap();
    let config = smoke(folder.path(), &[("train: datasets/digits/train.jsonl", "train: mine.jsonl")]);
    let with = |data: &str| {
        fs::write(folder.path().join("mine.jsonl"), data).unwrap();
        run(folder.path(), &["train", "--config", &config])
    };
    refused(
        &with("{\"prompt\":\"a\",\"reference\":\"1\"}\n{\"prompt\":\"b\"}\n"),
        2,
        &["mine.jsonl", "example `2`", "no reference"],
    );
    refused(&with("{\"reference\":\"1\"}\n"), 2, &["mine.jsonl:1", "no `prompt`"]);
    refused(&with(""), 2, &["mine.jsonl", "empty"]);
    let config = smoke(
        folder.path(),
        &[
            ("train: datasets/digits/train.jsonl", "train: mine.jsonl"),
            ("prompts: 16", "prompts: 16\n  minibatches: 4"),
        ],
    );
    let uneven = with("{\"prompt\":\"1 + 1 =\",\"reference\":\"2\"}\n{\"prompt\":\"1 + 2 =\",\"reference\":\"3\"}\n");
    refused(&uneven, 2, &["`train.minibatches`", "4 does not divide the 2 prompts"]);
    fs::remove_file(folder.path().join("mine.jsonl")).unwrap();
    refused(
        &run(folder.path(), &["train", "--config", &config]),
        2,
        &["job.yaml:", "`data.train`", "mine.jsonl is neither"],
    );
}

#[test]
fn missing_and_broken_models_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let config = smoke(folder.path(), &[]);
    let with = |model: &str| run(folder.path(), &["train", "--config", &config, "--model", model]);
    refused(&with("no-model"), 2, &["no-model", "does not exist"]);
    refused(&run(folder.path(), &["eval", "--config", &config]), 2, &["train first", "--model"]);
    fs::write(folder.path().join("broken.gguf"), b"GGUF\x03\0\0\0").unwrap();
    refused(&with("broken.gguf"), 2, &["broken.gguf", "truncated"]);
    fs::create_dir(folder.path().join("hollow")).unwrap();
    refused(&run(folder.path(), &["generate", "--model", "hollow", "--prompt", "x"]), 2, &["config.json"]);
}

#[test]
fn an_unwritable_folder_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let config = smoke(folder.path(), &[]);
    fs::write(folder.path().join("taken"), "").unwrap();
    let out = run(folder.path(), &["train", "--config", &config, "--run", "taken/run"]);
    refused(&out, 1, &["taken/run", "cannot create the run folder"]);
}

#[test]
fn a_tool_that_fails_stops_the_run_with_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let config = smoke(
        folder.path(),
        &[("warmup:\n  steps: 120", "rewards:\n  library: tools\n  unadmitted: allow\nwarmup:\n  steps: 2")],
    );
    let home = folder.path().join("tools/broken");
    fs::create_dir_all(&home).unwrap();
    let card = "name: broken\nkind: verifier\nrole: correctness\nmeasures: m\ntasks: [expressions]\nneeds_reference: true\nrange: [0, 1]\n\
                function: compute_x\nfile: v.py\norigin: test\n";
    fs::write(home.join("tool.yaml"), card).unwrap();
    fs::write(home.join("v.py"), "def compute_x(a, b, c):\n    raise KeyError('lost')\n").unwrap();
    let out = run(folder.path(), &["train", "--config", &config]);
    refused(&out, 1, &["tool `broken` failed", "KeyError", "failure_limit"]);
}
