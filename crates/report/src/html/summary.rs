//! The runs in a few lines each, with links to the sections that say more.

use maud::{Markup, html};

use super::parts::for_each_run;
use crate::ReportedRun;
use crate::run_summary::run_summary;
use crate::shown::shown_cut;

/// The lines about each run. `has_section` says whether the page has a section.
pub fn summary(runs: &[ReportedRun], has_section: impl Fn(&str) -> bool) -> Markup {
    for_each_run(runs, |run| {
        html! {
            dl {
                @for line in run_summary(run) {
                    dt {
                        @if has_section(line.section) { a href={ "#" (line.section) } { (line.name) } } @else { (line.name) }
                    }
                    dd { (shown_cut(&line.text, 600)) }
                }
            }
        }
    })
}
