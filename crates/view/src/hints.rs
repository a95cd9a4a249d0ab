//! What stands out in a run, with its step: hints, drift alerts, tools that entered or were suspended.

use std::path::Path;

use serde_json::Value;

use crate::answer::NoAnswer;
use crate::bounded_file::read_json;
use crate::metric_table::{MetricTable, StepMark};

/// The marks of a run in the order of their steps: those of its records, and the hints of its report at its last step.
pub fn marks(run: &Path, table: &MetricTable) -> Result<Vec<StepMark>, NoAnswer> {
    let report = read_json(&run.join("report.json"))?.unwrap_or_default();
    let last = report.get("steps").and_then(Value::as_u64).or(table.steps.last().copied()).unwrap_or(0);
    let hints = report.get("hints").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    let hint = |text: &str| StepMark { step: last, kind: "hint", text: text.to_owned() };
    let mut marks: Vec<StepMark> = table.marks.iter().cloned().chain(hints.map(hint)).collect();
    marks.sort_by_key(|mark| mark.step);
    Ok(marks)
}
