//! `rlar compare`: how the configs of runs differ, and their metrics side by side; the first run is the baseline.

use anyhow::Result;
use rlar_eval::table::render;
use rlar_report::{LAST_STEPS, MeasuredRun, config_differences, figure_text, last_means, short_accuracy_text};
use rlar_run::wrap;
use rlar_view::config_values::{ConfigValue, config_values};
use rlar_view::evaluations::{EvaluationsView, evaluations};
use rlar_view::measured_by::measured_by;

use crate::cli::CompareArguments;
use crate::error::{BadRequestExt, bad_request};
use crate::output::{print, print_note};

/// Largest number of columns of a table. Runs that do not fit come in a further table, with the baseline again.
const WIDTH: usize = 100;
/// Number of characters of a value of a config from which on it stands below the table.
const LONG: usize = 30;

/// A line of a table: a key of the configs, a metric, or a figure of the final tables.
struct ComparedRow {
    name: String,
    /// The value of each run.
    values: Vec<String>,
}

/// A figure of a run's final table.
struct MeasuredResult {
    name: String,
    value: String,
}

pub fn run(arguments: &CompareArguments) -> Result<()> {
    let runs = MeasuredRun::open_all(&arguments.runs).bad_request()?;
    for run in &runs {
        for problem in &run.problems {
            print_note(format!("note: {}: {}: {}\n", run.given, problem.file, problem.message))?;
        }
    }
    let labels: Vec<String> = runs.iter().map(|run| run.label.clone()).collect();
    let (short, long): (Vec<_>, Vec<_>) = config_rows(&runs)?.into_iter().partition(ComparedRow::is_short);
    let configs = match (&short[..], &long[..]) {
        ([], []) => "The configs are the same.\n".to_owned(),
        ([], _) => lists(&labels, &long),
        (_, []) => tables("config", &labels, &short),
        _ => format!("{}\n{}", tables("config", &labels, &short), lists(&labels, &long)),
    };
    let mut metrics = metric_rows(&runs);
    metrics.extend(result_rows(&runs)?);
    print(format!("{}\n{configs}\n{}{}", legend(&runs), tables("metric", &labels, &metrics), sources(&runs)))
}

impl ComparedRow {
    fn is_short(&self) -> bool {
        self.values.iter().all(|value| value.chars().count() < LONG)
    }
}

/// The runs under the names that the tables give them.
fn legend(runs: &[MeasuredRun]) -> String {
    let line = |(i, run): (usize, &MeasuredRun)| {
        let folder = if run.label == run.given { String::new() } else { format!(": {}", run.given) };
        format!("{}{folder}{}\n", run.label, if i == 0 { ", the baseline" } else { "" })
    };
    runs.iter().enumerate().map(line).collect()
}

/// The keys whose values differ.
fn config_rows(runs: &[MeasuredRun]) -> Result<Vec<ComparedRow>> {
    let read = |run: &MeasuredRun| config_values(&run.folder).map_err(|error| bad_request(error.message));
    let configs = runs.iter().map(read).collect::<Result<Vec<Vec<ConfigValue>>>>()?;
    let differences = config_differences(&configs.iter().map(Vec::as_slice).collect::<Vec<_>>());
    let row = |difference: rlar_report::ConfigDifference| ComparedRow {
        name: difference.key,
        values: difference.values.into_iter().map(or_dash).collect(),
    };
    Ok(differences.into_iter().map(row).collect())
}

/// Means of the last steps, with their differences to the baseline.
fn metric_rows(runs: &[MeasuredRun]) -> Vec<ComparedRow> {
    let steps = runs.iter().map(|run| run.table.steps.len());
    let last = steps.clone().max().unwrap_or(0).min(LAST_STEPS);
    let mut rows =
        vec![ComparedRow { name: "steps".to_owned(), values: steps.map(|steps| steps.to_string()).collect() }];
    for mean in last_means(&runs.iter().collect::<Vec<_>>()) {
        let baseline = mean.means.first().copied().flatten();
        let value = |(i, value): (usize, &Option<f64>)| match (value, baseline) {
            (Some(value), Some(baseline)) if i > 0 => format!("{value:.4} ({:+.4})", value - baseline),
            (value, _) => or_dash(value.map(|value| format!("{value:.4}"))),
        };
        let values = mean.means.iter().enumerate().map(value).collect();
        rows.push(ComparedRow { name: format!("{}, last {last} steps", mean.metric), values });
    }
    rows
}

