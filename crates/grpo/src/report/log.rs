//! What a run leaves for people: `metrics.jsonl`, TensorBoard's events, rollouts as Parquet, and the live line.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use rlar_data::{Column, Example, parquet};
use rlar_run::{Disk, Events, Progress, Records, RunError, RunFolder, sync_or_rewrite};
use serde_json::Value;

use crate::TrainError;
use crate::report::metrics::scalars;
use crate::rollouts::collect::Batch;
use crate::rollouts::rollout::Group;

/// Seconds since 1970.
pub fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64())
}

/// Records of the steps of one phase.
#[derive(Debug)]
pub struct Log {
    records: Records,
    events: Option<Events>,
    progress: Progress,
}

impl Log {
    /// Opens the records of a phase, cut back to `done` steps. With `board`, TensorBoard's events are written anew from
    /// them.
    pub fn open(run: &RunFolder, file: &str, done: u64, board: bool, progress: Progress) -> Result<Self, TrainError> {
        let records = run.records(file, done)?;
        let mut events = None;
        if board {
            let mut fresh = run.events(now())?;
            for record in records.read()? {
                let step = record["step"].as_u64().unwrap_or(0);
                fresh.scalars(step, record["time"].as_f64().unwrap_or(0.0), &scalars(&record))?;
            }
            events = Some(fresh);
        }
        Ok(Self { records, events, progress })
    }

    /// Writes the record of a step, and shows it.
    pub fn step(&mut self, mut record: Value) -> Result<(), TrainError> {
        let (step, time) = (record["step"].as_u64().unwrap_or(0), now());
        record["time"] = time.into();
        record["memory"] = serde_json::json!({ "resident": resident("VmRSS:"), "peak": resident("VmHWM:") });
        self.records.append(&record)?;
        if let Some(events) = &mut self.events {
            events.scalars(step, time, &scalars(&record))?;
        }
        self.progress.step(step, figures(&record));
        Ok(())
    }

    /// Makes everything written so far survive a crash of the machine.
    pub fn sync(&self) -> Result<(), TrainError> {
        Ok(self.records.sync()?)
    }

    /// Prints a line above the live one.
    pub fn say(&self, line: &str) {
        self.progress.say(line);
    }

    /// Removes the live line.
    pub fn finish(&self) {
        self.progress.finish();
    }
}

/// Bytes of memory by the name that the system has for them.
fn resident(name: &str) -> Option<u64> {
    let text = fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|l| l.strip_prefix(name))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kb| kb << 10)
}

fn figures(record: &Value) -> String {
    let f = |path: &str| record.pointer(path).and_then(Value::as_f64);
    let mut parts = Vec::new();
    parts.extend(f("/reward/mean").map(|x| format!("reward {x:.3}")));
    parts.extend(f("/accuracy").map(|x| format!("accuracy {:.1} %", 100.0 * x)));
    parts.extend(f("/kl/k3").map(|x| format!("KL {x:.4}")));
    if f("/reward/mean").is_none() {
        parts.extend(f("/loss").map(|x| format!("loss {x:.3}")));
    }
    parts.extend(f("/tokens_per_second/step").map(|x| format!("{x:.0} tok/s")));
    let phases = ["sampling", "scoring", "training"].map(|p| f(&format!("/seconds/{p}")).unwrap_or(0.0));
    let total: f64 = phases.iter().sum();
    if total > phases[2] {
        let [s, v, t] = phases.map(|p| 100.0 * p / total);
        parts.push(format!("sample {s:.0} % score {v:.0} % train {t:.0} %"));
    }
    parts.join("  ")
}

/// Files of rollouts that are not yet known to survive a crash of the machine.
#[derive(Debug)]
pub struct Rollouts {
    folder: PathBuf,
    disk: Disk,
    unsynced: Vec<PathBuf>,
}

