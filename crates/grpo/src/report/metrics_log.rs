//! Writes the records of steps to `metrics.jsonl` or `warmup.jsonl` and to TensorBoard, and shows the progress line.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use rlar_run::{Events, Progress, Records, RunFolder};
use serde::Serialize;
use serde_json::Value;

use crate::TrainError;

/// The current time, in seconds since 1970 (UTC).
pub fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64())
}

/// The log of one phase of a run: a JSONL file of step records, TensorBoard events, and the progress line in the
/// terminal.
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

    /// Adds time and memory use to the record of step `step`, writes it, and updates the progress line.
    pub fn write(&mut self, step: u64, record: &impl Serialize) -> Result<(), TrainError> {
        let time = now();
        let mut record = serde_json::to_value(record)?;
        record["time"] = time.into();
        record["memory"] = serde_json::json!({ "resident": memory("VmRSS:"), "peak": memory("VmHWM:") });
        self.records.append(&record)?;
        if let Some(events) = &mut self.events {
            events.scalars(step, time, &scalars(&record))?;
        }
        self.progress.step(step, progress_line(&record));
        Ok(())
    }

    /// The records so far, lines of the file.
    pub fn records(&self) -> Result<Vec<Value>, TrainError> {
        Ok(self.records.read()?)
    }

    /// Syncs all records to disk, so that they survive a crash of the machine.
    pub fn sync(&self) -> Result<(), TrainError> {
        Ok(self.records.sync()?)
    }

    /// Prints a line above the progress line.
    pub fn say(&self, line: &str) {
        self.progress.say(line);
    }

    /// Removes the progress line from the terminal.
    pub fn finish(&self) {
        self.progress.finish();
    }
}

/// Memory of this process in bytes, from the line of `/proc/self/status` that starts with `name`; `None` if there is no
/// such file or line.
fn memory(name: &str) -> Option<u64> {
    let text = fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|l| l.strip_prefix(name))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kb| kb << 10)
}

/// One line of text with the most important numbers of a record.
fn progress_line(record: &Value) -> String {
    let number = |path: &str| record.pointer(path).and_then(Value::as_f64);
    let mut parts = Vec::new();
    parts.extend(number("/reward/mean").map(|x| format!("reward {x:.3}")));
    parts.extend(number("/accuracy").map(|x| format!("accuracy {:.1} %", 100.0 * x)));
    parts.extend(number("/kl/k3").map(|x| format!("KL {x:.4}")));
    if number("/reward/mean").is_none() {
        parts.extend(number("/loss").map(|x| format!("loss {x:.3}")));
    }
    parts.extend(number("/tokens_per_second/step").map(|x| format!("{x:.0} tok/s")));
    let phases = ["sampling", "scoring", "training"].map(|p| number(&format!("/seconds/{p}")).unwrap_or(0.0));
    let total: f64 = phases.iter().sum();
    let [sampling, scoring, training] = phases;
    if total > training {
        let percent = |seconds: f64| 100.0 * seconds / total;
        let (sample, score, train) = (percent(sampling), percent(scoring), percent(training));
        parts.push(format!("sample {sample:.0} % score {score:.0} % train {train:.0} %"));
    }
    parts.join("  ")
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
