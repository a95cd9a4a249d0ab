//! Statistics of the logged calls by tool, and the distribution of scores that a tool's folder keeps.

use std::collections::BTreeMap;
use std::path::Path;

use rusqlite::Connection;
use serde::{Deserialize, Serialize};

use crate::RewardError;
use crate::cache::store::{Store, connect_to_read};

/// The name of the file with a tool's calibration, in the tool's folder.
pub const CALIBRATION: &str = "calibration.json";

/// The distribution of scores.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ScoreSpread {
    /// Number of scores.
    pub scores: u64,
    /// Their mean.
    pub mean: f64,
    /// Their standard deviation.
    pub deviation: f64,
    /// Minimum, lower quartile, median, upper quartile and maximum.
    pub quantiles: [f64; 5],
}

impl ScoreSpread {
    /// The distribution of scores in any order; all zero for none.
    pub fn of(mut scores: Vec<f64>) -> Self {
        if scores.is_empty() {
            return Self::default();
        }
        scores.sort_by(f64::total_cmp);
        let n = scores.len() as f64;
        let mean = scores.iter().sum::<f64>() / n;
        let variance = scores.iter().map(|s| (s - mean).powi(2)).sum::<f64>() / n;
        let quantile = |q: f64| scores[(q * (n - 1.0)).round() as usize];
        let quantiles = [0.0, 0.25, 0.5, 0.75, 1.0].map(quantile);
        Self { scores: scores.len() as u64, mean, deviation: variance.sqrt(), quantiles }
    }
}

/// The distribution of a tool's scores by task.
pub type Calibration = BTreeMap<String, ScoreSpread>;

/// The logged calls of one tool.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CallStatistics {
    /// The tool's name.
    pub tool: String,
    /// The tool's content hash.
    pub identity: String,
    /// Number of calls, cached ones included.
    pub calls: u64,
    /// Calls that were answered from the cache.
    pub cached: u64,
    /// Calls in which the tool abstained.
    pub abstained: u64,
    /// Calls that failed.
    pub failed: u64,
    /// Mean seconds of a call that was not cached.
    pub seconds: f64,
    /// Tokens of a language model, over all calls.
    pub tokens: u64,
    /// The text of the last failure; `None` when no call failed.
    pub last_failure: Option<String>,
    /// The distribution of the scores, by task.
    pub calibration: Calibration,
}

/// The statistics of every tool in a file of calls, by tool name and first call.
///
/// # Errors
///
/// When the file cannot be read.
pub fn statistics(path: &Path) -> Result<Vec<CallStatistics>, RewardError> {
    let unreadable = |e: rusqlite::Error| {
        let message = format!("cannot be read: {e}; a run or `rlar score --cache` writes it");
        RewardError::Store { path: path.to_owned(), message }
    };
    let mut connection = connect_to_read(path).map_err(unreadable)?;
    read(&mut connection).map_err(unreadable)
}

impl Store {
    /// The calibrations from the calls so far, by the tools' content hashes; empty when the file cannot be used.
    pub fn calibrations(&self) -> BTreeMap<String, Calibration> {
        self.read(|connection| calibrations(connection)).unwrap_or_default()
    }
}

fn read(connection: &mut Connection) -> rusqlite::Result<Vec<CallStatistics>> {
    let mut tools = connection.prepare(
        "SELECT tool, identity, count(*), sum(cached), sum(outcome = 'abstained'), sum(outcome = 'failed'),
                coalesce(avg(CASE WHEN cached THEN NULL ELSE seconds END), 0), sum(tokens)
         FROM calls GROUP BY tool, identity ORDER BY tool, min(rowid)",
    )?;
    let rows = tools.query_map([], |row| {
        let count = |i: usize| row.get::<_, i64>(i).map(|n| n as u64);
        Ok(CallStatistics {
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

/// The calibrations by content hash.
fn calibrations(connection: &Connection) -> rusqlite::Result<BTreeMap<String, Calibration>> {
    let mut query = connection.prepare("SELECT identity, task, score FROM calls WHERE outcome = 'scored'")?;
    let mut tools: BTreeMap<String, BTreeMap<String, Vec<f64>>> = BTreeMap::new();
    let mut rows = query.query([])?;
    while let Some(row) = rows.next()? {
        let (identity, task): (String, String) = (row.get(0)?, row.get(1)?);
        tools.entry(identity).or_default().entry(task).or_default().push(row.get(2)?);
    }
    let spread = |(task, scores)| (task, ScoreSpread::of(scores));
    Ok(tools.into_iter().map(|(tool, tasks)| (tool, tasks.into_iter().map(spread).collect())).collect())
}
