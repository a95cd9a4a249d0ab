//! What the processes of a run computed on: builds, systems and machines, and what changed from one to the next.

use std::io::ErrorKind;
use std::path::Path;

use serde::Serialize;
use serde_json::Value;

use crate::json_lines::{FileProblem, LinePosition, read_json_lines};
use crate::shown_text::clipped;

const ENVIRONMENT: &str = "environment.jsonl";
/// Largest number of processes, the first ones, and of characters of a fact.
const MAX_PROCESSES: usize = 200;
const MAX_CHARS: usize = 300;

/// What a run was computed on.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct RunProcesses {
    /// The processes that began and continued the run, in their order; empty for runs of earlier versions, which do not
    /// record them.
    pub processes: Vec<ProcessView>,
    /// What could not be read.
    pub problems: Vec<FileProblem>,
}

/// A process of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ProcessView {
    /// Number of steps done when it began.
    pub step: Option<u64>,
    /// What it computed on; what is not known is left out.
    pub facts: Vec<ProcessFact>,
    /// Names of the facts that are not those of the process before it.
    pub changed: Vec<&'static str>,
}

/// A fact about a process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ProcessFact {
    /// What it is about, such as `CPU`.
    pub name: &'static str,
    /// What the file says.
    pub value: String,
}

/// Reads what the processes of a run computed on; a run without the file has none, and one that cannot be read is named.
pub fn run_environment(run: &Path) -> RunProcesses {
    let mut found = RunProcesses::default();
    let path = run.join(ENVIRONMENT);
    let read = read_json_lines(&path, LinePosition::default(), |line, read| match read {
        Ok(value) if found.processes.len() < MAX_PROCESSES => found.processes.push(process(&value)),
        Ok(_) => {}
        Err(message) => {
            found.problems.push(FileProblem { file: ENVIRONMENT.to_owned(), line: Some(line), message });
            found.problems.truncate(MAX_PROCESSES);
        }
    });
    if let Err(error) = read
        && error.kind() != ErrorKind::NotFound
    {
        found.problems.push(FileProblem { file: ENVIRONMENT.to_owned(), line: None, message: error.to_string() });
    }
    for i in 1..found.processes.len() {
        found.processes[i].changed = changes(&found.processes[i - 1].facts, &found.processes[i].facts);
    }
    found
}

/// Names of the facts whose values differ, and of those that only one of two processes has.
fn changes(before: &[ProcessFact], after: &[ProcessFact]) -> Vec<&'static str> {
    let mut names: Vec<&'static str> =
        after.iter().filter(|fact| !before.contains(fact)).map(|fact| fact.name).collect();
    let is_gone = |fact: &&ProcessFact| after.iter().all(|other| other.name != fact.name);
    names.extend(before.iter().filter(is_gone).map(|fact| fact.name));
    names
}

fn process(value: &Value) -> ProcessView {
    let text = |key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
    let whole = |key: &str| value.get(key).and_then(Value::as_u64);
    let list = |key: &str| -> Option<String> {
        let names: Vec<&str> = value.get(key)?.as_array()?.iter().filter_map(Value::as_str).collect();
        (!names.is_empty()).then(|| names.join(", "))
    };
    let commit = text("commit").map(|commit| format!(", commit {commit}")).unwrap_or_default();
    let features = list("features").map(|features| format!(", with {features}")).unwrap_or_default();
    let memory = whole("memory").map(|bytes| format!("{:.1} GiB", bytes as f64 / f64::from(1 << 30)));
    let known = [
        ("rlar", text("version").map(|version| format!("{version}{commit}{features}"))),
        ("system", text("system")),
        ("kernel", text("kernel")),
        ("CPU", text("cpu")),
        ("cores", whole("cores").map(|cores| cores.to_string())),
        ("threads", whole("threads").map(|threads| threads.to_string())),
        ("instruction sets", list("instructions")),
        ("memory", memory),
        ("device", text("device")),
        ("GPUs", list("gpus")),
    ];
    let fact = |(name, value): (&'static str, Option<String>)| {
        value.map(|value| ProcessFact { name, value: clipped(value, MAX_CHARS) })
    };
    ProcessView { step: whole("step"), facts: known.into_iter().filter_map(fact).collect(), changed: Vec::new() }
}
