//! The configs of the runs, how they differ, and what the runs ran on.

use maud::{Markup, html};

use super::parts::{cell, command, for_each_run, table, words};
use crate::ReportedRun;
use crate::commands::paths;
use crate::comparison::config_differences;
use crate::report::measured;
use crate::shown::{count, shown_cut};

/// Largest number of keys of the table of differences.
const MAX_KEYS: usize = 300;
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

/// What each run ran on, and its config.
pub fn settings(runs: &[ReportedRun]) -> Markup {
    for_each_run(runs, |run| {
        html! {
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
