//! Which tools score which prompts, who chose them and why: those of the held-out prompts and of the prompts that a run has
//! drawn.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;

use serde::Serialize;
use serde_json::Value;

use crate::answer::NoAnswer;
use crate::json_lines::{FileProblem, LinePosition, read_json_lines};
use crate::shown_text::ShownText;

/// The file of the assignments.
pub const ASSIGNMENTS: &str = "assignments.jsonl";
/// Number of characters of a reason.
const MAX_CHARS: usize = 2000;
/// Largest number of names that are counted.
const MAX_NAMES: usize = 1000;

/// A page of the assignments, with counts over all of them.
#[derive(Debug, Default, PartialEq, Serialize)]
pub struct AssignmentPage {
    /// Number of assignments.
    pub total: usize,
    /// Number of those that have the text that was searched for.
    pub matching: usize,
    /// How many prompts each chooser assigned tools to.
    pub choosers: Vec<NameCount>,
    /// How many prompts each tool scores.
    pub tools: Vec<NameCount>,
    /// The page.
    pub rows: Vec<AssignmentRow>,
    /// What could not be read.
    pub problems: Vec<FileProblem>,
}

/// How often something with a name occurs.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct NameCount {
    /// The name.
    pub name: String,
    /// How often.
    pub count: usize,
}

/// The tools of one prompt.
#[derive(Debug, PartialEq, Serialize)]
pub struct AssignmentRow {
    /// The example's id.
    pub example: String,
    /// The tools, empty if none fits.
    pub tools: Vec<AssignedTool>,
    /// Who chose them: `builtin`, `config`, `nobody`, or a language model's name.
    pub by: String,
    /// Why.
    pub why: ShownText,
}

/// A tool of a prompt.
#[derive(Debug, PartialEq, Serialize)]
pub struct AssignedTool {
    /// The tool's name.
    pub tool: String,
    /// The factor of its score.
    pub weight: Option<f64>,
    /// `term`, `gate` or `veto`.
    pub combine: String,
}

/// The rows from `offset` on of the assignments with a text in them, at most `limit`.
pub fn assignments(run: &Path, search: &str, offset: usize, limit: usize) -> Result<AssignmentPage, NoAnswer> {
    let mut page = AssignmentPage::default();
    let (mut choosers, mut tools) = (BTreeMap::new(), BTreeMap::new());
    let search = search.to_lowercase();
    let path = run.join(ASSIGNMENTS);
    let read = read_json_lines(&path, LinePosition::default(), |line, read| {
        let row = match read.map(|value| row(&value)) {
            Ok(row) => row,
            Err(message) => {
                page.problems.push(FileProblem { file: ASSIGNMENTS.to_owned(), line: Some(line), message });
                page.problems.truncate(MAX_NAMES);
                return;
            }
        };
        page.total += 1;
        count(&mut choosers, &row.by);
        row.tools.iter().for_each(|tool| count(&mut tools, &tool.tool));
        let has = |text: &str| text.to_lowercase().contains(&search);
        let matches = search.is_empty() || has(&row.example) || has(&row.by) || has(&row.why.text);
        if matches || row.tools.iter().any(|tool| has(&tool.tool)) {
            if page.matching >= offset && page.rows.len() < limit {
                page.rows.push(row);
            }
            page.matching += 1;
        }
    });
    match read {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(NoAnswer::of_file(&path, &error)),
        _ => {}
    }
    (page.choosers, page.tools) = (counts(choosers), counts(tools));
    Ok(page)
}

fn row(value: &Value) -> AssignmentRow {
    let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let tool = |tool: &Value| AssignedTool {
        tool: text(tool, "tool"),
        weight: tool.get("weight").and_then(Value::as_f64),
        combine: Some(text(tool, "as")).filter(|part| !part.is_empty()).unwrap_or_else(|| "term".to_owned()),
    };
    AssignmentRow {
        example: text(value, "example"),
        tools: value.get("tools").and_then(Value::as_array).into_iter().flatten().map(tool).collect(),
        by: text(value, "by"),
        why: ShownText::new(&text(value, "why"), MAX_CHARS),
    }
}

fn count(counts: &mut BTreeMap<String, usize>, name: &str) {
    if let Some(count) = counts.get_mut(name) {
        *count += 1;
    } else if counts.len() < MAX_NAMES {
        counts.insert(name.to_owned(), 1);
    }
}

/// Counts, the largest first.
fn counts(counts: BTreeMap<String, usize>) -> Vec<NameCount> {
    let mut counts: Vec<NameCount> = counts.into_iter().map(|(name, count)| NameCount { name, count }).collect();
    counts.sort_by_key(|entry| std::cmp::Reverse(entry.count));
    counts
}
