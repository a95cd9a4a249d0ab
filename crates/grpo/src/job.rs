//! What a run is made from.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use rlar_data::{Example, Preference};
use rlar_rewards::Orchestrator;
use rlar_run::RunFolder;

use crate::config::{Config, Method};
use crate::report::Report;
use crate::setup::{assign, bar, disk, same_inputs, threads};
use crate::state::newest;
use crate::{TrainError, policy_run, reward_run};

/// Everything that a run is a function of.
pub struct Job<'a> {
    /// The checked config.
    pub config: Config,
    /// Prompts to train on.
    pub train: Vec<Example>,
    /// Prompts to measure on.
    pub heldout: Vec<Example>,
    /// Replies to imitate.
    pub demonstrations: Vec<Example>,
    /// Pairs of replies to learn a reward from.
    pub preferences: Vec<Preference>,
    /// Pairs of replies to measure on.
    pub heldout_preferences: Vec<Preference>,
    /// Reward tools.
    pub rewards: Orchestrator,
    /// Whether to continue what the folder holds.
    pub resume: bool,
    /// Set from outside to stop after the current step.
    pub interrupted: &'a AtomicBool,
    /// Whether to show progress.
    pub progress: bool,
}

/// Runs a job to its end.
pub fn train(mut job: Job) -> Result<Report, TrainError> {
    let run = RunFolder::open(Path::new(&job.config.run.folder), job.resume, disk(&job.config))?;
    same_inputs(&run, &job)?;
    let checkpoint = if job.resume { newest(&run, |line| bar(&job, "", 0, 0).say(line))? } else { None };
    threads(checkpoint.as_ref())?;
    assign(&run, &mut job, checkpoint.is_some())?;
    let report = match job.config.train.method {
        Method::Grpo | Method::Sft => policy_run::train(&mut job, &run, checkpoint.as_ref())?,
        Method::RewardModel => reward_run::train(&mut job, &run, checkpoint.as_ref())?,
    };
    run.write("report.json", &serde_json::to_vec_pretty(&report)?)?;
    run.write("report.txt", report.to_string().as_bytes())?;
    Ok(report)
}
