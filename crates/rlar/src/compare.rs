//! `rlar compare`: how the configs of two runs differ, and their metrics side by side.

use anyhow::Result;
use rlar_eval::table::render;
use rlar_report::{LAST_STEPS, MeasuredRun, accuracy_text, config_differences, figure_text, last_means};
use rlar_view::config_values::{ConfigValue, config_values};
use rlar_view::evaluations::{EvaluationsView, evaluations};

use crate::cli::CompareArguments;
use crate::error::{BadRequestExt, bad_request};
use crate::output::{print, print_note};

/// A figure of a run's final table.
struct MeasuredResult {
    name: String,
    value: String,
}

pub fn run(arguments: &CompareArguments) -> Result<()> {
    let runs = MeasuredRun::open_all(&[arguments.one.clone(), arguments.other.clone()]).bad_request()?;
    for run in &runs {
        for problem in &run.problems {
            print_note(format!("note: {}: {}: {}\n", run.given, problem.file, problem.message))?;
        }
    }
    let read = |run: &MeasuredRun| config_values(&run.folder).map_err(|error| bad_request(error.message));
    let configs = runs.iter().map(read).collect::<Result<Vec<Vec<ConfigValue>>>>()?;
    let differences = config_differences(&configs.iter().map(Vec::as_slice).collect::<Vec<_>>());
    let row = |name: String, values: Vec<Option<String>>| {
        let values = values.into_iter().map(|value| value.unwrap_or_else(|| "–".to_owned()));
        std::iter::once(name).chain(values).collect::<Vec<String>>()
    };
    let names = || runs.iter().map(|run| Some(run.given.clone())).collect::<Vec<_>>();
    let same = if differences.is_empty() { "The configs are the same.\n" } else { "" };
    let mut config_table = vec![row("config".to_owned(), names())];
    config_table.extend(differences.into_iter().map(|difference| row(difference.key, difference.values)));
    let mut metric_table = vec![row("metric".to_owned(), names())];
    let steps = runs.iter().map(|run| run.table.steps.len());
    metric_table.push(row("steps".to_owned(), steps.clone().map(|steps| Some(steps.to_string())).collect()));
    let last = steps.max().unwrap_or(0).min(LAST_STEPS);
    for mean in last_means(&runs.iter().collect::<Vec<_>>()) {
        let values = mean.means.iter().map(|value| value.map(|value| format!("{value:.4}"))).collect();
        metric_table.push(row(format!("{}, last {last} steps", mean.metric), values));
    }
    let measured = runs.iter().map(results).collect::<Result<Vec<_>>>()?;
    let mut known: Vec<&str> = Vec::new();
    for result in measured.iter().flatten() {
        if !known.contains(&result.name.as_str()) {
            known.push(&result.name);
        }
    }
    for name in known {
        let value = |results: &Vec<MeasuredResult>| {
            results.iter().find(|result| result.name == name).map(|result| result.value.clone())
        };
        metric_table.push(row(name.to_owned(), measured.iter().map(value).collect()));
    }
    print(format!("{}{same}\n{}", render(&config_table), render(&metric_table)))
}

/// What was measured over all kinds of tasks, and on suites, before and after training.
fn results(run: &MeasuredRun) -> Result<Vec<MeasuredResult>> {
    let EvaluationsView { heldout, suites, .. } =
        evaluations(&run.folder, Vec::new()).map_err(|error| bad_request(error.message))?;
    let mut results = Vec::new();
    for row in heldout.iter().filter(|row| row.kind == "all") {
        let name = |when: &str| format!("held-out accuracy, {}, {when}", row.decoding);
        let before = accuracy_text(&heldout, row, |row| row.before);
        results.push(MeasuredResult { name: name("before"), value: before });
        results.push(MeasuredResult { name: name("after"), value: accuracy_text(&heldout, row, |row| row.after) });
    }
    for row in &suites {
        for (when, figure) in [("before", row.before), ("after", row.after)] {
            let name = format!("{}, {}, {when}", row.suite, row.figure);
            results.push(MeasuredResult { name, value: figure_text(figure) });
        }
    }
    Ok(results)
}
