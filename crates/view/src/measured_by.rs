//! Which tools the accuracies of a run are measured by, and whether the policy is trained on them: an accuracy by the reward's
//! own tools rises when the reward is hacked, too.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use serde::Serialize;
use serde_json::Value;

use crate::assignments::ASSIGNMENTS;
use crate::bounded_file;
use crate::config_values::read_config;
use crate::metric_table::MetricTable;

/// Number of bytes at the beginning of the assignments in which those of held-out prompts are looked for.
const MAX_BYTES: u64 = 16 << 20;
/// Largest number of tools that a sentence names.
const MAX_NAMED: usize = 6;

/// What the accuracies of a run are measured by.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct MeasuredBy {
    /// Of the accuracy of the replies that are trained on; `None` where no tool measured it.
    pub accuracy: Option<AccuracySource>,
    /// Of the held-out accuracy; `None` without held-out prompts.
    pub heldout: Option<AccuracySource>,
}

/// The tools behind an accuracy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AccuracySource {
    /// Their names.
    pub tools: Vec<String>,
    /// Those of them on which the policy was trained in the recorded steps.
    pub trained_on: Vec<String>,
    /// A sentence that says so, and what the accuracy cannot show.
    pub text: String,
}

/// What the keys of a config say of the tools.
struct ToolKeys {
    /// Tools that check replies and are not trained on (`rewards.audit.tools`).
    audit: Vec<String>,
    /// Tools that score every reply and do not count in accuracies (`rewards.always`).
    always: Vec<String>,
    /// Whether replies to prompts are scored in training: with the method `grpo`.
    is_rewarded: bool,
    /// Whether the run trains a reward model, whose accuracy is a share of pairs.
    is_reward_model: bool,
}

/// Which tools measure the accuracies of a run, by its config, its assignments and the records of its steps. What cannot be
/// read says nothing.
pub fn measured_by(run: &Path, table: &MetricTable) -> MeasuredBy {
    let keys = ToolKeys::of(&read_config(run).unwrap_or_default());
    if keys.is_reward_model {
        return MeasuredBy::default();
    }
    let trained = trained_tools(table);
    let counts = |tool: &String| !keys.always.contains(tool);
    let own: Vec<String> = trained.iter().filter(|tool| counts(tool)).cloned().collect();
    let assigned: Vec<String> = heldout_tools(run).into_iter().filter(counts).collect();
    let heldout = heldout_source(&keys, assigned, &trained, !table.steps.is_empty());
    MeasuredBy { accuracy: accuracy_source(own), heldout }
}

fn accuracy_source(tools: Vec<String>) -> Option<AccuracySource> {
    (!tools.is_empty()).then(|| {
        let text = format!(
            "Accuracy is measured by the reward’s own {}, on which the policy is trained: it cannot show that the reward \
             was hacked.",
            named(&tools)
        );
        AccuracySource { trained_on: tools.clone(), tools, text }
    })
}

/// The source of held-out accuracy: the audit tools, and where there are none the tools assigned to the prompts.
fn heldout_source(
    keys: &ToolKeys,
    assigned: Vec<String>,
    trained: &BTreeSet<String>,
    has_steps: bool,
) -> Option<AccuracySource> {
    if assigned.is_empty() {
        return None;
    }
    let is_audited = !keys.audit.is_empty();
    let tools = if is_audited { keys.audit.clone() } else { assigned };
    let trained_on: Vec<String> = tools.iter().filter(|tool| trained.contains(*tool)).cloned().collect();
    let by =
        format!("Held-out accuracy is measured by {}{}", if is_audited { "the audit " } else { "the " }, named(&tools));
    let elsewhere = if is_audited { "; where it abstains, by the tools of the prompt" } else { "" };
    let text = if trained_on.len() == tools.len() {
        format!("{by}, on which the policy is trained{elsewhere}: it cannot show that the reward was hacked.")
    } else if !trained_on.is_empty() {
        format!(
            "{by}{elsewhere}. The policy is trained on {}: the accuracy cannot show that this reward was hacked.",
            quoted(&trained_on)
        )
    } else if !is_audited && keys.is_rewarded && !has_steps {
        format!("{by}. If the policy is trained on the same tools, it cannot show that the reward was hacked.")
    } else {
        format!("{by}, on which the policy is not trained{elsewhere}.")
    };
    Some(AccuracySource { tools, trained_on, text })
}

impl ToolKeys {
    fn of(config: &Value) -> Self {
        let list = |pointer: &str| config.pointer(pointer).and_then(Value::as_array).into_iter().flatten();
        let method = config.pointer("/train/method").and_then(Value::as_str).unwrap_or("grpo");
        Self {
            audit: list("/rewards/audit/tools").filter_map(Value::as_str).map(str::to_owned).collect(),
            always: list("/rewards/always")
                .filter_map(|entry| entry.get("tool")?.as_str())
                .map(str::to_owned)
                .collect(),
            is_rewarded: method == "grpo",
            is_reward_model: method == "reward_model",
        }
    }
}

/// The tools whose scores are in the records of the steps.
fn trained_tools(table: &MetricTable) -> BTreeSet<String> {
    let ends = ["/score/mean", "/outcomes/asked"];
    let tool = |column: &String| {
        let rest = column.strip_prefix("tools/")?;
        ends.iter().find_map(|end| rest.strip_suffix(end)).map(str::to_owned)
    };
    table.columns.keys().filter_map(tool).collect()
}

/// The tools assigned to the held-out prompts, which come first in the file. In files of earlier versions, which do not tell
/// prompts apart, those of all prompts at its beginning.
fn heldout_tools(run: &Path) -> Vec<String> {
    let Ok(file) = bounded_file::open(&run.join(ASSIGNMENTS)) else { return Vec::new() };
    let mut tools = BTreeSet::new();
    let mut reader = BufReader::new(file.take(MAX_BYTES));
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
        let assignment: Value = serde_json::from_slice(&line).unwrap_or_default();
        if assignment.get("step").and_then(Value::as_u64).is_some_and(|step| step > 0) {
            break;
        }
        let members = assignment.get("tools").and_then(Value::as_array).into_iter().flatten();
        tools.extend(members.filter_map(|member| member.get("tool")?.as_str()).map(str::to_owned));
        line.clear();
    }
    tools.into_iter().collect()
}

/// Tools with their noun, such as ``tools `a` and `b` ``.
fn named(tools: &[String]) -> String {
    format!("{} {}", if tools.len() == 1 { "tool" } else { "tools" }, quoted(tools))
}

/// Names of tools, such as `` `a`, `b` and 3 more ``.
fn quoted(tools: &[String]) -> String {
    let mut words: Vec<String> = tools.iter().take(MAX_NAMED).map(|tool| format!("`{tool}`")).collect();
    if tools.len() > MAX_NAMED {
        words.push(format!("{} more", tools.len() - MAX_NAMED));
    }
    match words.split_last() {
        Some((last, before)) if !before.is_empty() => format!("{} and {last}", before.join(", ")),
        _ => words.concat(),
    }
}
