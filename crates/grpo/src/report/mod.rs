//! What a run leaves for people: the record of every step, rollouts as Parquet, and the final report.

pub(crate) mod log;
pub(crate) mod metrics;
pub mod summary;