impl Rollouts {
    /// The folder `rollouts/` of a run, without files of steps after `done`.
    pub fn open(run: &RunFolder, disk: Disk, done: u64) -> Result<Self, TrainError> {
        let folder = run.path().join("rollouts");
        let step = |path: &PathBuf| path.file_stem()?.to_str()?.strip_prefix("step-")?.parse::<u64>().ok();
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if step(&path).is_some_and(|step| step > done) {
                fs::remove_file(&path).map_err(|source| RunError::Io { path, action: "cannot remove", source })?;
            }
        }
        Ok(Self { folder, disk, unsynced: Vec::new() })
    }

    /// Writes the rollouts of a step: TRL's columns (`step`, `prompt`, `completion`, one per tool, `advantage`), then
    /// ours.
    pub fn write(
        &mut self,
        step: u64,
        batch: &Batch,
        advantages: &[Vec<Option<f64>>],
        examples: &[Example],
    ) -> Result<(), TrainError> {
        let groups: Vec<&Group> = batch.drawn().collect();
        // What was replaced was not learned from.
        let replaced = batch.replaced.iter().map(|g| vec![None; g.replies.len()]);
        let advantages: Vec<Vec<Option<f64>>> = advantages.iter().cloned().chain(replaced).collect();
        let bytes = parquet(&columns(step, &groups, &advantages, examples))
            .map_err(|e| TrainError::Rollouts { step, message: e.to_string() })?;
        let path = self.folder.join(format!("step-{step:06}.parquet"));
        let temporary = path.with_extension("tmp");
        let io = |path: &PathBuf| {
            let path = path.clone();
            move |source| RunError::Io { path, action: "cannot write", source }
        };
        self.disk.write(|| {
            fs::create_dir_all(&self.folder).map_err(io(&self.folder))?;
            fs::write(&temporary, &bytes).map_err(io(&temporary))?;
            fs::rename(&temporary, &path).map_err(io(&path))
        })?;
        self.unsynced.push(path);
        Ok(())
    }

    /// Makes everything written so far survive a crash of the machine.
    pub fn sync(&mut self) -> Result<(), TrainError> {
        while let Some(path) = self.unsynced.last() {
            sync_or_rewrite(path, self.disk)?;
            self.unsynced.pop();
        }
        Ok(())
    }
}

fn columns(
    step: u64,
    groups: &[&Group],
    advantages: &[Vec<Option<f64>>],
    examples: &[Example],
) -> Vec<(String, Column)> {
    let rows = || groups.iter().enumerate().flat_map(|(g, group)| group.replies.iter().map(move |r| (g, group, r)));
    let text = |f: &dyn Fn(&Example) -> String| Column::Text(rows().map(|(_, g, _)| f(&examples[g.example])).collect());
    let whole = |f: &dyn Fn(usize, &crate::rollouts::rollout::Rollout) -> i64| {
        Column::Whole(rows().map(|(g, _, r)| f(g, r)).collect())
    };
    let tools: BTreeSet<&str> = rows().flat_map(|(_, _, r)| &r.scores.tools).map(|s| &*s.tool).collect();
    let score = |tool: &str| {
        let of = |r: &crate::rollouts::rollout::Rollout| r.scores.get(tool).and_then(|score| score.outcome.score());
        Column::Number(rows().map(|(_, _, r)| of(r)).collect())
    };
    let json = |value: Result<String, serde_json::Error>| value.unwrap_or_default();
    let ours = vec![
        ("example".to_owned(), text(&|e| e.id.clone())),
        ("group".to_owned(), whole(&|g, _| g as i64)),
        ("reference".to_owned(), text(&|e| e.reference.clone().unwrap_or_default())),
        ("reward".to_owned(), Column::Number(rows().map(|(_, _, r)| r.scores.total()).collect())),
        ("tokens".to_owned(), whole(&|_, r| r.tokens.len() as i64)),
        (
            "finish".to_owned(),
            Column::Text(rows().map(|(_, _, r)| json(serde_json::to_string(&r.finish)).replace('"', "")).collect()),
        ),
        ("audit".to_owned(), Column::Number(rows().map(|(_, _, r)| r.audit).collect())),
        ("verdicts".to_owned(), Column::Text(rows().map(|(_, _, r)| json(serde_json::to_string(&r.scores))).collect())),
    ];
    let mut columns = vec![
        ("step".to_owned(), whole(&|_, _| step as i64)),
        ("prompt".to_owned(), text(&|e| e.prompt().to_owned())),
        ("completion".to_owned(), Column::Text(rows().map(|(_, _, r)| r.text.clone()).collect())),
    ];
    let taken: Vec<String> = columns.iter().chain(&ours).map(|(name, _)| name.clone()).collect();
    columns.extend(tools.into_iter().map(|tool| {
        let clash = tool == "advantage" || taken.iter().any(|name| name == tool);
        (if clash { format!("tool_{tool}") } else { tool.to_owned() }, score(tool))
    }));
    columns.push(("advantage".to_owned(), Column::Number(advantages.iter().flatten().copied().collect())));
    columns.extend(ours);
    columns
}