/// What was measured before and after training.
fn result_rows(runs: &[MeasuredRun]) -> Result<Vec<ComparedRow>> {
    let measured = runs.iter().map(results).collect::<Result<Vec<_>>>()?;
    let mut known: Vec<&str> = Vec::new();
    for result in measured.iter().flatten() {
        if !known.contains(&result.name.as_str()) {
            known.push(&result.name);
        }
    }
    let value = |results: &Vec<MeasuredResult>, name: &str| {
        or_dash(results.iter().find(|result| result.name == name).map(|result| result.value.clone()))
    };
    let row = |name: &str| ComparedRow {
        name: name.to_owned(),
        values: measured.iter().map(|results| value(results, name)).collect(),
    };
    Ok(known.into_iter().map(row).collect())
}

/// What was measured over all kinds of tasks, and on suites, before and after training.
fn results(run: &MeasuredRun) -> Result<Vec<MeasuredResult>> {
    let EvaluationsView { heldout, suites, .. } =
        evaluations(&run.folder, Vec::new()).map_err(|error| bad_request(error.message))?;
    let mut results = Vec::new();
    for row in heldout.iter().filter(|row| row.kind == "all") {
        let name = |when: &str| format!("held-out accuracy, {}, {when}", row.decoding);
        let before = short_accuracy_text(&heldout, row, |row| row.before);
        results.push(MeasuredResult { name: name("before"), value: before });
        results
            .push(MeasuredResult { name: name("after"), value: short_accuracy_text(&heldout, row, |row| row.after) });
    }
    for row in &suites {
        for (when, figure) in [("before", row.before), ("after", row.after)] {
            let name = format!("{}, {}, {when}", row.suite, row.figure);
            results.push(MeasuredResult { name, value: figure_text(figure) });
        }
    }
    Ok(results)
}

/// Rows as tables of at most [`WIDTH`] columns, each of which begins with the baseline.
fn tables(title: &str, labels: &[String], rows: &[ComparedRow]) -> String {
    let of_run = |i: usize| 2 + widest(rows.iter().map(|row| row.values[i].as_str()).chain([labels[i].as_str()]));
    let baseline = widest(rows.iter().map(|row| row.name.as_str()).chain([title])) + of_run(0);
    let mut blocks: Vec<Vec<usize>> = Vec::new();
    let mut used = WIDTH;
    for i in 1..labels.len() {
        if used + of_run(i) > WIDTH {
            blocks.push(vec![0]);
            used = baseline;
        }
        used += of_run(i);
        if let Some(block) = blocks.last_mut() {
            block.push(i);
        }
    }
    let table = |block: &Vec<usize>| {
        let line = |name: &str, values: &[String]| {
            std::iter::once(name.to_owned()).chain(block.iter().map(|i| values[*i].clone())).collect::<Vec<String>>()
        };
        let rows = rows.iter().map(|row| line(&row.name, &row.values));
        render(&std::iter::once(line(title, labels)).chain(rows).collect::<Vec<_>>())
    };
    blocks.iter().map(table).collect::<Vec<_>>().join("\n")
}

/// Number of characters of the longest of some texts.
fn widest<'t>(texts: impl Iterator<Item = &'t str>) -> usize {
    texts.map(|text| text.chars().count()).max().unwrap_or(0)
}

/// Rows with long values, a line per run.
fn lists(labels: &[String], rows: &[ComparedRow]) -> String {
    let row = |row: &ComparedRow| {
        let lines = labels.iter().zip(&row.values).map(|(label, value)| format!("  {label}: {value}\n"));
        format!("{}\n{}", row.name, lines.collect::<String>())
    };
    rows.iter().map(row).collect()
}

/// Which tools the accuracies are measured by; runs of which the same is said share a line.
fn sources(runs: &[MeasuredRun]) -> String {
    struct Source<'r> {
        runs: Vec<&'r str>,
        text: String,
    }
    let mut known: Vec<Source> = Vec::new();
    for run in runs {
        let by = measured_by(&run.folder, &run.table);
        for source in [by.accuracy, by.heldout].into_iter().flatten() {
            match known.iter_mut().find(|known| known.text == source.text) {
                Some(known) => known.runs.push(&run.label),
                None => known.push(Source { runs: vec![&run.label], text: source.text }),
            }
        }
    }
    let line = |source: &Source| format!("\n{}\n", wrap(&format!("{}: {}", source.runs.join(", "), source.text)));
    known.iter().map(line).collect()
}

fn or_dash(value: Option<String>) -> String {
    value.unwrap_or_else(|| "–".to_owned())
}
