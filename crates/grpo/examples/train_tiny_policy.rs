//! Trains a tiny policy from random weights on sums of two digits: demonstrations first, then rewards. Takes seconds.
//!
//!     cargo run --release -p rlar-grpo --example train_tiny_policy
#![allow(clippy::print_stdout)]

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use rlar_data::{Example, Needs, read_examples};
use rlar_grpo::{Config, Job, train};
use rlar_rewards::{Library, Orchestrator, OrchestratorConfig, ToolContext};
use rlar_run::{Build, OutputMode};
use rlar_sandbox::SandboxLimits;

const CONFIG: &str = "
version: 1
model:
  scratch: { vocab_size: 270, hidden_size: 32, intermediate_size: 64, layers: 1, heads: 2, kv_heads: 2, positions: 16 }
data: { train: sums, heldout: sums, demonstrations: sums }
warmup: { steps: 40, learning_rate: 3.0e-3 }
sampling: { max_tokens: 3 }
train: { steps: 10, prompts: 8, group_size: 4 }
";

/// Every sum of two digits as a prompt, with a reference for the reward and a demonstration for the warm-up.
fn sums() -> Result<Vec<Example>, Box<dyn Error>> {
    let rows = (1..10).flat_map(|a| (1..10).map(move |b| (a, b, a + b)));
    let lines: Vec<String> = rows
        .map(|(a, b, sum)| format!(r#"{{"prompt": "{a} + {b} =", "reference": "{sum}", "demonstration": "{sum}"}}"#))
        .collect();
    Ok(read_examples("sums.jsonl".as_ref(), lines.join("\n").as_bytes(), Needs::Prompt)?)
}

fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let mut config: Config = serde_yaml::from_str(CONFIG)?;
    config.run.folder = folder.path().join("run").display().to_string();
    assert!(config.problems().is_empty());

    let (sums, interrupted) = (sums()?, AtomicBool::new(false));
    let context = ToolContext::new(SandboxLimits::default());
    let report = train(Job {
        began: Instant::now(),
        config,
        model: None,
        hub_commits: BTreeMap::new(),
        sizes: vec![sums.len()],
        heldout: sums.clone(),
        demonstrations: sums.clone(),
        train: sums.try_into()?,
        preferences: Vec::new(),
        heldout_preferences: Vec::new(),
        suites: Vec::new(),
        rewards: Orchestrator::new(Library::curated()?, context, OrchestratorConfig::default()),
        agents: None,
        resume: false,
        interrupted: &interrupted,
        output: OutputMode::Quiet,
        build: Build::default(),
    })?;
    println!("{report}");
    Ok(())
}
