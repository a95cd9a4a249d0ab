//! The results of runs as Markdown, for README files and model cards. Texts of a run are code, so that nothing in them is
//! taken for markup.

use std::fmt::Write;

use rlar_view::evaluations::{HeldOutRow, SuiteRow};
use rlar_view::measured_by::AccuracySource;

use crate::commands::{report_command, run_command};
use crate::comparison::{LAST_STEPS, config_differences, last_means};
use crate::figure::{PlotLook, panel_figure};
use crate::html::{accuracy_text, figure_text, state_text};
use crate::panels::Panel;
use crate::plot::svg_file;
use crate::report::measured;
use crate::run_summary::run_summary;
use crate::shown::{number_or_dash, percent, shown, shown_cut};
use crate::{MeasuredRun, ReportedRun};

/// The panels that are drawn beside the text.
const PLOTTED: [&str; 6] = ["reward", "accuracy", "heldout_accuracy", "loss", "kl", "reply_tokens"];
/// Largest number of rows of a table.
const MAX_ROWS: usize = 40;
/// Largest number of tools of an accuracy.
const MAX_TOOLS: usize = 8;
/// Number of characters of a cell, and of a config.
const MAX_CELL: usize = 200;
const MAX_CONFIG: usize = 30_000;

/// The results of runs as Markdown.
#[derive(Debug, PartialEq, Eq)]
pub struct MarkdownReport {
    /// The text.
    pub text: String,
    /// The plots that it shows.
    pub plots: Vec<PlotFile>,
}

/// A plot that lies beside a text.
#[derive(Debug, PartialEq, Eq)]
pub struct PlotFile {
    /// The file's name.
    pub name: String,
    /// The SVG.
    pub svg: String,
}

/// The results of runs. With `plots`, the beginning of the names of SVG files, the text shows their curves.
pub fn summary(runs: &[ReportedRun], plots: Option<&str>, look: PlotLook) -> MarkdownReport {
    let measured = measured(runs);
    let mut text = String::from("## Training results\n\n");
    text.push_str(&table(&["Run", "Method", "Steps", "State"], &runs.iter().map(run_row).collect::<Vec<_>>()));
    for run in runs {
        highlights(&mut text, run, runs.len() > 1);
        results(&mut text, run, runs.len() > 1);
    }
    last_steps(&mut text, runs);
    let plots = plots.map(|beginning| plot_files(&measured, beginning, look)).unwrap_or_default();
    for plot in &plots {
        push(&mut text, format_args!("\n![{}]({})\n", plot.title, address(&plot.file.name)));
    }
    differences(&mut text, runs);
    for run in runs {
        settings(&mut text, run, runs.len() > 1);
    }
    let again =
        runs.iter().map(|run| run_command("rlar train --config", &run.measured, "config.yaml", "--run NEW_FOLDER"));
    let commands = again.chain([report_command(&measured, "--html report.html")]).map(|command| shown(&command));
    let commands: Vec<String> = commands.collect();
    push(&mut text, format_args!("\nTrained and reported with rlar {}:\n\n", env!("CARGO_PKG_VERSION")));
    text.push_str(&block("sh", &commands.join("\n")));
    MarkdownReport { text, plots: plots.into_iter().map(|plot| plot.file).collect() }
}

fn run_row(run: &ReportedRun) -> Vec<String> {
    let summary = &run.measured.summary;
    let wanted = summary.steps.map_or_else(|| "–".to_owned(), |steps| steps.to_string());
    let state = summary.ended.as_ref().map_or_else(|| state_text(run), |why| format!("ended: {}", code(why)));
    vec![
        code(&run.measured.label),
        code(&summary.method),
        format!("{} of {wanted}", summary.last_step.unwrap_or(0)),
        state,
    ]
}

