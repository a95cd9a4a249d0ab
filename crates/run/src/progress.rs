//! The progress bar of a job.

use std::io::IsTerminal;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A progress bar on standard error. Where standard error is not a terminal, it prints a line for every tenth of the
/// steps instead.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
    /// Lines of text that replace the bar; `None` where the bar is drawn or nothing is shown.
    lines: Option<ProgressLines>,
}

/// Progress that is printed as lines of text.
#[derive(Debug)]
struct ProgressLines {
    title: String,
    /// Number of tenths of the steps for which a line was printed.
    printed_tenths: AtomicU64,
}

impl Progress {
    /// Makes a bar of `total` steps, of which `done` are finished.
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
        let printed_tenths = AtomicU64::new(10 * done / total.max(1));
        let lines =
            (!std::io::stderr().is_terminal()).then(|| ProgressLines { title: title.to_owned(), printed_tenths });
        Self { bar, lines }
    }

    /// Makes a bar that shows nothing.
    pub fn hidden() -> Self {
        Self { bar: ProgressBar::hidden(), lines: None }
    }

    /// Moves the bar to the step `position` and shows the step's metrics.
    pub fn step(&self, position: u64, metrics: String) {
        if let Some(ProgressLines { title, printed_tenths }) = &self.lines {
            let total = self.bar.length().unwrap_or(0).max(1);
            let tenths = 10 * position / total;
            if tenths > printed_tenths.swap(tenths, Ordering::Relaxed) {
                self.say(&format!("{title} {position}/{total}  {metrics}"));
            }
        }
        self.bar.set_message(metrics);
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
