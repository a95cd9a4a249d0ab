//! The distributions of the tools' scores over a range of steps, counted from the replies in files.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;

use crate::json_lines::FileProblem;
use crate::mean::mean;
use crate::rollouts::{ReplyRow, RolloutStep, read_step, rollout_steps, step_file};

/// Largest number of files that are read; of a longer range, as many in equal distances.
const MAX_STEPS: usize = 20;
/// Number of bars of a distribution.
const BARS: usize = 20;
/// Largest number of tools.
const MAX_TOOLS: usize = 100;

/// The distributions of the scores of all tools.
#[derive(Debug, Default, PartialEq, Serialize)]
pub struct ScoreDistributions {
    /// The steps whose replies are counted, rising.
    pub steps: Vec<u64>,
    /// Number of steps of the range that have replies in files.
    pub in_range: usize,
    /// The tools, by name.
    pub tools: Vec<ToolDistribution>,
    /// Files that could not be read.
    pub problems: Vec<FileProblem>,
}

/// The distribution of a tool's scores.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ToolDistribution {
    /// The tool's name.
    pub tool: String,
    /// Number of scores.
    pub scored: usize,
    /// Number of replies on which it abstained.
    pub abstained: usize,
    /// Number of replies on which it failed, or said something unknown.
    pub failed: usize,
    /// Mean score; `None` without scores.
    pub mean: Option<f64>,
    /// Numbers of scores, from the lowest to the highest.
    pub bars: Vec<ScoreBar>,
}

/// How many scores lie in a part of a range.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ScoreBar {
    /// The lowest score that counts here.
    pub least: f64,
    /// The highest score that counts here.
    pub most: f64,
    /// Number of scores.
    pub count: usize,
}

/// What a tool said of all replies that are counted.
#[derive(Debug, Default)]
struct ToolOutcomes {
    scores: Vec<f64>,
    abstained: usize,
    failed: usize,
}

/// The distributions over the recorded steps from `from` to `to`.
pub fn score_distributions(run: &Path, from: u64, to: u64) -> ScoreDistributions {
    let known: Vec<RolloutStep> =
        rollout_steps(run).into_iter().filter(|step| (from..=to).contains(&step.step)).collect();
    let mut view = ScoreDistributions { in_range: known.len(), ..ScoreDistributions::default() };
    let mut tools: BTreeMap<String, ToolOutcomes> = BTreeMap::new();
    for step in evenly(&known, MAX_STEPS) {
        let rows = match read_step(run, step.step, &["verdicts"]) {
            Ok(rows) => rows,
            Err(error) => {
                view.problems.push(FileProblem::of_file(step_file(step.step), &error));
                continue;
            }
        };
        view.steps.push(step.step);
        for verdict in rows.iter().filter_map(ReplyRow::verdicts).flatten() {
            if tools.len() >= MAX_TOOLS && !tools.contains_key(&verdict.tool) {
                continue;
            }
            let outcomes = tools.entry(verdict.tool).or_default();
            match (verdict.outcome, verdict.score.filter(|score| score.is_finite())) {
                ("scored", Some(score)) => outcomes.scores.push(score),
                ("abstained", _) => outcomes.abstained += 1,
                _ => outcomes.failed += 1,
            }
        }
    }
    view.tools = tools.into_iter().map(|(tool, outcomes)| outcomes.distribution(tool)).collect();
    view
}

impl ToolOutcomes {
    fn distribution(self, tool: String) -> ToolDistribution {
        let Self { scores, abstained, failed } = self;
        ToolDistribution { tool, scored: scores.len(), abstained, failed, mean: mean(&scores), bars: bars(scores) }
    }
}

/// At most `most` elements of a list in equal distances, the first and the last among them.
fn evenly<T>(list: &[T], most: usize) -> impl Iterator<Item = &T> {
    let taken = list.len().min(most);
    (0..taken).filter_map(move |i| list.get(if taken < 2 { i } else { i * (list.len() - 1) / (taken - 1) }))
}

/// A bar for every score where there are few different ones, else bars of equal width.
fn bars(mut scores: Vec<f64>) -> Vec<ScoreBar> {
    scores.sort_by(f64::total_cmp);
    let mut alike: Vec<ScoreBar> = Vec::new();
    for score in &scores {
        // They rise, so one that is not above the last bar is equal to it.
        match alike.last_mut().filter(|bar| *score <= bar.most) {
            Some(bar) => bar.count += 1,
            None => alike.push(ScoreBar { least: *score, most: *score, count: 1 }),
        }
    }
    if alike.len() <= BARS {
        return alike;
    }
    let (low, high) = (scores[0], scores[scores.len() - 1]);
    let width = (high - low) / BARS as f64;
    let mut bars: Vec<ScoreBar> = Vec::new();
    let mut left = &scores[..];
    for i in 0..BARS {
        let end = if i + 1 == BARS { high } else { low + width * (i + 1) as f64 };
        // The last bar has the highest score; of the others, a score on a border belongs to the bar above it.
        let count = if i + 1 == BARS { left.len() } else { left.partition_point(|score| *score < end) };
        let (inside, rest) = left.split_at(count);
        let least = low + width * i as f64;
        let most = inside.last().copied().unwrap_or(least);
        bars.push(ScoreBar { least: inside.first().copied().unwrap_or(least), most, count });
        left = rest;
    }
    bars
}
