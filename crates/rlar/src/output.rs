//! Standard output and standard error.

use std::fmt;
use std::io::{self, ErrorKind, Write};
use std::sync::OnceLock;

use anyhow::Result;
use rlar_run::{OutputMode, Progress, StandardError, above_bar};
use serde_json::Value;

/// The form in which this process shows progress, messages and results: text, quiet or JSON. Set once, from the command
/// line.
static MODE: OnceLock<OutputMode> = OnceLock::new();

/// Sets the form in which this process shows progress, messages and results.
pub fn set_mode(mode: OutputMode) {
    // Only the first call has an effect, and there is only one.
    let _ = MODE.set(mode);
}

/// The form in which this process shows progress, messages and results; text if none was set.
pub fn mode() -> OutputMode {
    MODE.get().copied().unwrap_or_default()
}

/// The process that read standard output or standard error has closed it, like `head` does after its last line.
///
/// That process has what it wanted, so rlar ends without a message and with exit code 0. Broken pipes to other
/// processes and servers are failures.
#[derive(Debug)]
pub struct ReaderGone;

impl fmt::Display for ReaderGone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the reader of the output has closed it")
    }
}

impl std::error::Error for ReaderGone {}

/// Writes text or bytes to standard output and flushes it.
pub fn print(output: impl AsRef<[u8]>) -> Result<()> {
    above_bar(|| write(io::stdout().lock(), output.as_ref()))
}

/// Writes the result of a command to standard output: with `--json` as the event `result`, otherwise as text.
pub fn print_result(json: impl FnOnce() -> Value, text: impl FnOnce() -> String) -> Result<()> {
    if mode() == OutputMode::Json {
        mode().event("result", json());
        return Ok(());
    }
    print(text())
}

/// Writes text or bytes to standard error.
pub fn print_error(output: impl AsRef<[u8]>) -> Result<()> {
    write(StandardError, output.as_ref())
}

/// Writes a remark to standard error. A remark is less than a warning, so `--quiet` suppresses it.
pub fn print_note(output: impl AsRef<[u8]>) -> Result<()> {
    if mode() == OutputMode::Quiet { Ok(()) } else { print_error(output) }
}

/// Writes remarks on how data were read to standard error, each on its own line, unless `--quiet` is given.
pub fn print_notes(notes: &[String]) -> Result<()> {
    notes.iter().try_for_each(|note| print_note(format!("{note}\n")))
}

fn write(mut stream: impl Write, bytes: &[u8]) -> Result<()> {
    let written = stream.write_all(bytes).and_then(|()| stream.flush());
    written.map_err(|error: io::Error| match error.kind() {
        ErrorKind::BrokenPipe => ReaderGone.into(),
        _ => error.into(),
    })
}

/// A progress bar of the current download.
#[derive(Default)]
pub struct DownloadBar(Option<Progress>);

impl DownloadBar {
    /// Shows that `done` of `total` bytes have arrived. A new title starts a new bar.
    pub fn show(&mut self, title: &str, done: u64, total: u64) {
        if self.0.as_ref().is_none_or(|current| current.title() != title) {
            // The bar before is removed first.
            self.0 = None;
            self.0 = Some(Progress::download(mode(), title, total));
        }
        if let Some(current) = &self.0 {
            current.step(done, &[]);
        }
    }
}
