//! The file with the tools of the prompts that a run has seen.

use std::fs;
use std::path::Path;

use rlar_data::{Example, ExampleList, Needs, read_examples};
use rlar_eval::PromptFormat;
use rlar_grpo::report::assignment_log::AssignmentLog;
use rlar_grpo::rollouts::drawn_prompts::{DrawnPrompts, TrainingPrompts};
use rlar_policy::Tokenizer;
use rlar_rewards::{Library, Orchestrator, OrchestratorConfig, ToolContext};
use rlar_run::{Disk, RunFolder};
use rlar_sandbox::SandboxLimits;
use serde_json::{Value, json};

fn examples() -> Vec<Example> {
    let row =
        |i: usize| json!({ "id": format!("row {i}"), "prompt": format!("{i} + 1 ="), "reference": i + 1 }).to_string();
    let rows = (0..6).map(row).collect::<Vec<_>>().join("\n");
    read_examples("sums.jsonl".as_ref(), rows.as_bytes(), Needs::Reference).unwrap()
}

fn train() -> ExampleList {
    examples()[..5].to_vec().try_into().unwrap()
}

fn rewards() -> Orchestrator {
    let context = ToolContext::new(SandboxLimits::default());
    Orchestrator::new(Library::curated().unwrap(), context, OrchestratorConfig::default())
}

fn drawn(indices: &[usize]) -> DrawnPrompts {
    let tokenizer = Tokenizer::train(["1 + 1 = 2"], 270).unwrap();
    let prompts = TrainingPrompts { examples: &train(), tokenizer: &tokenizer, format: PromptFormat::Chat };
    prompts.drawn(indices.iter().copied()).unwrap()
}

fn run(folder: &Path) -> RunFolder {
    RunFolder::open(folder, false, Disk::default()).unwrap()
}

/// The lines of the file as `STEP INDEX ID`.
fn lines(folder: &Path) -> Vec<String> {
    let text = fs::read_to_string(folder.join("assignments.jsonl")).unwrap();
    let line = |line: &str| {
        let record: Value = serde_json::from_str(line).unwrap();
        assert!(!record["tools"].as_array().unwrap().is_empty() && record["by"] == "builtin", "{record}");
        format!("{} {} {}", record["step"], record["index"], record["example"].as_str().unwrap())
    };
    text.lines().map(line).collect()
}

#[test]
fn a_prompt_is_written_when_it_is_first_drawn_and_the_others_are_not() {
    let folder = tempfile::tempdir().unwrap();
    let (run, mut rewards) = (run(folder.path()), rewards());
    let mut log = AssignmentLog::start(&run, &examples()[5..], &mut rewards).unwrap();
    assert_eq!(lines(folder.path()), ["0 0 row 5"]);
    log.add(1, &drawn(&[3, 1]), &mut rewards).unwrap();
    log.add(2, &drawn(&[1, 4]), &mut rewards).unwrap();
    assert_eq!(lines(folder.path()), ["0 0 row 5", "1 1 row 1", "1 3 row 3", "2 4 row 4"]);
}

#[test]
fn a_resumed_run_keeps_what_was_assigned_and_takes_later_steps_again() {
    let folder = tempfile::tempdir().unwrap();
    {
        let (run, mut rewards) = (run(folder.path()), rewards());
        let mut log = AssignmentLog::start(&run, &examples()[5..], &mut rewards).unwrap();
        log.add(1, &drawn(&[3]), &mut rewards).unwrap();
        log.add(2, &drawn(&[4]), &mut rewards).unwrap();
    }
    let path = folder.path().join("assignments.jsonl");
    // What the file says counts, and a line that a kill cut short does not.
    let text = fs::read_to_string(&path).unwrap();
    let kept: Vec<String> = text.lines().map(|line| line.replace("numeric_match", "exact_match")).collect();
    fs::write(&path, kept.join("\n") + "\n{\"step\": 1, \"ind").unwrap();
    let (run, mut rewards) = (run(folder.path()), rewards());
    let mut log = AssignmentLog::resume(&run, 1, &train(), &examples()[5..], &mut rewards).unwrap();
    let tool = |rewards: &Orchestrator, i: usize| rewards.assignment_of(&examples()[i]).unwrap().tools[0].tool.clone();
    assert_eq!([3, 5, 4].map(|i| tool(&rewards, i)), ["exact_match", "exact_match", "numeric_match"]);
    assert_eq!(lines(folder.path()), ["0 0 row 5", "1 3 row 3"]);
    log.add(2, &drawn(&[3, 4]), &mut rewards).unwrap();
    assert_eq!(lines(folder.path()), ["0 0 row 5", "1 3 row 3", "2 4 row 4"]);
}

#[test]
fn the_complete_file_of_an_earlier_build_is_read_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("assignments.jsonl");
    let line = |example: &Example| {
        let tools = json!([{ "tool": "exact_match", "weight": 1.0 }]);
        json!({ "example": example.id, "tools": tools, "by": "builtin", "why": "earlier" }).to_string()
    };
    let written = examples().iter().map(line).collect::<Vec<_>>().join("\n") + "\n";
    let (run, mut rewards) = (run(folder.path()), rewards());
    fs::write(&path, &written).unwrap();
    let mut log = AssignmentLog::resume(&run, 3, &train(), &examples()[5..], &mut rewards).unwrap();
    log.add(4, &drawn(&[0, 1, 2]), &mut rewards).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), written);
    for example in &examples() {
        assert_eq!(rewards.assignment_of(example).unwrap().why, "earlier");
    }
}
