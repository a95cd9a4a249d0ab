//! `run`: the run's folder and what is kept in it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The run's folder and what is kept in it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RunConfig {
    /// The folder, relative to the current one.
    pub folder: String,
    /// Steps between checkpoints.
    #[schemars(range(min = 1))]
    pub checkpoint_every: u64,
    /// Newest checkpoints that are kept.
    #[schemars(range(min = 1))]
    pub keep_last: usize,
    /// Checkpoints that are kept in addition, those with the best value of `eval.metric`; needs `eval.every`.
    pub keep_best: usize,
    /// Steps between files of rollouts.
    #[schemars(range(min = 1))]
    pub rollouts_every: u64,
    /// Longest wait for room on a full disk, in seconds.
    #[schemars(range(min = 0, max = 604_800))]
    pub disk_wait: f64,
}

impl Default for RunConfig {
    fn default() -> Self {
        Self {
            folder: "runs/run".into(),
            checkpoint_every: 25,
            keep_last: 2,
            keep_best: 0,
            rollouts_every: 1,
            disk_wait: 600.0,
        }
    }
}
