//! What `rlar fetch-rewards` says while it works, and at the end.

use std::fmt::Write;
use std::io::IsTerminal;
use std::path::Path;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use rlar_eval::table::render;
use rlar_rewards::FetchReport;
use rlar_rewards::agents::{AgentEvent, ModelCounts, VerifierCounts};

/// A bar of one download at a time, on standard error where that is a terminal.
#[derive(Default)]
pub struct Bar(Option<(String, ProgressBar)>);

impl Bar {
    /// Shows how far a download is, in bytes.
    pub fn at(&mut self, title: &str, done: u64, total: u64) {
        if self.0.as_ref().is_none_or(|(of, _)| of != title) {
            let target = if std::io::stderr().is_terminal() {
                ProgressDrawTarget::stderr_with_hz(5)
            } else {
                ProgressDrawTarget::hidden()
            };
            let bar = ProgressBar::with_draw_target(Some(total), target);
            if let Ok(style) = ProgressStyle::with_template("{prefix} {bar:24} {bytes}/{total_bytes} eta {eta}") {
                bar.set_style(style);
            }
            bar.set_prefix(title.to_owned());
            self.0 = Some((title.to_owned(), bar));
        }
        if let Some((_, bar)) = &self.0 {
            bar.set_position(done);
        }
    }
}

/// Bars of downloads, and lines about everything else, on standard error.
#[derive(Default)]
pub struct Downloads(Bar);

impl Downloads {
    /// Tells one thing.
    pub fn tell(&mut self, news: AgentEvent) {
        match news {
            AgentEvent::Message(line) => {
                self.0 = Bar::default();
                let _ = std::io::Write::write_all(&mut std::io::stderr().lock(), format!("{line}\n").as_bytes());
            }
            AgentEvent::Download { model, progress } => {
                self.0.at(&format!("{model} {}", progress.name), progress.done, progress.total);
            }
        }
    }
}

/// The tools, the refused ones with their reasons, and what it took.
pub fn summary(report: &FetchReport, folder: &Path) -> String {
    let mut rows = vec![["tool", "identity", "prompts"].map(str::to_owned).to_vec()];
    rows.extend(report.fetched.iter().map(|f| vec![f.tool.clone(), f.identity.clone(), f.examples.to_string()]));
    let mut out = render(&rows);
    out.push('\n');
    for f in &report.fetched {
        let _ = writeln!(out, "{}: {}", f.tool, f.reason);
    }
    if !report.rejected.is_empty() {
        out.push_str("\nNot taken:\n");
        for turned in &report.rejected {
            let _ = writeln!(out, "{}: {}", turned.name, turned.reason.replace('\n', "\n  "));
        }
    }
    let VerifierCounts { written, runnable: run, admitted } = report.verifiers;
    if written > 0 {
        let share = |n: usize| 100.0 * n as f64 / written as f64;
        let (run_share, share) = (share(run), share(admitted));
        let _ = writeln!(
            out,
            "\n{written} verifiers written: {run} run ({run_share:.1} %), {admitted} admitted ({share:.1} %)"
        );
    }
    let ModelCounts { considered, admitted: taken } = report.models;
    if considered > 0 {
        let share = 100.0 * taken as f64 / considered as f64;
        let _ = writeln!(out, "{considered} models considered: {taken} taken ({share:.1} %)");
    }
    for (role, c) in &report.usage {
        let _ = writeln!(
            out,
            "{role}: {} questions, {} of them repairs, {} fallbacks, {} tokens",
            c.requests, c.repairs, c.fallbacks, c.tokens
        );
    }
    let _ = writeln!(out, "\nThe library is in {}", folder.display());
    out
}