/// What the run reached and took, and its hints.
fn highlights(text: &mut String, run: &ReportedRun, several: bool) {
    text.push('\n');
    if several {
        push(text, format_args!("Of {}:\n\n", code(&run.measured.label)));
    }
    let lines = run_summary(run)
        .into_iter()
        .filter(|line| ["Mean reward", "Loss", "Time", "Cost", "Hint"].contains(&line.name));
    for line in lines {
        push(text, format_args!("- {}: {}\n", line.name, code(&line.text)));
    }
}

fn results(text: &mut String, run: &ReportedRun, several: bool) {
    let view = &run.evaluations;
    let name = if several { format!(" of {}", code(&run.measured.label)) } else { String::new() };
    if !view.heldout.is_empty() {
        let row = |row: &HeldOutRow| {
            let accuracy = |counts: fn(&HeldOutRow) -> _| accuracy_text(&view.heldout, row, counts);
            vec![code(&row.kind), row.decoding.to_owned(), accuracy(|row| row.before), accuracy(|row| row.after)]
        };
        push(text, format_args!("\nHeld-out accuracy{name}, with 95 % intervals (Wilson’s, by prompts):\n\n"));
        let rows: Vec<Vec<String>> = view.heldout.iter().take(MAX_ROWS).map(row).collect();
        text.push_str(&table(&["Kind of task", "Decoding", "Before", "After"], &rows));
        source(text, &format!("Held-out accuracy{name}"), run.measured_by.heldout.as_ref());
    }
    if !view.suites.is_empty() {
        let row =
            |row: &SuiteRow| vec![code(&row.suite), code(&row.figure), figure_text(row.before), figure_text(row.after)];
        push(text, format_args!("\nSuites{name}, with 95 % intervals:\n\n"));
        let rows: Vec<Vec<String>> = view.suites.iter().take(MAX_ROWS).map(row).collect();
        text.push_str(&table(&["Suite", "Figure", "Before", "After"], &rows));
    }
    if !view.preferred.is_empty() {
        let shares: Vec<String> = view.preferred.iter().take(2).map(|share| percent(*share)).collect();
        push(
            text,
            format_args!("\nHeld-out pairs{name} that are ranked right, before and after: {}.\n", shares.join(", ")),
        );
    }
}

/// What an accuracy is measured by, and what it cannot show; `what` is the accuracy, with the run's name where there are several.
fn source(text: &mut String, what: &str, source: Option<&AccuracySource>) {
    let Some(AccuracySource { tools, trained_on, .. }) = source else { return };
    let list = |tools: &[String]| tools.iter().take(MAX_TOOLS).map(|tool| code(tool)).collect::<Vec<_>>().join(", ");
    let trained = if trained_on.is_empty() {
        "on which the policy is not trained".to_owned()
    } else if trained_on.len() == tools.len() {
        "on which the policy is trained: it cannot show that the reward was hacked".to_owned()
    } else {
        format!("of which the policy is trained on {}: it cannot show that this reward was hacked", list(trained_on))
    };
    push(text, format_args!("\n{what} is measured by {}, {trained}.\n", list(tools)));
}

fn last_steps(text: &mut String, reported: &[ReportedRun]) {
    let runs = &measured(reported)[..];
    let means = last_means(runs);
    if means.is_empty() {
        return;
    }
    let labels: Vec<String> = runs.iter().map(|run| code(&run.label)).collect();
    let head: Vec<&str> = std::iter::once("Metric").chain(labels.iter().map(String::as_str)).collect();
    let row = |row: &crate::MetricMean| {
        let values = row.means.iter().map(|mean| number_or_dash(*mean));
        std::iter::once(code(row.metric)).chain(values).collect::<Vec<String>>()
    };
    push(text, format_args!("\nMeans over the last {LAST_STEPS} steps:\n\n"));
    text.push_str(&table(&head, &means.iter().map(row).collect::<Vec<_>>()));
    for run in reported {
        let name = if reported.len() > 1 { format!(" of {}", code(&run.measured.label)) } else { String::new() };
        source(text, &format!("Accuracy{name}"), run.measured_by.accuracy.as_ref());
    }
}

