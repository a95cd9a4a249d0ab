//! Collects the log lines of a thread.

use std::io::Write;
use std::sync::{Arc, Mutex};

#[derive(Clone, Default)]
struct Traces(Arc<Mutex<Vec<u8>>>);

impl Write for Traces {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Runs `work` and returns its result, and its log lines of all levels.
pub fn traced<T>(work: impl FnOnce() -> T) -> (T, String) {
    let (traces, level) = (Traces::default(), tracing_subscriber::filter::LevelFilter::TRACE);
    let writer = traces.clone();
    let subscriber = tracing_subscriber::fmt().with_max_level(level).with_writer(move || writer.clone()).finish();
    let done = tracing::subscriber::with_default(subscriber, work);
    let text = String::from_utf8(traces.0.lock().unwrap().clone()).unwrap();
    (done, text)
}
