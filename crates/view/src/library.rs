//! The tools of a run: their cards, admission reports, code and score distributions, and the pages about tools that were
//! replaced while the run went on.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;

use crate::bounded_file::{read_json, read_text};
use crate::json_lines::FileProblem;
use crate::shown_text::ShownText;

/// Number of characters of a tool's code, and of a page about a replacement.
const MAX_CHARS: usize = 50_000;
/// Largest number of tools, and of replacements.
const MAX_ENTRIES: usize = 1000;

/// The tools of a run.
#[derive(Debug, Default, PartialEq, Serialize)]
pub struct LibraryView {
    /// The tools, by name.
    pub tools: Vec<ToolView>,
    /// The pages about drift alerts and what was changed after them, by step.
    pub replacements: Vec<ReplacementPage>,
    /// What could not be read.
    pub problems: Vec<FileProblem>,
}

/// A tool of the run's library.
#[derive(Debug, PartialEq, Serialize)]
pub struct ToolView {
    /// The tool's name.
    pub name: String,
    /// The kind, such as `builtin` or `verifier`.
    pub kind: String,
    /// What the scores mean: `correctness`, `quality` or `constraint`.
    pub role: String,
    /// What the tool measures, in a sentence.
    pub measures: String,
    /// Where the tool comes from.
    pub origin: String,
    /// The labels of the tasks that it suits.
    pub tasks: Vec<String>,
    /// The lowest and the highest score; empty if the card does not say them.
    pub range: Vec<f64>,
    /// The tool's code or card; the card is shown where there is no code.
    pub source: SourceView,
    /// The report of the admission checks; `None` if there is none.
    pub admission: Option<AdmissionView>,
    /// The distributions of its scores by task, as `calibration.json` has them; `null` if there are none.
    pub calibration: Value,
}

/// A file of a tool.
#[derive(Debug, PartialEq, Serialize)]
pub struct SourceView {
    /// The file's name in the tool's folder.
    pub file: String,
    /// Its text.
    pub text: ShownText,
}

/// The report of a tool's admission checks.
#[derive(Debug, PartialEq, Serialize)]
pub struct AdmissionView {
    /// `admitted`, `provisional`, `refused` or `retired`.
    pub status: String,
    /// Number of examples of the checks.
    pub examples: Option<u64>,
    /// How often a good reply scores above a bad one, from 0 to 1.
    pub auc: Option<f64>,
    /// Why `auc` is not known; `None` if it is.
    pub auc_unknown: Option<String>,
    /// The checks.
    pub checks: Vec<CheckView>,
}

/// An admission check.
#[derive(Debug, PartialEq, Serialize)]
pub struct CheckView {
    /// What a good tool does.
    pub name: String,
    /// Whether the tool passed.
    pub passed: bool,
    /// What was observed.
    pub evidence: String,
}

/// A page about a drift alert.
#[derive(Debug, PartialEq, Serialize)]
pub struct ReplacementPage {
    /// The step of the alert; `None` if the file's name does not say it.
    pub step: Option<u64>,
    /// The file's name in `evolution/`.
    pub file: String,
    /// The page, Markdown.
    pub text: ShownText,
}

/// Reads the library of a run.
pub fn library(run: &Path) -> LibraryView {
    let mut view = LibraryView::default();
    for folder in entries(&run.join("library")) {
        let name = file_name(&folder);
        if !folder.join("tool.yaml").is_file() {
            continue;
        }
        match tool(&folder, &name, &mut view.problems) {
            Ok(tool) => view.tools.push(tool),
            Err(message) => view.problems.push(problem(&format!("library/{name}/tool.yaml"), message)),
        }
    }
    for path in entries(&run.join("evolution")) {
        let file = file_name(&path);
        match read_text(&path) {
            Ok(text) => {
                let step = file.strip_prefix("step-").and_then(|rest| rest.split('-').next()?.parse().ok());
                view.replacements.push(ReplacementPage { step, file, text: ShownText::new(&text, MAX_CHARS) });
            }
            Err(error) => view.problems.push(problem(&format!("evolution/{file}"), error.to_string())),
        }
    }
    view
}

