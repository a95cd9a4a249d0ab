//! What the runs are, what they reached, and how they went.

use maud::{Markup, html};
use rlar_view::evaluations::{CountedReplies, HeldOutRow, MeasuredFigure, SuiteRow};
use rlar_view::summary::RunState;

use super::parts::{cell, command, for_each_run, numbers, sources, table, words};
use super::samples::links;
use crate::commands::{paths, plot_command, run_command, suite_commands};
use crate::comparison::{LAST_STEPS, last_means};
use crate::figure::{MAX_MARKED_STEPS, marked_steps};
use crate::interval::{ShareInterval, share_interval};
use crate::plot::svg_inline;
use crate::report::{figures, measured};
use crate::shown::{count, number, number_or_dash, percent, shown_cut};
use crate::{MeasuredRun, PlotLook, ReportedRun};

/// Largest number of rows of a table of results.
const MAX_ROWS: usize = 60;
/// Figures that are not about the replies of training.
const NOT_OF_REPLIES: [&str; 4] = ["heldout_accuracy", "tokens_per_second", "seconds", "learning_rate"];
/// Largest number of marks that are listed.
const MAX_MARKS: usize = 60;

/// What each run is, and how far it is.
pub fn runs(runs: &[ReportedRun]) -> Markup {
    let row = |run: &ReportedRun| {
        let summary = &run.measured.summary;
        let known = |value: Option<u64>| value.map_or_else(|| "–".to_owned(), |value| value.to_string());
        vec![
            cell(shown_cut(&run.measured.label, 120)),
            cell(shown_cut(&summary.method, 40)),
            cell(known(summary.seed)),
            cell(format!("{} of {}", summary.last_step.unwrap_or(0), known(summary.steps))),
            cell(state_text(run)),
        ]
    };
    let headings = [words("Run"), words("Method"), numbers("Seed"), numbers("Steps"), words("State")];
    let again = |run: &ReportedRun| {
        let config = run_command("rlar train --config", &run.measured, "config.yaml", "--run NEW_FOLDER");
        html! { (command(&config)) }
    };
    html! {
        (table("The runs", &headings, &runs.iter().map(row).collect::<Vec<_>>()))
        p { "Trained again, from the folder in which the run was started:" }
        @for run in runs { (again(run)) }
    }
}

/// Where a run stands, in words.
pub fn state_text(run: &ReportedRun) -> String {
    let summary = &run.measured.summary;
    match (&summary.ended, summary.state) {
        (Some(why), _) => format!("ended: {}", shown_cut(why, 200)),
        (None, RunState::Ended) => "ended".to_owned(),
        (None, RunState::Active) => "still being written when this report was made".to_owned(),
        (None, RunState::Still) => "not ended; stopped, or waiting".to_owned(),
    }
}

/// What was measured on held-out data and suites, with intervals.
pub fn results(runs: &[ReportedRun]) -> Markup {
    html! {
        (for_each_run(runs, |run| {
            let view = &run.evaluations;
            let is_empty = view.heldout.is_empty() && view.suites.is_empty() && view.preferred.is_empty();
            html! {
                @if is_empty {
                    p { "Nothing was measured: the config has no held-out data and no suites, or the run has not come so far." }
                }
                @if !view.heldout.is_empty() {
                    (heldout(run))
                    (sources(std::slice::from_ref(run), |by| by.heldout.as_ref()))
                }
                @if !view.suites.is_empty() { (suites(run)) }
                @if !view.preferred.is_empty() {
                    p { "Held-out pairs that are ranked right, before and after: "
                        (view.preferred.iter().take(2).map(|share| percent(*share)).collect::<Vec<_>>().join(", ")) "." }
                }
            }
        }))
        p class="muted" {
            "Intervals are those of 95 %. For held-out accuracy it is Wilson’s, with the number of prompts as the number of \
             trials, because replies to the same prompt are not independent; replies without a score count as wrong. For \
             suites it is the bootstrap interval that the run recorded."
        }
    }
}

