//! A report of one run or several.

use std::path::PathBuf;

use crate::figure::PlotLook;
use crate::panels::PANELS;
use crate::{MarkdownReport, MeasuredRun, ReportError, ReportedRun, figure, html, markdown};

/// A report of one run or several.
#[derive(Debug)]
pub struct Report {
    runs: Vec<ReportedRun>,
}

impl Report {
    /// Reads the runs in these folders. What cannot be read of them is named in the report; it fails where a folder is no
    /// run, one of another version, or named twice.
    pub fn read(folders: &[PathBuf]) -> Result<Self, ReportError> {
        Ok(Self { runs: ReportedRun::open_all(folders)? })
    }

    /// What could not be read, as lines for people.
    pub fn problems(&self) -> Vec<String> {
        let line = |problem: &rlar_view::json_lines::FileProblem| {
            let place = problem.line.map(|line| format!(", line {line}")).unwrap_or_default();
            format!("{}{place}: {}", problem.file, problem.message)
        };
        let of = |run: &ReportedRun| -> Vec<String> {
            run.problems.iter().map(|problem| format!("{}: {}", run.measured.given, line(problem))).collect()
        };
        self.runs.iter().flat_map(of).collect()
    }

    /// The report as a page that needs no other file, no script and no network, with its curves drawn as `look` says.
    pub fn html(&self, look: PlotLook) -> String {
        html::page(&self.runs, look).into_string()
    }

    /// The results as Markdown, for README files and model cards. With `plots`, the beginning of the names of SVG files
    /// that the text shows; they are drawn as `look` says.
    pub fn markdown(&self, plots: Option<&str>, look: PlotLook) -> MarkdownReport {
        markdown::summary(&self.runs, plots, look)
    }
}

/// The metrics of all runs.
pub fn measured(runs: &[ReportedRun]) -> Vec<&MeasuredRun> {
    runs.iter().map(|run| &run.measured).collect()
}

/// The figures of all panels that the runs have values for.
pub fn figures(runs: &[&MeasuredRun], look: PlotLook) -> Vec<figure::Figure> {
    PANELS.iter().filter_map(|panel| figure::panel_figure(panel, runs, look)).collect()
}
