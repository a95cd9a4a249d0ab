//! From a job to its report.

use std::path::Path;

use rlar_run::RunFolder;

use crate::config::Method;
use crate::inputs::same_inputs;
use crate::job::Job;
use crate::report::Report;
use crate::setup::{assign, bar, disk, threads};
use crate::state::newest;
use crate::{TrainError, policy_run, reward_run};

/// Runs a job to its end.
pub fn train(mut job: Job) -> Result<Report, TrainError> {
    let run = RunFolder::open(Path::new(&job.config.run.folder), job.resume, disk(&job.config))?;
    same_inputs(&run, &job)?;
    let checkpoint = if job.resume { newest(&run, |line| bar(&job, "", 0, 0).say(line))? } else { None };
    if job.resume && checkpoint.is_none() {
        bar(&job, "", 0, 0).say("no checkpoint yet: starting from the beginning");
    }
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
