//! How a command shows what it does: lines of text, only its result, or JSON events.

use std::io::{self, IsTerminal, Write};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use indicatif::{ProgressBar, ProgressDrawTarget};
use serde_json::{Map, Value};

/// Largest width of a line of text for people, in columns. Longer lines are broken at spaces.
pub const COLUMNS: usize = 80;

/// Largest number of times per second that a progress bar is redrawn.
const UPDATES: u8 = 5;

/// The progress bar that is drawn at the moment; `None` if there is none.
static BAR: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// Whether progress bars are drawn on standard error: only if that is a terminal, `NO_COLOR` is not set
/// (<https://no-color.org>) and `TERM` is not `dumb`. Without bars, nothing is written with escape sequences.
static DRAWS_BARS: LazyLock<bool> = LazyLock::new(|| {
    let is_plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    !is_plain && !ProgressDrawTarget::stderr().is_hidden()
});

/// How a command shows what it does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OutputMode {
    /// Lines of text on standard error, and progress bars if that is a terminal.
    #[default]
    Text,
    /// Nothing while the command works; only its result, warnings and errors are printed.
    Quiet,
    /// An object per event on standard output, as JSON, each on a line of its own.
    Json,
}

impl OutputMode {
    /// With [`OutputMode::Text`], prints text for people above the progress bar; otherwise prints nothing. On a
    /// terminal, lines are broken at spaces so that they do not exceed [`COLUMNS`].
    pub fn say(self, text: &str) {
        if self == Self::Text {
            let is_terminal = io::stderr().is_terminal();
            let line = |line: &str| if is_terminal { wrap(line) } else { line.to_owned() };
            let text = text.lines().map(line).collect::<Vec<_>>().join("\n");
            // What a command is doing is not worth failing for.
            let _ = StandardError.write_all(format!("{text}\n").as_bytes());
        }
    }

    /// With [`OutputMode::Json`], prints an event for programs; otherwise prints nothing. The event is an object with
    /// the name of the event under `event`, then the keys of the object `fields`.
    pub fn event(self, event: &str, fields: Value) {
        if self == Self::Json {
            let mut object = Map::from_iter([("event".to_owned(), event.into())]);
            match fields {
                Value::Object(fields) => object.extend(fields),
                other => object.extend([("value".to_owned(), other)]),
            }
            // A reader that is gone does not end a run.
            let _ = io::stdout().lock().write_all(format!("{}\n", Value::Object(object)).as_bytes());
        }
    }
}

/// Whether progress bars are drawn in this process.
pub(crate) fn draws_bars() -> bool {
    *DRAWS_BARS
}

/// A progress bar of `total` steps that is drawn from now on, in place of an earlier bar; a hidden bar if `mode` is not
/// text or if this process draws no bars.
pub(crate) fn show_bar(mode: OutputMode, total: u64) -> ProgressBar {
    if mode != OutputMode::Text || !draws_bars() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr_with_hz(UPDATES));
    *shown_bar() = Some(bar.clone());
    bar
}

/// Removes a progress bar from the terminal.
pub(crate) fn remove_bar(bar: &ProgressBar) {
    if !bar.is_finished() {
        *shown_bar() = None;
        bar.finish_and_clear();
    }
}

fn shown_bar() -> MutexGuard<'static, Option<ProgressBar>> {
    // A thread that panicked cannot have left the option half changed.
    BAR.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Hides the progress bar while `write` writes to the terminal.
pub fn above_bar<T>(write: impl FnOnce() -> T) -> T {
    match &*shown_bar() {
        Some(bar) => bar.suspend(write),
        None => write(),
    }
}

/// Standard error, as a writer that does not disturb the progress bar.
#[derive(Clone, Copy, Debug, Default)]
pub struct StandardError;

impl Write for StandardError {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        above_bar(|| io::stderr().lock().write_all(bytes))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().lock().flush()
    }
}

/// Joins parts of a text, in their order, into lines of at most [`COLUMNS`] columns, with as many parts per line as
/// fit. Parts on the same line are joined with `separator`. A part that is longer than a line gets a line of its own.
pub fn fill<'a>(parts: impl IntoIterator<Item = &'a str>, separator: &str) -> String {
    let (mut text, mut columns) = (String::new(), 0);
    for part in parts {
        let width = part.chars().count();
        let joined = columns + separator.chars().count() + width;
        if columns == 0 {
            columns = width;
        } else if joined < COLUMNS {
            text += separator;
            columns = joined;
        } else {
            text += separator.trim_end();
            text.push('\n');
            columns = width;
        }
        text += part;
    }
    text
}

/// A text of at most `max_chars` characters (at least 2) for people. A longer one is cut behind the last word that fits, or
/// within a word that takes up more than half of its bytes; ` …` marks the cut.
pub fn shortened(text: &str, max_chars: usize) -> String {
    if text.chars().nth(max_chars).is_none() {
        return text.to_owned();
    }
    let room = max_chars.saturating_sub(2);
    let end = text.char_indices().nth(room).map_or(text.len(), |(end, _)| end);
    // Room for a word that would fit exactly: it ends where the next character is a space.
    let is_between_words = text[end..].starts_with(char::is_whitespace);
    let last_word = text[..end].rfind(char::is_whitespace).filter(|at| *at >= end / 2 && !is_between_words);
    format!("{} …", text[..last_word.unwrap_or(end)].trim_end())
}

/// Breaks a line that is longer than [`COLUMNS`] columns into several lines, at spaces.
pub fn wrap(line: &str) -> String {
    if line.chars().count() < COLUMNS { line.to_owned() } else { fill(line.split_whitespace(), " ") }
}
