//! What a run is, in a line: its method, how far it is, and whether it is going on.

use std::fs;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;
use serde_json::Value;

use crate::bounded_file::{self, read_json};
use crate::catalogue::{FoundRun, other_version};
use crate::config_values::read_config;
use crate::metric_table::METRICS;

/// A run whose files have not changed for this long is not taken for one that goes on.
const STILL: Duration = Duration::from_mins(2);
/// Number of bytes at the end of the records in which the last step is looked for.
const END: u64 = 256 << 10;

/// A run in a line.
#[derive(Debug, PartialEq, Serialize)]
pub struct RunSummary {
    /// Its name, by which it is asked for.
    pub name: String,
    /// Its folder.
    pub path: String,
    /// The method: `grpo`, `sft` or `reward_model`; empty if the config does not say it.
    pub method: String,
    /// The seed.
    pub seed: Option<u64>,
    /// Number of steps that the config asks for.
    pub steps: Option<u64>,
    /// The last step that is recorded; `None` before the first.
    pub last_step: Option<u64>,
    /// Where it stands.
    pub state: RunState,
    /// Why it ended; `None` if it has not.
    pub ended: Option<String>,
    /// When a file last changed, in seconds since 1970.
    pub updated: Option<f64>,
    /// Why it cannot be shown, or what is wrong with it; `None` if all is well.
    pub problem: Option<String>,
}

/// Where a run stands, as its files tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// It has a report.
    Ended,
    /// Its files change.
    Active,
    /// It has no report, and its files have not changed for a while.
    Still,
}

/// Sums up a run. What cannot be read is left out or named in `problem`; nothing fails.
pub fn summary(run: &FoundRun) -> RunSummary {
    let config = read_config(&run.path);
    let (config, unread) = match config {
        Ok(config) => (config, None),
        Err(_) => (Value::Null, Some("its `config.yaml` cannot be read".to_owned())),
    };
    let at = |pointer: &str| config.pointer(pointer);
    let report = read_json(&run.path.join("report.json")).ok().flatten();
    let updated = updated(&run.path);
    let is_fresh = updated.is_some_and(|time| time.elapsed().is_ok_and(|age| age < STILL));
    let state = match (&report, is_fresh) {
        (Some(_), _) => RunState::Ended,
        (None, true) => RunState::Active,
        (None, false) => RunState::Still,
    };
    RunSummary {
        name: run.name.clone(),
        path: run.path.display().to_string(),
        method: at("/train/method").and_then(Value::as_str).unwrap_or_default().to_owned(),
        seed: at("/seed").and_then(Value::as_u64),
        steps: at("/train/steps").and_then(Value::as_u64),
        last_step: last_step(&run.path),
        state,
        ended: report.as_ref().and_then(|report| report.get("ended")?.as_str().map(str::to_owned)),
        updated: updated.and_then(|time| time.duration_since(UNIX_EPOCH).ok()).map(|since| since.as_secs_f64()),
        problem: other_version(&run.path).or(unread),
    }
}

/// When one of the files that grow with every step last changed.
fn updated(run: &Path) -> Option<SystemTime> {
    let files = [METRICS, "journal.jsonl", "warmup.jsonl", "config.yaml"];
    files.iter().filter_map(|file| fs::metadata(run.join(file)).ok()?.modified().ok()).max()
}

/// The step of the last finished record; `None` if there is none at the end of the file.
fn last_step(run: &Path) -> Option<u64> {
    let mut file = bounded_file::open(&run.join(METRICS)).ok()?;
    let length = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(END))).ok()?;
    let mut end = Vec::new();
    file.take(END).read_to_end(&mut end).ok()?;
    let finished = &end[..=end.iter().rposition(|byte| *byte == b'\n')?];
    let step = |line: &[u8]| serde_json::from_slice::<Value>(line).ok()?.get("step")?.as_u64();
    finished.rsplit(|byte| *byte == b'\n').find_map(step)
}