fn differences(text: &mut String, runs: &[ReportedRun]) {
    if runs.len() < 2 {
        return;
    }
    let configs: Vec<_> = runs.iter().map(|run| run.config.as_slice()).collect();
    let differences = config_differences(&configs);
    let labels: Vec<String> = runs.iter().map(|run| code(&run.measured.label)).collect();
    let head: Vec<&str> = std::iter::once("Config").chain(labels.iter().map(String::as_str)).collect();
    let row = |difference: &crate::ConfigDifference| {
        let values = difference.values.iter().map(|value| value.as_deref().map_or_else(|| "–".to_owned(), code));
        std::iter::once(code(&difference.key)).chain(values).collect::<Vec<String>>()
    };
    text.push('\n');
    text.push_str(&table(&head, &differences.iter().take(MAX_ROWS).map(row).collect::<Vec<_>>()));
}

fn settings(text: &mut String, run: &ReportedRun, several: bool) {
    text.push('\n');
    if several {
        push(text, format_args!("Of {}:\n\n", code(&run.measured.label)));
    }
    push(text, format_args!("- computed on: {}\n", code(&run.environment.in_short())));
    for fact in &run.environment.facts {
        push(text, format_args!("- {}: {}\n", fact.name, code(&fact.value)));
    }
    text.push_str("\n<details><summary>Config</summary>\n\n");
    text.push_str(&block("yaml", &shown_cut(&run.config_text, MAX_CONFIG)));
    text.push_str("\n</details>\n");
}

struct Plot {
    title: String,
    file: PlotFile,
}

fn plot_files(runs: &[&MeasuredRun], beginning: &str, look: PlotLook) -> Vec<Plot> {
    let figures = PLOTTED.iter().filter_map(|name| panel_figure(Panel::named(name)?, runs, look));
    let plot = |figure: crate::figure::Figure| Plot {
        title: figure.title.clone(),
        file: PlotFile { name: format!("{beginning}-{}.svg", figure.name), svg: svg_file(&figure) },
    };
    figures.map(plot).collect()
}

/// A table. The cells must not have a `|` or a line end.
fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let head: Vec<String> = head.iter().map(|&title| title.to_owned()).collect();
    let rule: Vec<String> = head.iter().map(|_| "---".to_owned()).collect();
    let rows: Vec<String> = rows.iter().map(|row| line(row)).collect();
    format!("{}{}{}", line(&head), line(&rule), rows.concat())
}

/// A text as code, in a table or elsewhere, whatever it contains; empty if the text is.
fn code(text: &str) -> String {
    let line = shown_cut(text, MAX_CELL).split_whitespace().collect::<Vec<_>>().join(" ");
    let is_plain = |c: char| c.is_alphanumeric() || " _-./,:;()=+%…–".contains(c);
    if line.is_empty() {
        String::new()
    } else if line.chars().all(is_plain) {
        format!("`{line}`")
    } else {
        // Character references are never taken for markup, and `|` would end a cell even within backticks.
        let character = |c: char| if is_plain(c) && c != '_' { c.to_string() } else { format!("&#{};", u32::from(c)) };
        format!("<code>{}</code>", line.chars().map(character).collect::<String>())
    }
}

/// A text as a block of code, which nothing in it can end.
fn block(language: &str, text: &str) -> String {
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest.max(2) + 1);
    format!("{fence}{language}\n{}\n{fence}\n", text.trim_end())
}

/// A file's name as an address in the same folder.
fn address(name: &str) -> String {
    let byte = |byte: &u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => char::from(*byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    name.as_bytes().iter().map(byte).collect()
}

/// Writing to a text does not fail.
fn push(text: &mut String, words: std::fmt::Arguments) {
    let _ = text.write_fmt(words);
}
