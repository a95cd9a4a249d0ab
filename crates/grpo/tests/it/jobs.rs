//! A job with a reward that differs between random replies.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use rlar_data::{Needs, read_examples};
use rlar_grpo::{Config, Job};
use rlar_rewards::{Assignment, Library, Orchestrator, OrchestratorConfig, ToolContext};
use rlar_run::{Build, OutputMode};
use rlar_sandbox::SandboxLimits;
use serde_json::json;

/// A job that trains the model at `model` on four prompts. The reward is the likeness of a reply to `reference`.
pub fn similarity_job<'i>(config: Config, model: &Path, reference: &str, interrupted: &'i AtomicBool) -> Job<'i> {
    assert!(config.problems().is_empty());
    let row = |prompt| json!({ "prompt": prompt, "reference": reference, "domain": "words" }).to_string();
    let rows = ["w", "ww", "www", "wwww"].map(row).join("\n");
    let examples = read_examples("words.jsonl".as_ref(), rows.as_bytes(), Needs::Prompt).unwrap();
    let context = ToolContext::new(SandboxLimits::default());
    let mut rewards = Orchestrator::new(Library::curated().unwrap(), context, OrchestratorConfig::default());
    let tools = serde_json::from_value(json!([{ "tool": "edit_similarity" }])).unwrap();
    let (by, why) = ("test".to_owned(), "replies differ in it".to_owned());
    rewards.assign_domain("words", Assignment { example: "words".into(), tools, by, why });
    Job {
        began: Instant::now(),
        config,
        model: Some(model.into()),
        hub_commits: BTreeMap::new(),
        sizes: vec![examples.len()],
        train: examples.try_into().unwrap(),
        heldout: Vec::new(),
        demonstrations: Vec::new(),
        preferences: Vec::new(),
        heldout_preferences: Vec::new(),
        suites: Vec::new(),
        rewards,
        agents: None,
        resume: false,
        interrupted,
        output: OutputMode::Quiet,
        build: Build::default(),
    }
}
