//! What reward functions of users share with the run: the training step, and the log of what they print.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::RewardError;

/// Largest size of the log of prints, in bytes; what comes later is not kept.
const MAX_LOG: u64 = 1 << 20;

/// The file in a run's folder with what reward functions printed.
pub const PRINTS: &str = "prints.log";

/// What users' reward functions share with the run: the training step, and the log of what they print.
#[derive(Debug, Default)]
pub struct FunctionRun {
    step: AtomicU64,
    steps: AtomicU64,
    log: Mutex<PrintLog>,
}

/// The log of what reward functions print: a file, or a text in memory as long as there is no file.
#[derive(Debug, Default)]
struct PrintLog {
    file: Option<File>,
    /// Size of the log in bytes, in the file or in memory.
    length: u64,
    waiting: String,
}

impl FunctionRun {
    /// Sets the progress of training: the run has taken `step` of its `steps` training steps.
    pub fn set_step(&self, step: u64, steps: u64) {
        self.step.store(step, Ordering::Relaxed);
        self.steps.store(steps, Ordering::Relaxed);
    }

    /// The number of training steps that were taken.
    pub fn step(&self) -> u64 {
        self.step.load(Ordering::Relaxed)
    }

    /// The number of training steps of the run; 0 outside training.
    pub fn steps(&self) -> u64 {
        self.steps.load(Ordering::Relaxed)
    }

    /// Appends prints to the file at `path` from now on, and writes those into it that were kept in memory so far.
    /// Without a file, prints are kept in memory.
    pub fn log_to(&self, path: &Path) -> Result<(), RewardError> {
        let file = OpenOptions::new().create(true).append(true).open(path).map_err(RewardError::io(path))?;
        let length = file.metadata().map_err(RewardError::io(path))?.len();
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.length = length;
        log.file = Some(file);
        let waiting = std::mem::take(&mut log.waiting);
        log.write(&waiting);
        Ok(())
    }

    /// Adds to the log what a tool printed when it scored the replies to an example, given by its id, or when it was
    /// loaded (`example` is `None`).
    pub fn keep(&self, tool: &str, example: Option<&str>, text: &str) {
        if text.is_empty() {
            return;
        }
        let place = match example {
            Some(example) if self.steps() > 0 => format!("step {}, example `{example}`", self.step() + 1),
            Some(example) => format!("example `{example}`"),
            None => "loading".into(),
        };
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.write(&format!("── {tool}, {place}\n{}\n", text.trim_end()));
    }

    /// Returns the prints that were kept in memory, and removes them from memory.
    pub fn take(&self) -> String {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.length = 0;
        std::mem::take(&mut log.waiting)
    }
}

impl PrintLog {
    fn write(&mut self, text: &str) {
        if text.is_empty() || self.length >= MAX_LOG {
            return;
        }
        self.length += text.len() as u64;
        let end = if self.length >= MAX_LOG { "── the log is full; later prints are not kept\n" } else { "" };
        match &mut self.file {
            // Prints are not worth ending a run for.
            Some(file) => drop(file.write_all(format!("{text}{end}").as_bytes())),
            None => self.waiting.extend([text, end]),
        }
    }
}
