//! Hints: sentences that tell the user what to change in a config. They are given after the first steps of a run, while
//! little time is lost, and for the last steps in the final report.

use std::collections::BTreeMap;

use rlar_rewards::Failure;
use serde::Deserialize;
use serde_json::Value;

/// Number of steps after which the hints of a run are given.
pub const FIRST_STEPS: u64 = 3;
/// Number of last steps that the hints of the final report are about.
pub const LAST_STEPS: usize = 20;
/// Share of truncated replies above which there is a hint.
const CUT_OFF: f64 = 0.2;
/// Share of groups without spread (all replies have the same advantage) above which there is a hint.
const ZERO_SPREAD: f64 = 0.5;
/// Share of failed or late calls of a tool above which there is a hint.
const FAILURES: f64 = 0.05;
/// Builtin tools that measure how alike reply and reference are worded. Those for translations are left out, because
/// translations cannot be checked otherwise.
const SIMILARITY: [&str; 5] = ["edit_similarity", "rouge_1", "rouge_2", "rouge_l", "token_f1"];

/// The values of a line of `metrics.jsonl` from which hints are derived.
#[derive(Debug, Deserialize)]
struct StepFacts {
    accuracy: Option<f64>,
    zero_spread_groups: Option<f64>,
    #[serde(rename = "flat")]
    zero_spread: ZeroSpreadFacts,
    cut_off: Option<f64>,
    /// Number of optimizer steps; absent in records of runs that did not count them.
    optimizer_steps: Option<usize>,
    tools: BTreeMap<String, ToolFacts>,
}

#[derive(Debug, Deserialize)]
struct ZeroSpreadFacts {
    groups: usize,
    #[serde(rename = "alike")]
    identical: usize,
}

#[derive(Debug, Deserialize)]
struct ToolFacts {
    outcomes: OutcomeFacts,
}

#[derive(Debug, Deserialize)]
struct OutcomeFacts {
    #[serde(rename = "asked")]
    requested: usize,
    failed: usize,
    late: usize,
    last_failure: Option<Failure>,
}

/// Hints for the user: sentences that say what stands out in some consecutive steps, and what to change; empty if
/// nothing stands out. `records` are lines of `metrics.jsonl`, and `max_tokens` is the limit `sampling.max_tokens`.
pub fn hints(records: &[Value], max_tokens: usize) -> Vec<String> {
    let steps: Vec<StepFacts> = records.iter().filter_map(|record| StepFacts::deserialize(record).ok()).collect();
    let mut hints = Vec::new();
    if !steps.is_empty() && steps.iter().all(|step| step.optimizer_steps == Some(0)) {
        hints.push("no reply moved the policy: in these steps it is unchanged".to_owned());
    }
    hints.extend(truncation(&steps, max_tokens));
    hints.extend(zero_spread(&steps));
    let tools = tools(&steps);
    hints.extend(tools.iter().filter_map(|(name, calls)| calls.failures(name)));
    hints.extend(similarity(&tools));
    hints
}

/// The mean of a number over the steps that have it.
fn mean(values: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    let known: Vec<f64> = values.flatten().collect();
    (!known.is_empty()).then(|| known.iter().sum::<f64>() / known.len() as f64)
}

fn truncation(steps: &[StepFacts], max_tokens: usize) -> Option<String> {
    let share = mean(steps.iter().map(|step| step.cut_off)).filter(|share| *share > CUT_OFF)?;
    Some(format!(
        "{:.0} % of the replies were cut off at `sampling.max_tokens` ({max_tokens}) or the end of the model's context, so \
         that their answer may be missing: raise it, or ask for shorter replies",
        100.0 * share
    ))
}

fn zero_spread(steps: &[StepFacts]) -> Option<String> {
    let share = mean(steps.iter().map(|step| step.zero_spread_groups)).filter(|share| *share > ZERO_SPREAD)?;
    let last = steps.iter().rev().find(|step| step.zero_spread.groups > 0)?;
    let identical = last.zero_spread.identical * 2 > last.zero_spread.groups;
    let accuracy = mean(steps.iter().map(|step| step.accuracy));
    let advice = match accuracy {
        _ if identical => "the replies to a prompt are the same text: raise `sampling.temperature`",
        Some(accuracy) if accuracy < 0.05 => {
            "nearly no reply is right: start from a stronger model, imitate demonstrations first (`warmup`; \
             docs/reference/run.md, Hints, has a recipe), or use easier prompts; a larger `train.group_size` finds rare \
             right replies"
        }
        Some(accuracy) if accuracy > 0.95 => "nearly every reply is right: use harder prompts",
        Some(_) => {
            "raise `train.group_size` or `sampling.temperature`, or let `algorithm.dynamic_sampling` draw other prompts"
        }
        None => "no reply has a reward: see the tools' failures",
    };
    Some(format!(
        "nothing can be learned from {:.0} % of the groups, because all their replies have the same reward; {advice}",
        100.0 * share
    ))
}

/// How many scores were requested from a tool over some steps, and how many of them are missing because a call failed
/// or came too late.
#[derive(Default)]
struct Calls {
    requested: usize,
    missing: usize,
    last_failure: Option<String>,
}

impl Calls {
    fn add(&mut self, tool: &ToolFacts) {
        self.requested += tool.outcomes.requested;
        self.missing += tool.outcomes.failed + tool.outcomes.late;
        let last = tool.outcomes.last_failure.as_ref().map(ToString::to_string);
        self.last_failure = last.or(self.last_failure.take());
    }

    fn failures(&self, name: &str) -> Option<String> {
        let share = self.missing as f64 / self.requested.max(1) as f64;
        let last = self.last_failure.as_ref().map_or(String::new(), |last| format!("; the last time it {last}"));
        let percent = 100.0 * share;
        (share > FAILURES).then(|| format!("the tool `{name}` gave no score for {percent:.0} % of its replies{last}"))
    }
}

/// Counts of requested and missing scores over some steps, by the tool's name.
fn tools(steps: &[StepFacts]) -> BTreeMap<&str, Calls> {
    let mut calls: BTreeMap<&str, Calls> = BTreeMap::new();
    for (name, tool) in steps.iter().flat_map(|step| &step.tools) {
        calls.entry(name).or_default().add(tool);
    }
    calls
}

fn similarity(tools: &BTreeMap<&str, Calls>) -> Option<String> {
    let all: usize = tools.values().map(|calls| calls.requested).sum();
    let similar: Vec<&str> = tools.keys().copied().filter(|name| SIMILARITY.contains(name)).collect();
    let requested: usize = similar.iter().map(|name| tools[name].requested).sum();
    let names: Vec<String> = similar.iter().map(|name| format!("`{name}`")).collect();
    (requested > 0).then(|| {
        format!(
            "{:.0} % of the rewards come from {}. Such tools compare only the wording of reply and reference: a right \
             reply that is worded otherwise scores low. Where the answer can be checked, name it in \
             `data.columns.reference`, or name another tool in `rewards.assign`",
            100.0 * requested as f64 / all as f64,
            names.join(", ")
        )
    })
}
