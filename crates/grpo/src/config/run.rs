//! Section `run`: the run's folder, and which checkpoints and rollouts it keeps.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The run's folder, and which checkpoints and rollouts it keeps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RunConfig {
    /// Path of the run's folder, relative to the current folder.
    pub folder: String,
    /// Number of training steps between two checkpoints.
    #[schemars(range(min = 1))]
    pub checkpoint_every: u64,
    /// Number of newest checkpoints that are kept.
    #[schemars(range(min = 1))]
    pub keep_last: usize,
    /// Number of checkpoints with the best values of `eval.metric` that are kept in addition; needs `eval.every`.
    pub keep_best: usize,
    /// Number of steps between two Parquet files of rollouts. The first step always writes one.
    #[schemars(range(min = 1))]
    pub rollouts_every: u64,
    /// Longest time that a write waits for free space on a full disk, in seconds. Then the run ends with an error.
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
