//! What tools said so far: statistics of the audit log, and what a card's folder keeps of them.

use std::collections::BTreeMap;
use std::path::Path;

use rusqlite::Connection;
use serde::{Deserialize, Serialize};

use crate::RewardError;
use crate::cache::store::{Store, connect_to_read};

/// The file with a tool's calibration, in its folder.
pub const CALIBRATION: &str = "calibration.json";

/// How scores are spread.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// Scores seen.
    pub scores: u64,
    /// Their mean.
    pub mean: f64,
    /// Their standard deviation.
    pub deviation: f64,
    /// The lowest, the quartiles and the highest.
    pub quantiles: [f64; 5],
}

impl Spread {
    /// Of scores in no order.
    pub fn of(mut scores: Vec<f64>) -> Self {
        if scores.is_empty() {
            return Self::default();
        }
        scores.sort_by(f64::total_cmp);
        let n = scores.len() as f64;
        let mean = scores.iter().sum::<f64>() / n;
        let variance = scores.iter().map(|s| (s - mean).powi(2)).sum::<f64>() / n;
        let at = |q: f64| scores[(q * (n - 1.0)).round() as usize];
        let quantiles = [0.0, 0.25, 0.5, 0.75, 1.0].map(at);
        Self { scores: scores.len() as u64, mean, deviation: variance.sqrt(), quantiles }
    }
}

/// The spread of a tool's scores by task.
pub type Calibration = BTreeMap<String, Spread>;

/// What the audit log says of one tool.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ToolStatistics {
    /// The tool.
    pub tool: String,
    /// Its content hash.
    pub identity: String,
    /// Calls, those that were remembered included.
    pub calls: u64,
    /// Calls that were answered from memory.
    pub cached: u64,
    /// Calls without a score because the example is not of the tool's kind.
    pub abstained: u64,
    /// Calls that failed.
    pub failed: u64,
    /// Mean seconds of a call that was not remembered.
    pub seconds: f64,
    /// Tokens of a language model.
    pub tokens: u64,
    /// The last failure.
    pub last_failure: Option<String>,
    /// The scores, by task.
    pub calibration: Calibration,
}

/// The statistics of every tool in a file of calls.
pub fn statistics(path: &Path) -> Result<Vec<ToolStatistics>, RewardError> {
    let unreadable = |e: rusqlite::Error| {
        let message = format!("cannot be read: {e}; a run or `rlar score --cache` writes it");
        RewardError::Store { path: path.to_owned(), message }
    };
    let mut connection = connect_to_read(path).map_err(unreadable)?;
    read(&mut connection).map_err(unreadable)
}

impl Store {
    /// The spread of every tool's scores so far, by task: content hash of the tool, and its calibration.
    pub fn calibrations(&self) -> BTreeMap<String, Calibration> {
        self.read(|connection| calibrations(connection)).unwrap_or_default()
    }
}

fn read(connection: &mut Connection) -> rusqlite::Result<Vec<ToolStatistics>> {
    let mut tools = connection.prepare(
        "SELECT tool, identity, count(*), sum(cached), sum(outcome = 'abstained'), sum(outcome = 'failed'),
                coalesce(avg(CASE WHEN cached THEN NULL ELSE seconds END), 0), sum(tokens)
         FROM calls GROUP BY tool, identity ORDER BY tool, min(rowid)",
    )?;
    let rows = tools.query_map([], |row| {
        let count = |i: usize| row.get::<_, i64>(i).map(|n| n as u64);
        Ok(ToolStatistics {
            tool: row.get(0)?,
            identity: row.get(1)?,
            calls: count(2)?,
            cached: count(3)?,
            abstained: count(4)?,
            failed: count(5)?,
            seconds: row.get(6)?,
            tokens: count(7)?,
            last_failure: None,
            calibration: Calibration::new(),
        })
    })?;
    let mut statistics = rows.collect::<rusqlite::Result<Vec<_>>>()?;
    let mut calibrations = calibrations(connection)?;
    for s in &mut statistics {
        let last = "SELECT why FROM calls WHERE tool = ?1 AND identity = ?2 AND outcome = 'failed' ORDER BY rowid DESC LIMIT 1";
        s.last_failure =
            connection.prepare_cached(last)?.query_map([&s.tool, &s.identity], |r| r.get(0))?.next().transpose()?;
        s.calibration = calibrations.remove(&s.identity).unwrap_or_default();
    }
    Ok(statistics)
}

fn calibrations(connection: &Connection) -> rusqlite::Result<BTreeMap<String, Calibration>> {
    let mut query = connection.prepare("SELECT identity, task, score FROM calls WHERE outcome = 'scored'")?;
    let mut tools: BTreeMap<String, BTreeMap<String, Vec<f64>>> = BTreeMap::new();
    let mut rows = query.query([])?;
    while let Some(row) = rows.next()? {
        let (identity, task): (String, String) = (row.get(0)?, row.get(1)?);
        tools.entry(identity).or_default().entry(task).or_default().push(row.get(2)?);
    }
    let spread = |(task, scores)| (task, Spread::of(scores));
    Ok(tools.into_iter().map(|(tool, tasks)| (tool, tasks.into_iter().map(spread).collect())).collect())
}
