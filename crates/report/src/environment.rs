//! What a run ran on, as its files say.

use std::path::Path;

use rlar_view::bounded_file::read_json;
use rlar_view::config_values::read_config;
use rlar_view::json_lines::FileProblem;
use rlar_view::metric_table::MetricTable;
use rlar_view::run_environment::{ProcessView, RunProcesses, run_environment};
use serde_json::Value;

/// What a run ran on. Facts that its files do not have are left out.
#[derive(Debug, Default)]
pub struct RunEnvironment {
    /// The facts, in the order in which they are shown.
    pub facts: Vec<FactLine>,
    /// The processes that began and continued the run; empty where they are not recorded.
    pub processes: Vec<ProcessView>,
}

impl RunEnvironment {
    /// What the processes ran on in a line: the first one's machine, and what was another when the run was continued.
    pub fn in_short(&self) -> String {
        let Some(first) = self.processes.first() else { return "not recorded".to_owned() };
        let fact = |name: &str| first.facts.iter().find(|fact| fact.name == name).map(|fact| fact.value.clone());
        let cores = fact("cores").map(|cores| format!("{cores} cores"));
        let known = [
            fact("CPU"),
            cores,
            fact("memory"),
            fact("GPUs"),
            fact("system"),
            fact("rlar").map(|v| format!("rlar {v}")),
        ];
        let changed = self.processes.iter().filter(|process| !process.changed.is_empty()).map(|process| {
            let step = process.step.map_or_else(|| "an unknown step".to_owned(), |step| format!("step {step}"));
            format!("; from {step} on with another {}", process.changed.join(", "))
        });
        format!("{}{}", known.into_iter().flatten().collect::<Vec<_>>().join(", "), changed.collect::<String>())
    }
}

/// A fact with its name.
#[derive(Debug, PartialEq, Eq)]
pub struct FactLine {
    /// What it is about, such as `threads`.
    pub name: &'static str,
    /// What the run's files say.
    pub value: String,
}

/// Reads what is known: the config, the newest checkpoint, the records of steps, the hashes of the inputs.
pub fn environment(run: &Path, table: &MetricTable, problems: &mut Vec<FileProblem>) -> RunEnvironment {
    let mut json = |file: &str| {
        read_json(&run.join(file)).unwrap_or_else(|error| {
            problems.push(FileProblem::of_file(file, &error));
            None
        })
    };
    let state = newest_checkpoint(run).and_then(|name| json(&format!("checkpoints/{name}/state.json")));
    let inputs = json("inputs.json").unwrap_or_default();
    let config = read_config(run).unwrap_or_default();
    let state = state.unwrap_or_default();
    let text = |value: &Value, pointer: &str| match value.pointer(pointer) {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => Some(text.clone()),
        Some(other) => Some(other.to_string()),
    };
    let last = |column: &str| table.columns.get(column)?.iter().rev().find(|value| value.is_finite()).copied();
    let peak = last("memory/peak").map(|bytes| format!("{:.2} GiB", bytes / f64::from(1 << 30)));
    let drawn = last("tokens_drawn").map(|tokens| format!("{tokens:.0}"));
    let known = [
        ("version", text(&state, "/version").map(|version| format!("rlar {version}, as of the newest checkpoint"))),
        ("version of the run's format", text(&config, "/version")),
        ("device", text(&config, "/device")),
        ("precision", text(&config, "/precision")),
        ("threads", text(&state, "/threads")),
        ("peak memory", peak),
        ("reply tokens", drawn),
        ("model", text(&config, "/model/path")),
        ("hash of the model", text(&inputs, "/model")),
        ("hash of the training data", text(&inputs, "/train")),
        ("hash of the held-out data", text(&inputs, "/heldout")),
    ];
    let facts = known.into_iter().filter_map(|(name, value)| Some(FactLine { name, value: value? })).collect();
    let RunProcesses { processes, problems: unread } = run_environment(run);
    problems.extend(unread);
    RunEnvironment { facts, processes }
}

/// The name of the newest checkpoint; `None` if there is none.
fn newest_checkpoint(run: &Path) -> Option<String> {
    let entries = std::fs::read_dir(run.join("checkpoints")).ok()?;
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    names
        .filter(|name| name.starts_with("step-") && run.join("checkpoints").join(name).join("state.json").is_file())
        .max()
}
