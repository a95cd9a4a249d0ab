//! Statistics of the logged calls of every tool, and the distribution of scores that is kept in a tool's folder.

use std::collections::BTreeMap;
use std::path::Path;

use rusqlite::Connection;
use serde::{Deserialize, Serialize};

use crate::RewardError;
use crate::cache::store::{Store, connect_to_read};

/// The name of the file in a tool's folder that holds the distribution of the tool's scores in earlier training.
pub const CALIBRATION: &str = "calibration.json";

/// The distribution of the scores that a tool gave: how many there are, their mean, deviation and quantiles.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ScoreSpread {
    /// Number of scores.
    pub scores: u64,
    /// Mean of the scores.
    pub mean: f64,
    /// Standard deviation of the scores, with their number (not one less) as the divisor.
    pub deviation: f64,
    /// Minimum, lower quartile, median, upper quartile and maximum of the scores.
    pub quantiles: [f64; 5],
}

impl ScoreSpread {
    /// Computes the distribution of `scores`, which may be in any order. All numbers are 0 when there are no scores.
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

/// The distributions of a tool's scores: one for each task, by the name of the task.
pub type Calibration = BTreeMap<String, ScoreSpread>;

/// Statistics of the logged calls of one tool.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CallStatistics {
    /// The tool's name.
    pub tool: String,
    /// The tool's content hash: of its card, its code and its parts.
    pub identity: String,
    /// Number of calls, where one call scores one reply; those answered from the cache are included.
    pub calls: u64,
    /// Number of calls that were answered from the cache.
    pub cached: u64,
    /// Number of calls in which the tool abstained.
    pub abstained: u64,
    /// Number of calls that failed.
    pub failed: u64,
    /// Mean time of the calls that were not answered from the cache, in seconds; 0 when there are none.
    pub seconds: f64,
    /// Number of tokens of a language model that all calls used, in prompts and answers.
    pub tokens: u64,
    /// The text of the last failure; `None` when no call failed.
    pub last_failure: Option<String>,
    /// The distribution of the tool's scores, for each task.
    pub calibration: Calibration,
}

/// The statistics of every tool in a file of logged calls (`scores.sqlite`), in the order of tool names. If a tool was
/// changed, each of its versions has its own statistics, in the order of their first calls.
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
    /// The distributions of scores in the calls that were logged so far, by the content hash of the tool and then by
    /// task. Empty when the file cannot be used.
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

/// The distributions of the logged scores, by the content hash of the tool and then by task.
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
