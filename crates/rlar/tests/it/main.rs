//! The `rlar` command: its output, its files and its exit codes.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod agents;
mod bad_input;
mod commands;
mod data_forms;
mod functions;
mod hub_models;
mod kills;
mod learners;
mod looking;
mod libraries;
mod report;
mod rewards_gone_wrong;
mod serve;
mod serve_faults;
mod stops;
mod suites;
mod terminal;
mod training;
mod view;

use std::path::Path;
use std::process::{Command, Output};

/// A command that runs in a temporary folder, so that only embedded configs and data are found.
fn rlar(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rlar"));
    command.args(arguments).current_dir(folder);
    command
}

fn run(folder: &Path, arguments: &[&str]) -> Output {
    rlar(folder, arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Asserts an exit code, and an error message that contains all the words and no trace of a panic.
#[track_caller]
fn refused(output: &Output, code: i32, words: &[&str]) {
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{message}");
    for word in words {
        assert!(message.contains(word), "`{message}` does not mention `{word}`");
    }
    assert!(!message.contains("panicked") && !message.contains("backtrace"), "{message}");
}

/// Writes the smoke config with replacements to `folder/job.yaml`, and gives its name.
fn smoke(folder: &Path, changes: &[(&str, &str)]) -> String {
    let mut yaml = include_str!("../../../../configs/smoke.yaml").to_owned();
    for (from, to) in changes {
        assert!(yaml.contains(from), "the smoke config has no `{from}`");
        yaml = yaml.replace(from, to);
    }
    std::fs::write(folder.join("job.yaml"), yaml).unwrap();
    "job.yaml".into()
}

/// Trains a policy on a few demonstrations, and gives its folder.
fn trained(folder: &Path) -> String {
    let config = smoke(folder, &[("train:\n  steps: 300", "train:\n  steps: 1"), ("  steps: 120", "  steps: 60")]);
    let out = run(folder, &["train", "--config", &config, "--run", "base"]);
    assert!(out.status.success(), "{}", text(&out.stderr));
    "base/start".into()
}

/// Writes the smoke config with replacements, starting from a policy on disk, and gives its name.
fn starting_from(folder: &Path, model: &str, changes: &[(&str, &str)]) -> String {
    let config = smoke(folder, changes);
    let yaml = std::fs::read_to_string(folder.join(&config)).unwrap();
    let (from, to) = (yaml.find("model:").unwrap(), yaml.find("data:").unwrap());
    std::fs::write(folder.join(&config), format!("{}model:\n  path: {model}\n{}", &yaml[..from], &yaml[to..])).unwrap();
    config
}