fn heldout(run: &ReportedRun) -> Markup {
    let rows = &run.evaluations.heldout;
    let row = |row: &HeldOutRow| {
        vec![
            cell(shown_cut(&row.kind, 80)),
            cell(row.decoding),
            cell(accuracy_text(rows, row, |row| row.before)),
            cell(accuracy_text(rows, row, |row| row.after)),
        ]
    };
    let headings = [words("Kind of task"), words("Decoding"), numbers("Before"), numbers("After")];
    let config = run_command("rlar eval --config", &run.measured, "config.yaml", "");
    html! {
        (table("Held-out accuracy", &headings, &rows.iter().take(MAX_ROWS).map(row).collect::<Vec<_>>()))
        (command(&run_command(&format!("{config} --model"), &run.measured, "final", "")))
    }
}

/// The accuracy of a row, before or after training, with its interval and its counts. `rows` are those of the run, among
/// which are the greedy replies, one for each prompt.
pub fn accuracy_text(
    rows: &[HeldOutRow],
    row: &HeldOutRow,
    counts: impl Fn(&HeldOutRow) -> Option<CountedReplies>,
) -> String {
    let Some(CountedAccuracy { interval, counted }) = counted_accuracy(rows, row, counts) else {
        return "–".to_owned();
    };
    let unscored =
        if counted.unscored == 0 { String::new() } else { format!(", {} without a score", counted.unscored) };
    format!("{interval}; {} of {}{unscored})", counted.right, counted.answers)
}

/// The same without the counts, for tables with many columns; replies without a score are still said.
pub fn short_accuracy_text(
    rows: &[HeldOutRow],
    row: &HeldOutRow,
    counts: impl Fn(&HeldOutRow) -> Option<CountedReplies>,
) -> String {
    let Some(CountedAccuracy { interval, counted }) = counted_accuracy(rows, row, counts) else {
        return "–".to_owned();
    };
    let unscored = if counted.unscored == 0 { String::new() } else { format!("; {} unscored", counted.unscored) };
    format!("{interval}{unscored})")
}

/// An accuracy of held-out replies.
struct CountedAccuracy {
    /// The share with its interval, without the closing bracket.
    interval: String,
    counted: CountedReplies,
}

/// The accuracy of a row; `None` without replies.
fn counted_accuracy(
    rows: &[HeldOutRow],
    row: &HeldOutRow,
    counts: impl Fn(&HeldOutRow) -> Option<CountedReplies>,
) -> Option<CountedAccuracy> {
    let greedy = rows.iter().find(|other| other.decoding == "greedy" && other.kind == row.kind);
    let counted = counts(row)?;
    let prompts = greedy.and_then(&counts).map_or(counted.answers, |greedy| greedy.answers.min(counted.answers));
    let ShareInterval { share, low, high } = share_interval(counted.right, counted.answers, prompts)?;
    let interval = format!("{} ({} to {}", percent(share), rlar_run::percent(low), rlar_run::percent(high));
    Some(CountedAccuracy { interval, counted })
}

/// The figure of a suite with its interval, if it has one.
pub fn figure_text(figure: Option<MeasuredFigure>) -> String {
    let Some(figure) = figure else { return "–".to_owned() };
    match figure.low.zip(figure.high) {
        Some((low, high)) => format!("{} ({} to {})", number(figure.value), number(low), number(high)),
        None => number(figure.value),
    }
}

fn suites(run: &ReportedRun) -> Markup {
    let row = |row: &SuiteRow| {
        vec![
            cell(shown_cut(&row.suite, 80)),
            cell(shown_cut(&row.figure, 80)),
            cell(figure_text(row.before)),
            cell(figure_text(row.after)),
        ]
    };
    let headings = [words("Suite"), words("Figure"), numbers("Before"), numbers("After")];
    let rows: Vec<_> = run.evaluations.suites.iter().take(MAX_ROWS).map(row).collect();
    html! {
        (table("Suites", &headings, &rows))
        @for text in suite_commands(&run.config, &run.measured) { (command(&text)) }
    }
}

