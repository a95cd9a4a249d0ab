//! The tools of the runs: what they measure, whether they were admitted, who chose them for which prompts and why, and what
//! was replaced.

use maud::{Markup, html};
use rlar_view::library::{AdmissionView, ReplacementPage, ToolView};

use super::parts::{cell, command, for_each_run, numbers, sub_heading, table, words};
use crate::ReportedRun;
use crate::commands::run_command;
use crate::shown::{count, number, number_or_dash, shown, shown_beginning, shown_cut};
use crate::tool_choices::ToolChoice;

/// Largest number of tools, of choices and of pages about replacements of a run.
const MAX_TOOLS: usize = 100;
const MAX_CHOICES: usize = 30;
const MAX_REPLACEMENTS: usize = 20;

/// The rewards of each run.
pub fn rewards(runs: &[ReportedRun]) -> Markup {
    for_each_run(runs, |run| {
        html! {
            (tools(run))
            (choices(run))
            (replacements(&run.library.replacements, runs.len() > 1))
            (exchanges(run))
        }
    })
}

fn tools(run: &ReportedRun) -> Markup {
    let library = &run.library;
    if library.tools.is_empty() {
        return html! { p { "The run has no library of tools." } };
    }
    let (used, others): (Vec<_>, Vec<_>) = library.tools.iter().partition(|tool| uses(run, tool) > 0);
    let headings = || {
        [
            words("Tool"),
            words("Measures"),
            words("Kind and role"),
            numbers("Prompts"),
            words("Admission"),
            numbers("AUC"),
            words("Checks that failed"),
        ]
    };
    let rows = |tools: &[&ToolView]| tools.iter().take(MAX_TOOLS).map(|tool| row(run, tool)).collect::<Vec<_>>();
    html! {
        @if used.is_empty() { p { "No tool of the run's library scores a prompt that was seen." } }
        @else { (table("Tools that score prompts", &headings(), &rows(&used))) }
        @if !others.is_empty() {
            details {
                summary { (count(others.len(), "further tool")) " of the library, which no prompt that was seen has" }
                (table("Further tools of the library", &headings(), &rows(&others)))
            }
        }
        (command(&run_command("rlar rewards --library", &run.measured, "library", "list")))
        p class="muted" {
            "Before a tool scores replies, it must pass checks: does it rank good replies above bad ones (AUC: how often), and \
             does it pay for none of the tricks that are tried? `rlar rewards show TOOL` prints a tool’s report."
        }
    }
}

/// Number of prompts that a tool scores.
fn uses(run: &ReportedRun, tool: &ToolView) -> usize {
    run.choices.tools.iter().find(|known| known.name == tool.name).map_or(0, |known| known.count)
}

fn row(run: &ReportedRun, tool: &ToolView) -> Vec<Markup> {
    let admission = tool.admission.as_ref();
    let kind: Vec<&str> =
        [&tool.kind, &tool.role].into_iter().map(String::as_str).filter(|word| !word.is_empty()).collect();
    vec![
        html! { code { (shown_cut(&tool.name, 80)) } },
        cell(shown_cut(&tool.measures, 300)),
        cell(shown_cut(&kind.join(", "), 80)),
        cell(uses(run, tool)),
        match admission {
            Some(report) => html! {
                span class=[class(&report.status)] { (shown_cut(&report.status, 40)) } ", " (passed(report))
            },
            None => cell("no report"),
        },
        auc(admission),
        admission.map_or_else(|| cell(""), failed),
    ]
}

/// The AUC of a report, or why it has none.
fn auc(admission: Option<&AdmissionView>) -> Markup {
    let why = admission.and_then(|report| report.auc_unknown.as_deref());
    match (admission.and_then(|report| report.auc), why) {
        (None, Some(why)) => cell(format!("not known, because {}", shown_cut(why, 200))),
        (auc, _) => cell(number_or_dash(auc)),
    }
}

fn class(status: &str) -> Option<&'static str> {
    match status {
        "admitted" => Some("good"),
        "refused" => Some("bad"),
        _ => None,
    }
}

fn passed(report: &AdmissionView) -> String {
    let passed = report.checks.iter().filter(|check| check.passed).count();
    format!("{passed} of {} passed", count(report.checks.len(), "check"))
}

fn failed(report: &AdmissionView) -> Markup {
    let failed: Vec<_> = report.checks.iter().filter(|check| !check.passed).collect();
    html! {
        @for check in failed.iter().take(8) {
            div { (shown_cut(&check.name, 120)) @if !check.evidence.is_empty() { ": " (shown_cut(&check.evidence, 240)) } }
        }
        @if failed.len() > 8 { div { (failed.len() - 8) " more" } }
    }
}

fn choices(run: &ReportedRun) -> Markup {
    let choices = &run.choices;
    if choices.prompts == 0 {
        return html! {};
    }
    let row = |choice: &ToolChoice| {
        vec![
            html! { code { @if choice.tools.is_empty() { "none" } @else { (shown_cut(&choice.tools.join(", "), 400)) } } },
            cell(shown_cut(&choice.by, 80)),
            cell(choice.prompts),
            cell(shown(&choice.why)),
        ]
    };
    let headings = [words("Tools"), words("Chosen by"), numbers("Prompts"), words("Why")];
    let rows: Vec<_> = choices.choices.iter().take(MAX_CHOICES).map(row).collect();
    let more = choices.choices.len() - rows.len();
    let caption =
        format!("Who chose which tools for {} that the run has seen, and why", count(choices.prompts, "prompt"));
    html! {
        (table(&caption, &headings, &rows))
        @if more > 0 { p { (count(more, "further choice")) ", each for fewer prompts." } }
        @if choices.grouped < choices.prompts { p { "Of the first " (choices.grouped) " prompts." } }
        (command(&run_command("rlar rewards choose --config", &run.measured, "config.yaml", "")))
    }
}

fn replacements(pages: &[ReplacementPage], several: bool) -> Markup {
    html! {
        @if !pages.is_empty() {
            (sub_heading(several, &html! { "Drift alerts, and what was changed after them" }))
            @for page in pages.iter().take(MAX_REPLACEMENTS) {
                details {
                    summary { @if let Some(step) = page.step { "Step " (step) ": " } (shown_cut(&page.file, 120)) }
                    pre { (shown_beginning(&page.text, 5000)) }
                }
            }
            @if pages.len() > MAX_REPLACEMENTS {
                p { (count(pages.len() - MAX_REPLACEMENTS, "further page")) " in `evolution/`." }
            }
        }
    }
}

/// What the language model of the agents was asked, and what that took. The texts are not in the report.
fn exchanges(run: &ReportedRun) -> Markup {
    if run.exchanges.is_empty() {
        return html! {};
    }
    let rows: Vec<Vec<Markup>> = run
        .exchanges
        .iter()
        .take(20)
        .map(|role| {
            vec![
                cell(shown_cut(&role.role, 80)),
                cell(role.requests),
                cell(role.failed),
                cell(role.prompt_tokens),
                cell(role.completion_tokens),
                cell(number(role.seconds)),
            ]
        })
        .collect();
    let headings = [
        words("Role"),
        numbers("Requests"),
        numbers("Failed"),
        numbers("Prompt tokens"),
        numbers("Reply tokens"),
        numbers("Seconds"),
    ];
    html! { (table("Requests of the agents to a language model", &headings, &rows)) }
}
