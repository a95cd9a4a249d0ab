//! From a job to its report.

use std::path::Path;

use rlar_run::RunFolder;

use crate::begin::Begin;
use crate::config::Method;
use crate::inputs::same_inputs;
use crate::job::Job;
use crate::report::Report;
use crate::setup::{assign, bar, disk, threads};
use crate::{TrainError, policy_run, reward_run};

/// Runs a job to its end.
pub fn train(mut job: Job) -> Result<Report, TrainError> {
    let run = RunFolder::open(Path::new(&job.config.run.folder), job.resume, disk(&job.config))?;
    let (begin, notes) = Begin::of(&run, &job)?;
    same_inputs(&run, &job, begin.is_resumed())?;
    for note in notes {
        bar(&job, "", 0, 0).say(&note);
    }
    threads(&run, begin.ledger())?;
    assign(&run, &mut job, begin.is_resumed())?;
    let report = match job.config.train.method {
        Method::Grpo | Method::Sft => policy_run::train(&mut job, &run, begin)?,
        Method::RewardModel => reward_run::train(&mut job, &run, begin)?,
    };
    run.write("report.json", &serde_json::to_vec_pretty(&report)?)?;
    run.write("report.txt", report.to_string().as_bytes())?;
    Ok(report)
}