/// The curves of all panels.
pub fn curves(reported: &[ReportedRun], look: PlotLook) -> Markup {
    let runs = measured(reported);
    let figures = figures(&runs, look);
    if figures.is_empty() {
        return html! { p { "No step is recorded yet. The curves begin with the first step." } };
    }
    html! {
        p class="muted" {
            "Of more than 300 steps, neighbouring ones share a point with their mean; the area around a single curve goes \
             from their lowest to their highest value."
            @if look.smoothing > 0.0 { " Thin lines are the values themselves, thick ones their moving average." }
            @if figures.iter().any(|figure| !figure.marks.is_empty()) {
                " Dotted lines are steps at which something stands out, with their numbers in the list below the curves."
            }
        }
        div class="figures" {
            @for figure in &figures {
                figure {
                    figcaption { (figure.title) }
                    (svg_inline(figure))
                    @if figure.name == "accuracy" || figure.name == "domain_accuracy" {
                        (sources(reported, |by| by.accuracy.as_ref()))
                    }
                    @if !NOT_OF_REPLIES.contains(&figure.name.as_str()) { (links(reported)) }
                    @if figure.name == "heldout_accuracy" { (sources(reported, |by| by.heldout.as_ref())) }
                    (command(&plot_command(&runs, figure)))
                }
            }
        }
    }
}

/// Hints, drift alerts and replacements, by step; `None` if there are none.
pub fn marks(runs: &[ReportedRun]) -> Option<Markup> {
    let several = runs.len() > 1;
    let runs = measured(runs);
    let steps = marked_steps(&runs);
    let all: usize = runs.iter().map(|run| run.marks.len()).sum();
    let numbered = |run: &MeasuredRun, step: u64| {
        let is_drawn = steps.iter().find(|mark| mark.step == step && mark.number <= MAX_MARKED_STEPS);
        is_drawn.filter(|_| !run.table.steps.is_empty()).map(|mark| format!("{}. ", mark.number)).unwrap_or_default()
    };
    let mut listed: Vec<_> = runs.iter().flat_map(|run| run.marks.iter().map(move |mark| (*run, mark))).collect();
    listed.sort_by_key(|(_, mark)| mark.step);
    let word = |kind: &'static str| match kind {
        "news" => "agents",
        other => other,
    };
    (all > 0).then(|| {
        html! {
            ul class="marks" {
                @for (run, mark) in listed.iter().take(MAX_MARKS) {
                    li {
                        (numbered(run, mark.step)) "Step " (mark.step)
                        @if several { ", " (shown_cut(&run.label, 80)) }
                        ", " (word(mark.kind)) ": " (shown_cut(&mark.text, 500))
                    }
                }
            }
            @if all > MAX_MARKS { p { (count(all - MAX_MARKS, "further mark")) ", which `rlar view` shows." } }
        }
    })
}

/// Means over the last steps, side by side; `None` without steps.
pub fn last_steps(reported: &[ReportedRun]) -> Option<Markup> {
    let runs = measured(reported);
    let means = last_means(&runs);
    let mut headings = vec![words("Metric")];
    headings.extend(runs.iter().map(|run| numbers(&shown_cut(&run.label, 80))));
    let rows: Vec<Vec<Markup>> = means
        .iter()
        .map(|row| {
            let values = row.means.iter().map(|mean| cell(number_or_dash(*mean)));
            std::iter::once(cell(row.metric)).chain(values).collect()
        })
        .collect();
    (!rows.is_empty()).then(|| {
        html! {
            (table(&format!("Means over the last {LAST_STEPS} steps"), &headings, &rows))
            (sources(reported, |by| by.accuracy.as_ref()))
            @if runs.len() > 1 { (command(&format!("rlar compare {}", paths(&runs)))) }
        }
    })
}
