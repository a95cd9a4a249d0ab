//! A run with the metrics of its steps.

use std::path::{Path, PathBuf};

use rlar_view::catalogue::{FoundRun, RunCatalogue};
use rlar_view::hints;
use rlar_view::json_lines::FileProblem;
use rlar_view::metric_table::{METRICS, MetricTable, StepMark};
use rlar_view::summary::{RunSummary, summary};

use crate::ReportError;

/// A run with the metrics of its steps. A run that is still being written has those that are there.
#[derive(Debug)]
pub struct MeasuredRun {
    /// Its folder.
    pub folder: PathBuf,
    /// The path under which it was asked for.
    pub given: String,
    /// What it is called in the report: the folder's name, or the path where several folders have the same name.
    pub label: String,
    /// Its method, and where it stands.
    pub summary: RunSummary,
    /// The numbers of its steps.
    pub table: MetricTable,
    /// Hints, drift alerts, tools that entered or were suspended, by step.
    pub marks: Vec<StepMark>,
    /// What could not be read.
    pub problems: Vec<FileProblem>,
}

impl MeasuredRun {
    /// Reads runs, each of which has a label of its own.
    pub fn open_all(folders: &[PathBuf]) -> Result<Vec<Self>, ReportError> {
        let mut runs: Vec<Self> = Vec::new();
        for folder in folders {
            let run = Self::open(folder)?;
            if runs.iter().any(|other| other.folder == run.folder) {
                return Err(ReportError::NamedTwice(run.given));
            }
            runs.push(run);
        }
        let labels: Vec<String> = runs.iter().map(|run| run.label.clone()).collect();
        for run in &mut runs {
            if labels.iter().filter(|label| **label == run.label).count() > 1 {
                run.label.clone_from(&run.given);
            }
        }
        Ok(runs)
    }

    /// Reads a run. What cannot be read of it is named in `problems`; it fails only where the folder is no run, or one
    /// of another version.
    pub fn open(path: &Path) -> Result<Self, ReportError> {
        let given = path.display().to_string();
        let catalogue = RunCatalogue::open(path).map_err(ReportError::NoRun)?;
        let runs = catalogue.runs();
        let Some(found) = runs.first() else {
            return Err(ReportError::NoRun(format!("{given} was deleted while it was read")));
        };
        if found.path != catalogue.root() {
            let folder = given.trim_end_matches('/').to_owned();
            return Err(ReportError::FolderOfRuns { folder, run: found.name.clone() });
        }
        let FoundRun { name, path: folder } = found.clone();
        let summary = summary(found);
        let mut table = MetricTable::default();
        let mut problems = Vec::new();
        let problem = |file: &str, message: String| FileProblem { file: file.to_owned(), line: None, message };
        if let Err(error) = table.refresh(&folder) {
            problems.push(problem(METRICS, error.to_string()));
        }
        problems.extend(table.problems.iter().cloned());
        problems.extend(summary.problem.iter().map(|what| problem("config.yaml", what.clone())));
        let marks = hints::marks(&folder, &table).unwrap_or_else(|error| {
            problems.push(FileProblem::of_file("report.json", &error));
            table.marks.clone()
        });
        Ok(Self { folder, given, label: name, summary, table, marks, problems })
    }
}
