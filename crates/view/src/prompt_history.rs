//! The same prompt over time: what a policy replied to it at every step whose replies are in files.
//!
//! An index of the examples of each step is made when a run is first asked about, and kept in memory; only the files of
//! the steps that have the example are then read.

use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;

use crate::answer::NoAnswer;
use crate::json_lines::FileProblem;
use crate::mean::mean;
use crate::rollouts::{LISTED, ReplyRow, read_step, rollout_steps, step_file};
use crate::shown_text::ShownText;

/// Number of runs whose index is kept.
const MAX_RUNS: usize = 4;
/// Largest number of entries of an index, 32 MiB; the steps before those that fit are left out, and this is said.
const MAX_ENTRIES: usize = 4 << 20;
/// Largest number of files that are named because they cannot be read.
const MAX_PROBLEMS: usize = 50;

/// What a policy replied to a prompt, the newest step first.
#[derive(Debug, Default, PartialEq, Serialize)]
pub struct PromptHistory {
    /// Id of the example.
    pub example: String,
    /// The prompt.
    pub prompt: ShownText,
    /// The steps, from the one that was asked for backwards.
    pub steps: Vec<PromptStep>,
    /// Number of indexed steps with the prompt.
    pub with_prompt: usize,
    /// Number of steps with replies in files.
    pub of: usize,
    /// Number of those that the index leaves out, the oldest.
    pub left_out: usize,
    /// The next question asks for the steps up to this one; `None` if these are all.
    pub next: Option<u64>,
    /// Files that could not be read.
    pub problems: Vec<FileProblem>,
}

/// The replies to a prompt at a step.
#[derive(Debug, PartialEq, Serialize)]
pub struct PromptStep {
    /// The step.
    pub step: u64,
    /// Index of the group in the step.
    pub group: i64,
    /// Number of replies.
    pub replies: usize,
    /// Number of replies without a reward.
    pub unscored: usize,
    /// Number of replies that reached the length limit.
    pub cut_off: usize,
    /// Mean reward; `None` if no reply has one.
    pub mean: Option<f64>,
    /// Lowest reward.
    pub lowest: Option<f64>,
    /// Highest reward.
    pub highest: Option<f64>,
    /// Number of the reply that stands for the group: the first with a reward, else the first.
    pub sample: usize,
    /// Its text.
    pub completion: ShownText,
    /// Its reward.
    pub reward: Option<f64>,
}

/// The indexes of the runs that were asked about last, the latest at the end.
#[derive(Debug, Default)]
pub struct PromptIndexes(Mutex<Vec<RunIndex>>);

#[derive(Clone, Debug)]
struct RunIndex {
    run: String,
    index: Arc<Mutex<PromptIndex>>,
}

/// Which examples the steps of a run have.
#[derive(Debug, Default)]
struct PromptIndex {
    steps: BTreeMap<u64, IndexedStep>,
    entries: usize,
    /// Number of steps that do not fit.
    left_out: usize,
    problems: Vec<FileProblem>,
}

#[derive(Debug)]
struct IndexedStep {
    /// Size of the file in bytes: one of another size is read anew.
    bytes: u64,
    /// Hashes of the examples' ids.
    examples: Vec<u64>,
}

impl PromptIndexes {
    /// What a policy replied to an example at the steps up to `up_to`, at most `limit` of them.
    pub fn history(
        &self,
        run: &str,
        folder: &Path,
        example: &str,
        up_to: Option<u64>,
        limit: usize,
    ) -> Result<PromptHistory, NoAnswer> {
        let index = self.take(run);
        let mut index = index.lock().unwrap_or_else(PoisonError::into_inner);
        let of = index.refresh(folder);
        let known = index.with_example(example);
        let mut history = PromptHistory {
            example: example.to_owned(),
            with_prompt: known.len(),
            of,
            left_out: index.left_out,
            problems: index.problems.clone(),
            ..PromptHistory::default()
        };
        drop(index);
        let mut wanted = known.into_iter().rev().filter(|step| up_to.is_none_or(|up_to| *step <= up_to));
        for step in wanted.by_ref().take(limit) {
            let rows = read_step(folder, step, &COLUMNS)?;
            let rows: Vec<&ReplyRow> = rows.iter().filter(|row| row.text("example") == example).collect();
            history.steps.extend(prompt_step(step, &rows));
            if let Some(first) = rows.first().filter(|_| history.prompt.text.is_empty()) {
                history.prompt = ShownText::new(first.text("prompt"), PROMPT);
            }
        }
        history.next = wanted.next();
        if history.with_prompt == 0 {
            let message = format!("no step with replies in files has the example `{example}`");
            return Err(NoAnswer::not_found("no_example", message));
        }
        Ok(history)
    }

