//! The mean reward of each training prompt over the last recorded steps, for comparing runs prompt by prompt.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;

use crate::rollouts::{read_step, rollout_steps};
use crate::shown_text::ShownText;

/// Number of files that are read, the newest.
const MAX_STEPS: usize = 20;
/// Largest number of prompts.
const MAX_PROMPTS: usize = 5000;
/// Number of characters of a prompt.
const PROMPT: usize = 120;

/// The mean rewards of the prompts of a run.
#[derive(Debug, Default, PartialEq, Serialize)]
pub struct PromptMeans {
    /// The steps that were read, falling.
    pub steps: Vec<u64>,
    /// The prompts, by their example's id.
    pub prompts: Vec<PromptMean>,
}

/// The mean reward of a prompt.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PromptMean {
    /// Id of the example.
    pub example: String,
    /// Beginning of the prompt.
    pub prompt: ShownText,
    /// Mean reward.
    pub mean: f64,
    /// Number of replies with a reward.
    pub replies: usize,
}

/// Reads the newest files of rollouts; one that cannot be read is passed over, and is not among `steps`.
pub fn prompt_means(run: &Path) -> PromptMeans {
    let mut means = PromptMeans::default();
    let mut known: BTreeMap<String, PromptMean> = BTreeMap::new();
    for step in rollout_steps(run).iter().rev().take(MAX_STEPS) {
        let Ok(rows) = read_step(run, step.step, &["example", "prompt", "reward"]) else { continue };
        means.steps.push(step.step);
        for row in &rows {
            let (Some(reward), example) = (row.number("reward"), row.text("example")) else { continue };
            if known.len() >= MAX_PROMPTS && !known.contains_key(example) {
                continue;
            }
            let prompt = known.entry(example.to_owned()).or_insert_with(|| PromptMean {
                example: example.to_owned(),
                prompt: ShownText::new(row.text("prompt"), PROMPT),
                mean: 0.0,
                replies: 0,
            });
            // The sum, until all rows are read.
            prompt.mean += reward;
            prompt.replies += 1;
        }
    }
    let finished = |prompt: PromptMean| PromptMean { mean: prompt.mean / prompt.replies as f64, ..prompt };
    means.prompts = known.into_values().map(finished).collect();
    means
}
