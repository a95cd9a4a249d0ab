//! A run in a few lines: what it was, what it reached, what stands out, what it took.

use rlar_view::config_values::ConfigValue;
use rlar_view::evaluations::HeldOutRow;
use rlar_view::mean::mean;
use serde_json::Value;

use crate::ReportedRun;
use crate::comparison::LAST_STEPS;
use crate::html::{short_accuracy_text, state_text};
use crate::shown::{count, number, percent};

/// Largest number of tools and of hints that are named.
const MAX_TOOLS: usize = 6;
const MAX_HINTS: usize = 8;

/// The phases of a run in `report.json`, in the order in which they are shown, with their words.
const PHASES: [Phase; 7] = [
    Phase { key: "warmup", words: "warm-up" },
    Phase { key: "sampling", words: "sampling" },
    Phase { key: "scoring", words: "scoring after the last reply" },
    Phase { key: "training", words: "training" },
    Phase { key: "evaluation", words: "evaluation" },
    Phase { key: "keeping", words: "journal, records, checkpoints" },
    Phase { key: "outside", words: "loading and saving" },
];

struct Phase {
    key: &'static str,
    words: &'static str,
}

/// A line about a run.
#[derive(Debug, PartialEq, Eq)]
pub struct SummaryLine {
    /// What it is about.
    pub name: &'static str,
    /// What is said. It may hold texts of the run.
    pub text: String,
    /// The section of the page that says more.
    pub section: &'static str,
}

/// The lines about a run; what is not known is left out.
pub fn run_summary(run: &ReportedRun) -> Vec<SummaryLine> {
    let line = |name, section, text: Option<String>| text.map(|text| SummaryLine { name, text, section });
    let known = [
        line("What it was", "settings", Some(what(run))),
        line("Mean reward", "curves", change(run, "reward/mean")),
        line("Loss", "curves", change(run, "loss").filter(|_| change(run, "reward/mean").is_none())),
        line("Held-out accuracy, sampled", "results", heldout(run, "sampled")),
        line("Held-out accuracy, greedy", "results", heldout(run, "greedy")),
        line("Measured by", "rewards", run.measured_by.heldout.as_ref().map(|source| source.text.clone())),
        line("Held-out pairs ranked right", "results", preferred(run)),
        line("Tools", "rewards", tools(run)),
        line("Time", "curves", time(run)),
        line("Cost", "rewards", cost(run)),
        line("Computed on", "settings", Some(run.environment.in_short())),
    ];
    let hints: Vec<&str> =
        run.measured.marks.iter().filter(|mark| mark.kind == "hint").map(|mark| mark.text.as_str()).collect();
    let last = hints.iter().rev().take(MAX_HINTS).rev();
    let hints = last.map(|hint| SummaryLine { name: "Hint", text: (*hint).to_owned(), section: "marks" });
    known.into_iter().flatten().chain(hints).collect()
}

fn what(run: &ReportedRun) -> String {
    let summary = &run.measured.summary;
    let key =
        |key: &str| run.config.iter().find(|value| value.key == key).map(|ConfigValue { value, .. }| value.as_str());
    let method = if summary.method.is_empty() { "an unknown method" } else { summary.method.as_str() };
    let model = key("model.path").map_or_else(|| "a model with random weights".to_owned(), str::to_owned);
    let data = ["data.train", "data.demonstrations", "data.preferences"].into_iter().find_map(key);
    let data = data.map(|data| format!(" on {data}")).unwrap_or_default();
    let wanted = summary.steps.map(|steps| format!(" of {steps}")).unwrap_or_default();
    format!("{method} of {model}{data}; {}{wanted} steps, {}", summary.last_step.unwrap_or(0), state_text(run))
}

/// The means of a metric over the first and the last steps; `None` if it is missing in one of them, or of a single step.
fn change(run: &ReportedRun, metric: &str) -> Option<String> {
    let (table, values) = (&run.measured.table, run.measured.table.columns.get(metric)?);
    let steps = LAST_STEPS.min(table.steps.len() / 2);
    let known = |values: &[f64]| mean(&values.iter().copied().filter(|value| value.is_finite()).collect::<Vec<f64>>());
    // A column may be shorter than the steps, then the rest is unknown.
    let first = known(values.get(..steps.min(values.len()))?)?;
    let last = known(values.get(table.steps.len() - steps..)?)?;
    let span = if steps == 1 { "step".to_owned() } else { format!("{steps} steps") };
    Some(format!("{} in the first {span}, {} in the last", number(first), number(last)))
}

fn heldout(run: &ReportedRun, decoding: &str) -> Option<String> {
    let rows = &run.evaluations.heldout;
    let row: &HeldOutRow = rows.iter().find(|row| row.kind == "all" && row.decoding == decoding)?;
    let before = short_accuracy_text(rows, row, |row| row.before);
    Some(format!("{before} before training, {} after", short_accuracy_text(rows, row, |row| row.after)))
}

fn preferred(run: &ReportedRun) -> Option<String> {
    let shares: Vec<String> = run.evaluations.preferred.iter().take(2).map(|share| percent(*share)).collect();
    match &shares[..] {
        [] => None,
        [before] => Some(format!("{before} before training")),
        [before, after, ..] => Some(format!("{before} before training, {after} after")),
    }
}

fn tools(run: &ReportedRun) -> Option<String> {
    let choices = &run.choices;
    let tool = |tool: &rlar_view::assignments::NameCount| format!("{} ({})", tool.name, count(tool.count, "prompt"));
    let mut named: Vec<String> = choices.tools.iter().take(MAX_TOOLS).map(tool).collect();
    if choices.tools.len() > MAX_TOOLS {
        named.push(format!("{} more", choices.tools.len() - MAX_TOOLS));
    }
    (!named.is_empty()).then(|| named.join(", "))
}

/// How long the run took, with the share of each phase, over all its processes; `None` while it has not ended.
fn time(run: &ReportedRun) -> Option<String> {
    let seconds = |phase: &Phase| run.evaluations.seconds.get(phase.key).and_then(Value::as_f64).unwrap_or(0.0);
    let total: f64 = PHASES.iter().map(seconds).sum();
    let share = |phase: &Phase| format!("{} {}", phase.words, percent(seconds(phase) / total));
    let shares: Vec<String> = PHASES.iter().filter(|phase| seconds(phase) > 0.0).map(share).collect();
    (total > 0.0).then(|| format!("{}: {}", duration(total), shares.join(", ")))
}

/// A duration in the two largest units that it has.
fn duration(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match whole {
        0..60 => format!("{} s", number(seconds)),
        60..3600 => format!("{} min {} s", whole / 60, whole % 60),
        _ => format!("{} h {} min", whole / 3600, whole % 3600 / 60),
    }
}

/// The tokens that were drawn, and what the requests to a language model took; `None` if neither is known.
fn cost(run: &ReportedRun) -> Option<String> {
    let drawn =
        run.measured.table.columns.get("tokens_drawn").and_then(|values| values.iter().rfind(|v| v.is_finite()));
    let drawn = drawn.map(|tokens| format!("{tokens:.0} reply tokens drawn for training"));
    let requests: usize = run.exchanges.iter().map(|role| role.requests).sum();
    let tokens: u64 = run.exchanges.iter().map(|role| role.prompt_tokens.saturating_add(role.completion_tokens)).sum();
    let price = run.llm_cost.map(|cost| format!(", {} by the prices of the config", number(cost))).unwrap_or_default();
    let asked = (requests > 0)
        .then(|| format!("{} to the language model with {tokens} tokens{price}", count(requests, "request")));
    let parts: Vec<String> = [drawn, asked].into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join("; "))
}
