//! The report as one HTML page: no script, no other file, no network. Every text of a run is escaped by the templates.

mod overview;
mod parts;
mod rewards;
mod samples;
mod settings;
mod summary;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::commands::{options, report_command};
use crate::plot::DARK_STYLE;
use crate::report::measured;
use crate::shown::{count, shown_cut};
use crate::{PlotLook, ReportedRun};
use parts::command;

pub use overview::{accuracy_text, figure_text, short_accuracy_text, state_text};

const STYLE: &str = include_str!("report.css");
/// Nothing may be loaded, run or sent, whatever a text of a run says.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";
/// Largest number of problems that are listed.
const MAX_PROBLEMS: usize = 50;
/// Number of characters of a run's name.
const MAX_NAME: usize = 120;

/// A section of the page.
struct Section {
    /// Its anchor.
    id: &'static str,
    title: &'static str,
    content: Markup,
}

/// The page.
pub fn page(runs: &[ReportedRun], look: PlotLook) -> Markup {
    let measured = measured(runs);
    let names: Vec<String> = measured.iter().map(|run| shown_cut(&run.label, MAX_NAME)).collect();
    let title = format!("Training report: {}", names.join(", "));
    let sections = sections(runs, look);
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) }
                style { (PreEscaped(STYLE)) (PreEscaped(DARK_STYLE)) }
            }
            body {
                header {
                    h1 { (title) }
                    p class="muted" { "Made by rlar " (env!("CARGO_PKG_VERSION")) "." }
                    (command(&report_command(&measured, &format!("--html report.html{}", options(look)))))
                }
                nav aria-label="Sections" {
                    ul { @for section in &sections { li { a href={ "#" (section.id) } { (section.title) } } } }
                }
                main {
                    @for section in &sections {
                        section id=(section.id) aria-labelledby={ (section.id) "-title" } {
                            h2 id={ (section.id) "-title" } { (section.title) }
                            (section.content)
                        }
                    }
                }
            }
        }
    }
}

/// The sections that the runs have something for.
fn sections(runs: &[ReportedRun], look: PlotLook) -> Vec<Section> {
    let known = [
        ("runs", "Runs and commands", Some(overview::runs(runs))),
        ("results", "Results", Some(overview::results(runs))),
        ("curves", "Curves", Some(overview::curves(runs, look))),
        ("marks", "What stands out", overview::marks(runs)),
        ("metrics", "Last steps", overview::last_steps(runs)),
        ("differences", "Differences of the configs", settings::differences(runs)),
        ("rewards", "Rewards", Some(rewards::rewards(runs))),
        ("replies", "Sample replies", Some(samples::samples(runs))),
        ("settings", "Config and environment", Some(settings::settings(runs))),
        ("problems", "What could not be read", problems(runs)),
    ];
    let mut sections: Vec<Section> =
        known.into_iter().filter_map(|(id, title, content)| Some(Section { id, title, content: content? })).collect();
    let content = summary::summary(runs, |id| sections.iter().any(|section| section.id == id));
    sections.insert(0, Section { id: "summary", title: "Summary", content });
    sections
}

/// What could not be read; `None` if everything could.
fn problems(runs: &[ReportedRun]) -> Option<Markup> {
    let all = || runs.iter().flat_map(|run| run.problems.iter().map(move |problem| (run, problem)));
    let more = all().count().saturating_sub(MAX_PROBLEMS);
    all().next()?;
    Some(html! {
        p { "The report shows the rest." }
        ul {
            @for (run, problem) in all().take(MAX_PROBLEMS) {
                li class="note" {
                    code { (shown_cut(&run.measured.label, MAX_NAME)) "/" (shown_cut(&problem.file, MAX_NAME)) }
                    @if let Some(line) = problem.line { ", line " (line) }
                    ": " (shown_cut(&problem.message, 400))
                }
            }
        }
        @if more > 0 { p { (count(more, "further problem")) "." } }
    })
}