    /// The index of a run, moved to the end; an empty one if there is none.
    fn take(&self, run: &str) -> Arc<Mutex<PromptIndex>> {
        let mut indexes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = indexes.iter().position(|known| known.run == run).map(|place| indexes.remove(place));
        let known = known.unwrap_or_else(|| RunIndex { run: run.to_owned(), index: Arc::default() });
        let index = Arc::clone(&known.index);
        indexes.push(known);
        let surplus = indexes.len().saturating_sub(MAX_RUNS);
        indexes.drain(..surplus);
        index
    }
}

/// Number of characters of the prompt.
const PROMPT: usize = 20_000;

const COLUMNS: [&str; 6] = ["group", "example", "prompt", "completion", "reward", "finish"];

impl PromptIndex {
    /// Reads the examples of the files that are new, the newest first, and returns the number of steps with files.
    fn refresh(&mut self, folder: &Path) -> usize {
        let files = rollout_steps(folder);
        let is_there = |step: &u64, indexed: &IndexedStep| {
            files.binary_search_by_key(step, |file| file.step).is_ok_and(|at| files[at].bytes == indexed.bytes)
        };
        self.steps.retain(|step, indexed| is_there(step, indexed));
        self.entries = self.steps.values().map(|indexed| indexed.examples.len()).sum();
        self.left_out = 0;
        self.problems.clear();
        for file in files.iter().rev() {
            if self.steps.contains_key(&file.step) {
                continue;
            }
            if self.entries >= MAX_ENTRIES {
                self.left_out += 1;
                continue;
            }
            match read_step(folder, file.step, &["example"]) {
                Ok(rows) => {
                    let mut examples: Vec<u64> = rows.iter().map(|row| hash(row.text("example"))).collect();
                    examples.sort_unstable();
                    examples.dedup();
                    examples.shrink_to_fit();
                    self.entries += examples.len();
                    self.steps.insert(file.step, IndexedStep { bytes: file.bytes, examples });
                }
                Err(error) if self.problems.len() < MAX_PROBLEMS => {
                    self.problems.push(FileProblem::of_file(step_file(file.step), &error));
                }
                Err(_) => {}
            }
        }
        files.len()
    }

    /// The steps that have an example, rising.
    fn with_example(&self, example: &str) -> Vec<u64> {
        let wanted = hash(example);
        let has = |indexed: &IndexedStep| indexed.examples.binary_search(&wanted).is_ok();
        self.steps.iter().filter(|(_, indexed)| has(indexed)).map(|(step, _)| *step).collect()
    }
}

fn hash(example: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    example.hash(&mut hasher);
    hasher.finish()
}

/// The replies to a prompt at a step; `None` if there are none.
fn prompt_step(step: u64, rows: &[&ReplyRow]) -> Option<PromptStep> {
    let rewards: Vec<f64> = rows.iter().filter_map(|row| row.number("reward")).collect();
    let sample = rows.iter().find(|row| row.number("reward").is_some()).or(rows.first())?;
    Some(PromptStep {
        step,
        group: sample.group(),
        replies: rows.len(),
        unscored: rows.len() - rewards.len(),
        cut_off: rows.iter().filter(|row| row.text("finish") == "length").count(),
        mean: mean(&rewards),
        lowest: rewards.iter().copied().reduce(f64::min),
        highest: rewards.iter().copied().reduce(f64::max),
        sample: sample.row,
        completion: ShownText::new(sample.text("completion"), LISTED),
        reward: sample.number("reward"),
    })
}
