//! What was measured on held-out data and suites: before, during and after training.

use std::path::Path;

use serde::Serialize;
use serde_json::Value;

use crate::answer::NoAnswer;
use crate::bounded_file::read_json;
use crate::metric_table::StepEvaluation;

/// The evaluations of a run.
#[derive(Debug, Default, PartialEq, Serialize)]
pub struct EvaluationsView {
    /// Held-out accuracy by kind of task, before and after.
    pub heldout: Vec<HeldOutRow>,
    /// Figures of suites, before and after.
    pub suites: Vec<SuiteRow>,
    /// Share of held-out pairs that a reward model ranks right; empty for policies.
    pub preferred: Vec<f64>,
    /// Evaluations between steps.
    pub during: Vec<StepEvaluation>,
    /// Why the run ended; `None` while it has not.
    pub ended: Option<String>,
    /// Seconds of each phase over all processes of the run, as `report.json` has them; `null` while it has not ended.
    pub seconds: Value,
}

/// Held-out accuracy on one kind of task.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HeldOutRow {
    /// The kind; `all` is over every kind.
    pub kind: String,
    /// `sampled` or `greedy`.
    pub decoding: &'static str,
    /// Before training.
    pub before: Option<CountedReplies>,
    /// After training; `None` while the run has not ended.
    pub after: Option<CountedReplies>,
}

/// Counts of held-out replies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct CountedReplies {
    /// Number of replies.
    pub answers: u64,
    /// Number of right ones.
    pub right: u64,
    /// Number of those without a score, which count as wrong.
    pub unscored: u64,
}

/// A figure of a suite.
#[derive(Debug, PartialEq, Serialize)]
pub struct SuiteRow {
    /// The suite.
    pub suite: String,
    /// The figure's name.
    pub figure: String,
    /// Before training.
    pub before: Option<MeasuredFigure>,
    /// After training; `None` while the run has not ended.
    pub after: Option<MeasuredFigure>,
}

/// A value with its interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct MeasuredFigure {
    /// The value.
    pub value: f64,
    /// The lower end of its 95 % interval; `None` if it has none.
    pub low: Option<f64>,
    /// The upper end.
    pub high: Option<f64>,
}

/// Reads the evaluations of a run; `during` is what the records of its steps hold.
pub fn evaluations(run: &Path, during: Vec<StepEvaluation>) -> Result<EvaluationsView, NoAnswer> {
    let report = read_json(&run.join("report.json"))?.unwrap_or_default();
    let before_file = read_json(&run.join("before.json"))?.unwrap_or_default();
    let at = |index: usize| report.pointer(&format!("/measured/{index}"));
    let before = at(0).unwrap_or(&before_file);
    let after = at(1).unwrap_or(&Value::Null);
    let preferred = report.get("preferred").and_then(Value::as_array).into_iter().flatten();
    let mut preferred: Vec<f64> = preferred.filter_map(Value::as_f64).collect();
    if preferred.is_empty() {
        // Of a reward model, the file holds the share alone.
        preferred.extend(before_file.as_f64());
    }
    Ok(EvaluationsView {
        heldout: [heldout("sampled", before, after), heldout("greedy", before, after)].concat(),
        suites: suites(before, after),
        preferred,
        during,
        ended: report.get("ended").and_then(Value::as_str).map(str::to_owned),
        seconds: report.get("seconds").cloned().unwrap_or_default(),
    })
}

fn heldout(decoding: &'static str, before: &Value, after: &Value) -> Vec<HeldOutRow> {
    let (before, after) = (before.get(decoding), after.get(decoding));
    let counted = |kinds: Option<&Value>, kind: &str| {
        let counts = kinds?.get(kind)?;
        let count = |key: &str| counts.get(key).and_then(Value::as_u64);
        Some(CountedReplies { answers: count("answers")?, right: count("right")?, unscored: count("unscored")? })
    };
    let row =
        |kind: String| HeldOutRow { decoding, before: counted(before, &kind), after: counted(after, &kind), kind };
    keys(before, after).into_iter().map(row).collect()
}

fn suites(before: &Value, after: &Value) -> Vec<SuiteRow> {
    let (before, after) = (before.get("suites"), after.get("suites"));
    let figures = |suites: Option<&Value>, suite: &str| suites?.get(suite)?.get("figures").cloned();
    let mut rows = Vec::new();
    for suite in keys(before, after) {
        let (before, after) = (figures(before, &suite), figures(after, &suite));
        for figure in keys(before.as_ref(), after.as_ref()) {
            let value = |figures: Option<&Value>| measured(figures?.get(&figure)?);
            rows.push(SuiteRow {
                suite: suite.clone(),
                before: value(before.as_ref()),
                after: value(after.as_ref()),
                figure,
            });
        }
    }
    rows
}

/// A figure of a suite; `None` if it has no value.
pub fn measured(figure: &Value) -> Option<MeasuredFigure> {
    let end = |index: usize| figure.get("interval").and_then(|interval| interval.get(index)).and_then(Value::as_f64);
    Some(MeasuredFigure { value: figure.get("value")?.as_f64()?, low: end(0), high: end(1) })
}

/// The keys of two objects, those of the second after those of the first that it lacks.
fn keys(one: Option<&Value>, other: Option<&Value>) -> Vec<String> {
    let mut keys: Vec<String> = Vec::new();
    for key in [one, other].into_iter().flatten().filter_map(Value::as_object).flat_map(|object| object.keys()) {
        if !keys.contains(key) {
            keys.push(key.clone());
        }
    }
    keys
}
