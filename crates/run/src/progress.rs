//! The progress of a job: a bar on a terminal, lines of text elsewhere.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use indicatif::{HumanDuration, ProgressBar, ProgressState, ProgressStyle};

use crate::activity::Activity;
use crate::terminal::{COLUMNS, OutputMode, draws_bars, remove_bar, show_bar};

/// Time between two redraws of a progress bar while no step ends.
const TICK: Duration = Duration::from_millis(250);

/// Largest number of characters of a progress bar's title; longer titles are cut off.
const TITLE: usize = 28;

/// Template, in the syntax of `indicatif`, of a bar that counts steps. In all templates, `wide_bar` and `wide_msg` take
/// the width of the terminal that the other parts leave.
const BAR: &str = "{prefix} {wide_bar} {pos}/{len}{eta}";
const BAR_WITH_ACTIVITY: &str = "{prefix} {wide_bar} {pos}/{len}{eta}\n{wide_msg}";
const ACTIVITY: &str = "{prefix}  {wide_msg}";
const DOWNLOAD: &str = "{prefix} {wide_bar} {bytes}/{total_bytes}{eta}";

/// The progress of a job: a bar on standard error if that is a terminal, and lines of text.
#[derive(Debug)]
pub struct Progress {
    mode: OutputMode,
    title: String,
    total: u64,
    lines: Lines,
    bar: ProgressBar,
    ticker: Option<Ticker>,
}

/// The steps of a job for which a line of text is printed.
#[derive(Debug)]
enum Lines {
    /// No line is printed for any step.
    None,
    /// A line is printed for every step.
    Each,
    /// A line is printed each time that another tenth of the job is done. Holds the number of tenths that were done at
    /// the last step.
    Tenths(AtomicU64),
}

impl Progress {
    /// The progress of a job of `total` steps, of which `done` are finished. A line of text is printed each time that
    /// another tenth of the job is done; where a bar is drawn, only for a step with figures, such as its loss.
    pub fn new(mode: OutputMode, title: &str, total: u64, done: u64) -> Self {
        let lines = Lines::Tenths(AtomicU64::new(10 * done / total.max(1)));
        let progress = Self::with_bar(mode, title, total, style(BAR, done), lines);
        progress.bar.set_position(done);
        progress.bar.reset_eta();
        progress
    }

    /// The progress of a download of `total` bytes. Nothing is shown where bars are not drawn.
    pub fn download(mode: OutputMode, title: &str, total: u64) -> Self {
        Self::with_bar(mode, title, total, style(DOWNLOAD, 0), Lines::None)
    }

    /// Shows what a job without a known number of steps is doing, read from `activity`, until the returned value is
    /// dropped. Nothing is shown where bars are not drawn.
    pub fn watch(mode: OutputMode, title: &str, activity: &Activity) -> Self {
        let mut progress = Self::with_bar(mode, title, 0, style(ACTIVITY, 0), Lines::None);
        progress.ticker = Ticker::start(&progress.bar, activity);
        progress
    }

    fn with_bar(mode: OutputMode, title: &str, total: u64, style: ProgressStyle, lines: Lines) -> Self {
        let bar = show_bar(mode, total);
        bar.set_style(style);
        bar.set_prefix(title.chars().take(TITLE).collect::<String>());
        if !bar.is_hidden() {
            bar.enable_steady_tick(TICK);
        }
        Self { mode, title: title.to_owned(), total, lines, bar, ticker: None }
    }

    /// Also shows, below the bar, what the job is doing within a step, read from `activity`.
    #[must_use]
    pub fn showing(mut self, activity: &Activity) -> Self {
        let done = self.bar.position();
        self.bar.set_style(style(BAR_WITH_ACTIVITY, done));
        self.ticker = Ticker::start(&self.bar, activity);
        self
    }

    /// Prints a line of text for every step, not only for each tenth of the job.
    #[must_use]
    pub fn with_a_line_per_step(mut self) -> Self {
        self.lines = Lines::Each;
        self
    }

    /// How the command shows what it does.
    pub fn mode(&self) -> OutputMode {
        self.mode
    }

    /// The title of the bar.
    pub fn title(&self) -> &str {
        &self.title
    }

    /// Number of steps of the job.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Moves the bar to `position`, a number of steps done or of bytes downloaded. If a line of text is printed for
    /// this step, it ends with `figures`, texts such as `loss 0.312`, the most important first; figures that do not fit
    /// are left out.
    pub fn step(&self, position: u64, figures: &[String]) {
        let leaves_line = match &self.lines {
            Lines::None => false,
            Lines::Each => true,
            Lines::Tenths(printed) => {
                let tenths = 10 * position / self.total.max(1);
                let is_next = tenths > printed.swap(tenths, Ordering::Relaxed);
                is_next && (!figures.is_empty() || !draws_bars())
            }
        };
        if leaves_line {
            self.mode.say(&within_columns(&format!("{} {position}/{}", self.title, self.total), figures));
        }
        self.bar.set_position(position);
    }

    /// Removes the bar.
    pub fn finish(&self) {
        remove_bar(&self.bar);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.ticker = None;
        self.finish();
    }
}

/// The style of a bar with this template, of whose steps `done` are finished when it is made. The template's key `eta`
/// becomes the time that remains; it is empty until two more steps have shown how long a step takes.
fn style(template: &str, done: u64) -> ProgressStyle {
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    style.with_key("eta", move |state: &ProgressState, text: &mut dyn Write| {
        let eta = state.eta();
        let is_known = state.pos() >= done + 2 && state.len().is_some_and(|total| state.pos() < total);
        if is_known && eta >= Duration::from_secs(1) {
            // Writing to a buffer in memory cannot fail.
            let _ = write!(text, "  eta {:#}", HumanDuration(eta));
        }
    })
}

/// A line of at most [`COLUMNS`] columns: `start`, then as many of the figures as fit.
fn within_columns(start: &str, figures: &[String]) -> String {
    let mut line = start.to_owned();
    for figure in figures {
        if line.chars().count() + 2 + figure.chars().count() < COLUMNS {
            line += "  ";
            line += figure;
        }
    }
    line
}

/// A thread that writes an activity into the message of a bar, until this value is dropped.
#[derive(Debug)]
struct Ticker {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Ticker {
    /// Starts the thread; `None` if the bar is not drawn, or if the system has no thread to spare.
    fn start(bar: &ProgressBar, activity: &Activity) -> Option<Self> {
        if bar.is_hidden() {
            return None;
        }
        let (bar, activity) = (bar.clone(), activity.clone());
        let (stop, stopped) = mpsc::channel();
        let show = move || {
            while stopped.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
                bar.set_message(activity.describe(Instant::now()));
            }
        };
        let thread = std::thread::Builder::new().name("progress".into()).spawn(show).ok()?;
        Some(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has only missed to show something.
            let _ = thread.join();
        }
    }
}