/// Whether a tool of the run's library is a judge, that is, a language model with a rubric.
pub fn is_judge(run: &Path, name: &str) -> bool {
    // A name with a separator could lead out of the folder.
    let is_plain = !name.is_empty() && name != ".." && !name.contains(['/', '\\']);
    let card = || read_text(&run.join("library").join(name).join("tool.yaml")).ok();
    let card = is_plain.then(card).flatten().and_then(|text| serde_yaml::from_str::<Value>(&text).ok());
    card.is_some_and(|card| card.get("kind").and_then(Value::as_str) == Some("judge"))
}

fn tool(folder: &Path, name: &str, problems: &mut Vec<FileProblem>) -> Result<ToolView, String> {
    let card_text = read_text(&folder.join("tool.yaml")).map_err(|error| error.to_string())?;
    let card: Value = serde_yaml::from_str(&card_text).map_err(|error| error.to_string())?;
    let text = |key: &str| card.get(key).map(text_of).unwrap_or_default();
    let list = |key: &str| card.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
    let mut json = |file: &str| {
        read_json(&folder.join(file)).unwrap_or_else(|_| {
            problems.push(problem(&format!("library/{name}/{file}"), "it cannot be read as JSON".to_owned()));
            None
        })
    };
    let (admission, calibration) = (json("admission.json"), json("calibration.json").unwrap_or_default());
    // A name with a separator could lead out of the folder.
    let file = text("file");
    let code = (!file.is_empty() && !file.contains(['/', '\\'])).then(|| read_text(&folder.join(&file)).ok()).flatten();
    let source = match code {
        Some(code) => SourceView { file, text: ShownText::new(&code, MAX_CHARS) },
        None => SourceView { file: "tool.yaml".to_owned(), text: ShownText::new(&card_text, MAX_CHARS) },
    };
    Ok(ToolView {
        name: name.to_owned(),
        kind: text("kind"),
        role: text("role"),
        measures: text("measures"),
        origin: text("origin"),
        tasks: list("tasks").iter().map(text_of).collect(),
        range: list("range").iter().filter_map(Value::as_f64).collect(),
        source,
        admission: admission.as_ref().map(admission_view),
        calibration,
    })
}

fn admission_view(report: &Value) -> AdmissionView {
    let checks = report.get("probes").and_then(Value::as_array).into_iter().flatten();
    let check = |check: &Value| CheckView {
        name: check.get("name").map(text_of).unwrap_or_default(),
        passed: check.get("passed").and_then(Value::as_bool).unwrap_or(false),
        evidence: check.get("evidence").map(text_of).unwrap_or_default(),
    };
    let checks: Vec<CheckView> = checks.map(check).collect();
    let status = report.get("status").map(text_of).unwrap_or_default();
    let auc = report.get("auc").and_then(Value::as_f64);
    let auc_unknown = auc.is_none().then(|| why_no_auc(&status, &checks));
    AdmissionView { status, examples: report.get("examples").and_then(Value::as_u64), auc, auc_unknown, checks }
}

/// Why a report has no AUC.
fn why_no_auc(status: &str, checks: &[CheckView]) -> String {
    let ranking = checks.iter().find(|check| check.name == "ranks good replies above bad ones");
    match ranking.map(|check| check.evidence.split(';').next().unwrap_or_default()) {
        _ if status == "retired" => "the tool was taken out of use".to_owned(),
        // Reports of earlier versions have no key for it.
        Some(evidence) if evidence.starts_with("AUC ") => {
            format!("the report is of an earlier version; its check of the ranking says: {evidence}")
        }
        Some("") => "the check of the ranking does not say why".to_owned(),
        Some(evidence) => evidence.to_owned(),
        None if status == "refused" => "the tool was refused before its replies were ranked".to_owned(),
        None => "no example of the checks has good and bad replies".to_owned(),
    }
}

fn text_of(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn problem(file: &str, message: String) -> FileProblem {
    FileProblem { file: file.to_owned(), line: None, message }
}

fn file_name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// The entries of a folder by name; none if there is no folder.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).take(MAX_ENTRIES).collect();
    paths.sort();
    paths
}
