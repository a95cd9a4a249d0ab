//! Writes the records of steps to `metrics.jsonl` or `warmup.jsonl` and to TensorBoard, and shows them.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use rlar_run::{Events, OutputMode, Progress, Records, RunFolder, percent};
use serde::Serialize;
use serde_json::{Value, json};

use crate::TrainError;

/// The file of the records of training steps.
pub const METRICS: &str = "metrics.jsonl";

/// The current time, in seconds since 1970 (UTC).
pub fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64())
}

/// The log of one phase of a run: a JSONL file of step records, TensorBoard events, and the progress in the terminal.
#[derive(Debug)]
pub struct MetricsLog {
    records: Records,
    events: Option<Events>,
    progress: Progress,
}

impl MetricsLog {
    /// Opens the file `file` in the run's folder, and removes its records of steps after `done`. With `tensorboard`,
    /// the events are written anew from the remaining records.
    pub fn open(
        run: &RunFolder,
        file: &str,
        done: u64,
        tensorboard: bool,
        progress: Progress,
    ) -> Result<Self, TrainError> {
        let records = run.records(file, done)?;
        let mut events = None;
        if tensorboard {
            let mut rewritten = run.events(now())?;
            for record in records.read()? {
                let step = record["step"].as_u64().unwrap_or(0);
                rewritten.scalars(step, record["time"].as_f64().unwrap_or(0.0), &scalars(&record))?;
            }
            events = Some(rewritten);
        }
        Ok(Self { records, events, progress })
    }

    /// Adds time and memory use to the record of step `step`, writes it, and shows it.
    pub fn write(&mut self, step: u64, record: &impl Serialize) -> Result<(), TrainError> {
        let time = now();
        let mut record = serde_json::to_value(record)?;
        record["time"] = time.into();
        record["memory"] = serde_json::json!({ "resident": memory("VmRSS:"), "peak": peak_memory() });
        self.records.append(&record)?;
        if let Some(events) = &mut self.events {
            events.scalars(step, time, &scalars(&record))?;
        }
        self.progress.step(step, &figures(&record));
        let mut shown = json!({ "phase": self.progress.title(), "steps": self.progress.total() });
        if let (Value::Object(shown), Value::Object(record)) = (&mut shown, record) {
            shown.extend(record);
        }
        self.output().event("step", shown);
        Ok(())
    }

    /// All records written so far, in the order of the steps.
    pub fn records(&self) -> Result<Vec<Value>, TrainError> {
        Ok(self.records.read()?)
    }

    /// Syncs all records to disk, so that they survive a crash of the machine.
    pub fn sync(&self) -> Result<(), TrainError> {
        Ok(self.records.sync()?)
    }

    /// How the run shows what it does.
    pub fn output(&self) -> OutputMode {
        self.progress.mode()
    }

    /// Removes the progress bar from the terminal.
    pub fn finish(&self) {
        self.progress.finish();
    }
}

/// The most memory that this process had so far, in bytes; `None` where the system does not say.
pub fn peak_memory() -> Option<u64> {
    memory("VmHWM:")
}

/// Memory of this process in bytes, from the line of `/proc/self/status` that starts with `name`; `None` if there is no
/// such file or line.
fn memory(name: &str) -> Option<u64> {
    let text = fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|l| l.strip_prefix(name))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kb| kb << 10)
}

/// Numbers of a step's record, as texts such as `loss 0.312`, for the line that is printed in the terminal; the most
/// important first.
fn figures(record: &Value) -> Vec<String> {
    let number = |path: &str| record.pointer(path).and_then(Value::as_f64);
    let reward = number("/reward/mean");
    let loss = number("/loss").filter(|_| reward.is_none());
    let seconds = ["sampling", "scoring", "training"].map(|phase| number(&format!("/seconds/{phase}")).unwrap_or(0.0));
    let seconds: f64 = seconds.iter().sum();
    let figures = [
        reward.map(|x| format!("reward {x:.3}")),
        number("/accuracy").map(|x| format!("accuracy {} %", percent(x))),
        loss.map(|x| format!("loss {x:.3}")),
        number("/kl/k3").map(|x| format!("KL {x:.4}")),
        Some(seconds).filter(|s| *s > 0.0).map(|s| format!("{s:.1} s")),
        number("/tokens_per_second/step").map(|x| format!("{x:.0} tok/s")),
    ];
    figures.into_iter().flatten().collect()
}

/// All numbers in a record, named by their paths joined with `/`, as TensorBoard's scalars.
fn scalars(record: &Value) -> Vec<(String, f64)> {
    fn walk(value: &Value, path: &str, out: &mut Vec<(String, f64)>) {
        match value {
            Value::Number(n) => out.extend(n.as_f64().map(|x| (path.to_owned(), x))),
            Value::Object(map) => {
                for (key, value) in map {
                    let below = if path.is_empty() { key.clone() } else { format!("{path}/{key}") };
                    walk(value, &below, out);
                }
            }
            _ => {}
        }
    }
    let mut out = Vec::new();
    walk(record, "", &mut out);
    out.retain(|(path, _)| path != "step" && path != "time");
    out
}
