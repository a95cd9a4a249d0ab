//! The numbers of `metrics.jsonl` in memory, column by column, kept up to date while the file grows.

use std::collections::BTreeMap;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use serde::Serialize;
use serde_json::Value;

use crate::bounded_file;
use crate::json_lines::{FileProblem, LinePosition, read_json_lines};

/// The file of the records of steps.
pub const METRICS: &str = "metrics.jsonl";

/// Largest number of columns, and of bytes of a column's name; further ones are left out, and this is said.
const MAX_COLUMNS: usize = 1024;
const MAX_NAME: usize = 512;
/// Largest number of values, 512 MiB; further steps are left out, and this is said.
const MAX_VALUES: usize = 64 << 20;
/// Largest size of all evaluations, in bytes of their JSON.
const MAX_EVALUATIONS: usize = 16 << 20;
/// Largest number of marks and of problems that are kept.
const MAX_MARKS: usize = 2000;
/// Largest number of characters of a mark.
const MAX_MARK_CHARS: usize = 500;
/// Number of bytes before the position that must be unchanged for the table to grow instead of being read anew.
const TAIL: u64 = 256;

/// The numbers of all steps of a run.
#[derive(Debug, Default)]
pub struct MetricTable {
    /// The steps, rising.
    pub steps: Vec<u64>,
    /// The values of each column, by the path of their keys joined with `/`, one per step; NaN where a step has none. A
    /// column may be shorter than `steps`, then the rest is unknown.
    pub columns: BTreeMap<String, Vec<f64>>,
    /// What happened at some steps, in their order.
    pub marks: Vec<StepMark>,
    /// The evaluations between steps, in their order.
    pub evaluations: Vec<StepEvaluation>,
    /// What could not be read.
    pub problems: Vec<FileProblem>,
    position: LinePosition,
    tail: Vec<u8>,
    suspended: Vec<String>,
    /// Number of values of all columns.
    values: usize,
    /// Size of all evaluations in bytes of their JSON.
    evaluation_bytes: usize,
    is_full: bool,
    /// Whether numbers of some step were left out.
    has_left_out: bool,
}

/// Something that happened at a step, for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StepMark {
    /// The step.
    pub step: u64,
    /// `news` (a drift alert, or a tool that entered), `suspended` (tools) or `hint`.
    pub kind: &'static str,
    /// What happened.
    pub text: String,
}

/// A key of a record whose texts are marks.
struct RecordMark {
    key: &'static str,
    kind: &'static str,
}

/// An evaluation after a step.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StepEvaluation {
    /// The step.
    pub step: u64,
    /// The record's `eval`, as `docs/reference/run.md` describes it.
    pub eval: Value,
}

impl MetricTable {
    /// Reads what was added to the file since the last time. A file that was cut or rewritten, as on a resume, is read
    /// anew. A run without the file has no steps yet.
    pub fn refresh(&mut self, run: &Path) -> io::Result<()> {
        let path = run.join(METRICS);
        match tail_before(&path, self.position.bytes) {
            Ok(tail) if tail == self.tail => {}
            Ok(_) => *self = Self::default(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                *self = Self::default();
                return Ok(());
            }
            Err(error) => return Err(error),
        }
        let from = self.position;
        let read = read_json_lines(&path, from, |line, read| match read {
            Ok(record) => self.add(line, &record),
            Err(message) => self.problem(line, message),
        });
        self.position = read.inspect_err(|_| *self = Self::default())?;
        if self.position != from {
            self.tail = tail_before(&path, self.position.bytes)?;
        }
        Ok(())
    }

    /// Number of values in memory.
    pub fn size(&self) -> usize {
        self.values + self.steps.len()
    }

    fn problem(&mut self, line: usize, message: String) {
        if self.problems.len() < MAX_MARKS {
            self.problems.push(FileProblem { file: METRICS.to_owned(), line: Some(line), message });
        }
    }

    fn add(&mut self, line: usize, record: &Value) {
        let Some(step) = record.get("step").and_then(Value::as_u64) else {
            return self.problem(line, "it has no `step`".to_owned());
        };
        if let Some(last) = self.steps.last().filter(|last| **last >= step) {
            return self.problem(line, format!("step {step} comes after step {last}"));
        }
        if self.values >= MAX_VALUES {
            if !self.is_full {
                self.problem(line, format!("the steps from {step} on are left out: there are {} numbers", self.values));
                self.is_full = true;
            }
            return;
        }
        self.steps.push(step);
        self.add_numbers(record, "", line);
        for mark in [RecordMark { key: "news", kind: "news" }, RecordMark { key: "hints", kind: "hint" }] {
            for text in record.get(mark.key).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
                self.mark(step, mark.kind, text);
            }
        }
        let names = record.get("suspended").and_then(Value::as_array).into_iter().flatten();
        let suspended: Vec<String> = names.filter_map(Value::as_str).map(str::to_owned).collect();
        if suspended != self.suspended {
            let text =
                if suspended.is_empty() { "no tool is suspended any more".to_owned() } else { suspended.join(", ") };
            self.mark(step, "suspended", &text);
            self.suspended = suspended;
        }
        if let Some(eval) = record.get("eval").filter(|eval| eval.is_object()) {
            self.evaluation_bytes += eval.to_string().len();
            if self.evaluation_bytes <= MAX_EVALUATIONS {
                self.evaluations.push(StepEvaluation { step, eval: eval.clone() });
            } else {
                self.problem(line, "its evaluation is left out: there are too many".to_owned());
            }
        }
    }

    fn mark(&mut self, step: u64, kind: &'static str, text: &str) {
        if self.marks.len() < MAX_MARKS {
            let text = text.chars().take(MAX_MARK_CHARS).collect();
            self.marks.push(StepMark { step, kind, text });
        }
    }

    /// Notes that numbers of a step are left out, once.
    fn leave_out(&mut self, line: usize) {
        if !self.has_left_out {
            let limits = format!("more than {MAX_COLUMNS} per step, or names of more than {MAX_NAME} bytes");
            self.problem(line, format!("some numbers are left out: {limits}"));
            self.has_left_out = true;
        }
    }

    /// Adds all numbers of a record to their columns.
    fn add_numbers(&mut self, value: &Value, path: &str, line: usize) {
        match value {
            Value::Number(number) if path != "step" => {
                let rows = self.steps.len();
                if !self.columns.contains_key(path) && (self.columns.len() >= MAX_COLUMNS || path.len() > MAX_NAME) {
                    return self.leave_out(line);
                }
                let column = self.columns.entry(path.to_owned()).or_default();
                self.values += rows - column.len();
                column.resize(rows - 1, f64::NAN);
                column.push(number.as_f64().unwrap_or(f64::NAN));
            }
            Value::Object(map) => {
                for (key, value) in map {
                    let below = if path.is_empty() { key.clone() } else { format!("{path}/{key}") };
                    self.add_numbers(value, &below, line);
                }
            }
            _ => {}
        }
    }
}

/// The last bytes of a file before a position; fewer if the file is shorter.
fn tail_before(path: &Path, position: u64) -> io::Result<Vec<u8>> {
    let mut file = bounded_file::open(path)?;
    let begin = position.saturating_sub(TAIL);
    file.seek(SeekFrom::Start(begin))?;
    let mut tail = Vec::new();
    file.take(position - begin).read_to_end(&mut tail)?;
    Ok(tail)
}
