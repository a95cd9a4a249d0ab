//! Standard output and standard error.

use std::fmt;
use std::io::{self, ErrorKind, IsTerminal, Write};

use anyhow::Result;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

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
    write(io::stdout().lock(), output.as_ref())
}

/// Writes text or bytes to standard error.
pub fn print_error(output: impl AsRef<[u8]>) -> Result<()> {
    write(io::stderr().lock(), output.as_ref())
}

fn write(mut stream: impl Write, bytes: &[u8]) -> Result<()> {
    let written = stream.write_all(bytes).and_then(|()| stream.flush());
    written.map_err(|error: io::Error| match error.kind() {
        ErrorKind::BrokenPipe => ReaderGone.into(),
        _ => error.into(),
    })
}

/// A progress bar of the current download, on standard error if that is a terminal.
#[derive(Default)]
pub struct DownloadBar(Option<TitledBar>);

struct TitledBar {
    title: String,
    bar: ProgressBar,
}

impl DownloadBar {
    /// Shows that `done` of `total` bytes have arrived. A new title starts a new bar.
    pub fn show(&mut self, title: &str, done: u64, total: u64) {
        let current = self.0.take().filter(|current| current.title == title);
        let current = current.unwrap_or_else(|| TitledBar::new(title, total));
        current.bar.set_position(done);
        self.0 = Some(current);
    }
}

impl TitledBar {
    fn new(title: &str, total: u64) -> Self {
        let target = if io::stderr().is_terminal() {
            ProgressDrawTarget::stderr_with_hz(5)
        } else {
            ProgressDrawTarget::hidden()
        };
        let bar = ProgressBar::with_draw_target(Some(total), target);
        if let Ok(style) = ProgressStyle::with_template("{prefix} {bar:24} {bytes}/{total_bytes} eta {eta}") {
            bar.set_style(style);
        }
        bar.set_prefix(title.to_owned());
        Self { title: title.to_owned(), bar }
    }
}
