//! The configs of the runs, how they differ, and what the runs ran on.

use maud::{Markup, html};
use rlar_view::run_environment::ProcessView;

use super::parts::{cell, command, for_each_run, table, words};
use crate::ReportedRun;
use crate::commands::{paths, run_command};
use crate::comparison::config_differences;
use crate::report::measured;
use crate::shown::{count, shown_cut};

/// Largest number of keys of the table of differences.
const MAX_KEYS: usize = 300;
/// Largest number of processes of a run.
const MAX_PROCESSES: usize = 8;
/// Number of characters of a config.
const MAX_CONFIG: usize = 60_000;

/// The keys whose values differ; `None` for a single run.
pub fn differences(runs: &[ReportedRun]) -> Option<Markup> {
    if runs.len() < 2 {
        return None;
    }
    let configs: Vec<_> = runs.iter().map(|run| run.config.as_slice()).collect();
    let differences = config_differences(&configs);
    let mut headings = vec![words("Key")];
    headings.extend(runs.iter().map(|run| words(&shown_cut(&run.measured.label, 80))));
    let rows: Vec<Vec<Markup>> = differences
        .iter()
        .take(MAX_KEYS)
        .map(|difference| {
            let value = |value: &Option<String>| match value {
                Some(value) => html! { code { (shown_cut(value, 300)) } },
                None => cell("–"),
            };
            let key = html! { code { (shown_cut(&difference.key, 200)) } };
            std::iter::once(key).chain(difference.values.iter().map(value)).collect()
        })
        .collect();
    let caption = format!("{} with different values", count(differences.len(), "key"));
    let measured = measured(runs);
    Some(html! {
        @if rows.is_empty() { p { "The configs are the same." } } @else { (table(&caption, &headings, &rows)) }
        (command(&format!("rlar compare {}", paths(&measured))))
    })
}

/// What the processes of a run computed on, side by side.
fn processes(run: &ReportedRun) -> Markup {
    let processes = &run.environment.processes;
    if processes.is_empty() {
        return html! { p { "What the run was computed on is not recorded, as in runs of earlier versions." } };
    }
    let shown = &processes[..processes.len().min(MAX_PROCESSES)];
    let mut names: Vec<&'static str> = Vec::new();
    for fact in shown.iter().flat_map(|process| &process.facts) {
        if !names.contains(&fact.name) {
            names.push(fact.name);
        }
    }
    let mut headings = vec![words("Fact")];
    headings.extend(shown.iter().map(|process| {
        words(&process.step.map_or_else(|| "From an unknown step on".to_owned(), |step| format!("From step {step} on")))
    }));
    let value = |process: &ProcessView, name: &'static str| {
        let text = process.facts.iter().find(|fact| fact.name == name).map_or("–", |fact| fact.value.as_str());
        let text = shown_cut(text, 300);
        if process.changed.contains(&name) {
            html! { strong { (text) } }
        } else {
            cell(text)
        }
    };
    let row = |name: &&'static str| {
        std::iter::once(cell(*name)).chain(shown.iter().map(|process| value(process, name))).collect::<Vec<Markup>>()
    };
    html! {
        (table("What the run was computed on", &headings, &names.iter().map(row).collect::<Vec<_>>()))
        @if processes.len() > shown.len() { p { (processes.len() - shown.len()) " more processes continued it." } }
        @if shown.iter().any(|process| !process.changed.is_empty()) {
            p class="note" { "The run was continued on another machine or by another build; what changed is bold." }
        }
    }
}

/// What each run ran on, and its config.
pub fn settings(runs: &[ReportedRun]) -> Markup {
    for_each_run(runs, |run| {
        html! {
            (processes(run))
            (command(&run_command("rlar train --config", &run.measured, "config.yaml", "--run NEW_FOLDER")))
            p { "As the run’s files say; its `config.yaml` below has every key." }
            dl {
                @for fact in &run.environment.facts {
                    dt { (fact.name) }
                    dd { (shown_cut(&fact.value, 300)) }
                }
            }
            details {
                summary { "config.yaml" }
                pre { (shown_cut(&run.config_text, MAX_CONFIG)) }
            }
        }
    })
}
