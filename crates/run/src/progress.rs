//! The live line of a job.

use std::io::IsTerminal;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A progress bar on standard error; where that is no terminal, a line for every tenth of the way.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
    /// Title, and the tenths that have been told, where lines are written.
    lines: Option<(String, AtomicU64)>,
}

impl Progress {
    /// A bar of `total` steps, `done` of which lie behind.
    pub fn new(title: &str, total: u64, done: u64) -> Self {
        let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr_with_hz(5));
        let style = "{prefix} {bar:24} {pos}/{len} {msg} eta {eta}";
        if let Ok(style) = ProgressStyle::with_template(style) {
            bar.set_style(style);
        }
        bar.set_prefix(title.to_owned());
        bar.set_position(done);
        bar.reset_eta();
        bar.enable_steady_tick(Duration::from_millis(500));
        let told = AtomicU64::new(10 * done / total.max(1));
        let lines = (!std::io::stderr().is_terminal()).then(|| (title.to_owned(), told));
        Self { bar, lines }
    }

    /// A bar that draws nothing.
    pub fn hidden() -> Self {
        Self { bar: ProgressBar::hidden(), lines: None }
    }

    /// Moves to a step and shows its figures.
    pub fn step(&self, position: u64, figures: String) {
        if let Some((title, told)) = &self.lines {
            let total = self.bar.length().unwrap_or(0).max(1);
            let tenths = 10 * position / total;
            if tenths > told.swap(tenths, Ordering::Relaxed) {
                self.say(&format!("{title} {position}/{total}  {figures}"));
            }
        }
        self.bar.set_message(figures);
        self.bar.set_position(position);
    }

    /// Prints a line above the bar.
    pub fn say(&self, line: &str) {
        self.bar.suspend(|| {
            let _ = std::io::Write::write_all(&mut std::io::stderr().lock(), format!("{line}\n").as_bytes());
        });
    }

    /// Removes the bar.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
