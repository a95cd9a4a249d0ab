//! From a job to its report.

use std::path::{Path, PathBuf};

use rlar_rewards::{CALIBRATION, STORE, Store};
use rlar_run::RunFolder;

use crate::TrainError;
use crate::config::Method;
use crate::report::summary::Report;
use crate::run::inputs::same_inputs;
use crate::run::job::Job;
use crate::run::resume::Begin;
use crate::run::setup::{assign, bar, disk, threads};
use crate::run::{policy as policy_run, reward_model as reward_run};

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
    if job.config.train.method != Method::RewardModel {
        let own = run.path().join(STORE);
        let store = job.config.rewards.store.as_ref().map_or(own, PathBuf::from);
        job.rewards.ensure_store(|| Store::open(&store));
    }
    let report = match job.config.train.method {
        Method::Grpo | Method::Sft => policy_run::train(&mut job, &run, begin)?,
        Method::RewardModel => reward_run::train(&mut job, &run, begin)?,
    };
    calibrate(&run, &job)?;
    run.write("report.json", &serde_json::to_vec_pretty(&report)?)?;
    run.write("report.txt", report.to_string().as_bytes())?;
    Ok(report)
}

/// Writes beside the cards of the run's tools how their scores were spread.
fn calibrate(run: &RunFolder, job: &Job) -> Result<(), TrainError> {
    let (library, store) = (job.rewards.library(), job.rewards.store());
    let calibrations = store.map(Store::calibrations).unwrap_or_default();
    for card in library.cards() {
        let calibration = library.identity(&card.name).and_then(|identity| calibrations.get(&identity));
        if let Some(calibration) = calibration {
            run.write(&format!("library/{}/{CALIBRATION}", card.name), &serde_json::to_vec_pretty(calibration)?)?;
        }
    }
    Ok(())
}
