//! What a run writes for people to read: a record per step, rollouts as Parquet files, and the final report.

pub mod step_record;
pub(crate) mod grpo_metrics;
pub mod metrics_log;
pub mod rollout_files;
pub(crate) mod hints;
pub mod assignment_log;
pub mod final_report;
