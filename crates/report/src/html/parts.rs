//! Parts of the page that several sections have.

use maud::{Markup, Render, html};
use rlar_view::measured_by::{AccuracySource, MeasuredBy};

use crate::ReportedRun;
use crate::shown::{shown, shown_cut};

/// A command that reproduces what stands above it.
pub fn command(text: &str) -> Markup {
    html! { p class="command" { code { "$ " (shown_cut(text, 2000)) } } }
}

/// A column of a table.
pub struct Heading {
    title: String,
    is_number: bool,
}

/// A column of texts.
pub fn words(title: &str) -> Heading {
    Heading { title: shown(title), is_number: false }
}

/// A column of numbers, which stand at the right.
pub fn numbers(title: &str) -> Heading {
    Heading { title: shown(title), is_number: true }
}

/// A table. The first cell of a row is its heading. It can be scrolled with the keyboard where it is too wide.
pub fn table(caption: &str, headings: &[Heading], rows: &[Vec<Markup>]) -> Markup {
    let class = |index: usize| headings.get(index).filter(|heading| heading.is_number).map(|_| "number");
    html! {
        div class="scroll" role="group" tabindex="0" aria-label=(caption) {
            table {
                caption { (caption) }
                thead {
                    tr {
                        @for (i, heading) in headings.iter().enumerate() {
                            th scope="col" class=[class(i)] { (heading.title) }
                        }
                    }
                }
                tbody {
                    @for row in rows {
                        tr {
                            @for (i, cell) in row.iter().enumerate() {
                                @if i == 0 { th scope="row" { (cell) } } @else { td class=[class(i)] { (cell) } }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// A cell with a text that needs no escape by the caller.
pub fn cell(content: impl Render) -> Markup {
    html! { (content) }
}

/// A part about each run, under its name where there are several.
pub fn for_each_run(runs: &[ReportedRun], mut part: impl FnMut(&ReportedRun) -> Markup) -> Markup {
    html! {
        @for run in runs {
            @if runs.len() > 1 { h3 { (shown_cut(&run.measured.label, 120)) } }
            (part(run))
        }
    }
}

/// What some accuracies are measured by, of each run for which it is known.
pub fn sources<'r>(
    runs: &'r [ReportedRun],
    source: impl Fn(&'r MeasuredBy) -> Option<&'r AccuracySource> + Copy,
) -> Markup {
    html! {
        @for run in runs {
            @if let Some(source) = source(&run.measured_by) {
                p class="muted" {
                    @if runs.len() > 1 { (shown_cut(&run.measured.label, 120)) ": " }
                    (shown_cut(&source.text, 1000))
                }
            }
        }
    }
}

/// A heading below that of a section, or below that of a run where there are several.
pub fn sub_heading(several: bool, content: &Markup) -> Markup {
    if several {
        html! { h4 { (content) } }
    } else {
        html! { h3 { (content) } }
    }
}
