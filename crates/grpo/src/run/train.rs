//! Runs a job from start to end, for every training method.

use std::path::{Path, PathBuf};

use rlar_rewards::{CALIBRATION, JUDGES, PRINTS, STORE, Store};
use rlar_run::{Computation, ENVIRONMENT, ProcessEnvironment, RunFolder};
use serde_json::json;

use crate::TrainError;
use crate::config::{Method, TrainingEngine};
use crate::report::final_report::Report;
use crate::run::assign_tools::assign_tools;
use crate::run::inputs::check_inputs;
use crate::run::job::Job;
use crate::run::resume::ResumePoint;
use crate::run::setup::{disk, restore_threads};
use crate::run::{policy, reward_model, tinker};
use crate::update::train_state::Counters;

/// Runs or continues a job to its end, writes `report.json` and `report.txt`, and returns the report.
pub fn train(mut job: Job) -> Result<Report, TrainError> {
    let run = RunFolder::open(Path::new(&job.config.run.folder), job.resume, disk(&job.config))?;
    let (resume, notes) = ResumePoint::find(&run, &job)?;
    check_inputs(&run, &job, resume.is_resumed())?;
    for note in notes {
        job.output.say(&note);
        job.output.event("note", json!({ "message": note }));
    }
    announce(&job, resume.counters());
    let activity = job.rewards.activity().clone();
    job.suites.iter_mut().for_each(|suite| suite.report_to(&activity));
    restore_threads(&run, resume.counters())?;
    record_environment(&run, &job, resume.counters())?;
    let assignments = assign_tools(&run, &mut job, resume.counters().map(|counters| counters.step))?;
    if job.config.train.method != Method::RewardModel {
        let default = run.path().join(STORE);
        let store = job.config.rewards.store.as_ref().map_or(default, PathBuf::from);
        if !job.config.rewards.python.is_empty() {
            if !resume.is_resumed() {
                run.clear(&[PRINTS])?;
            }
            job.rewards.functions().log_to(&run.path().join(PRINTS))?;
        }
        if let Some(llm) = &job.config.rewards.llm {
            if !resume.is_resumed() {
                run.clear(&[JUDGES, "judges-before.jsonl"])?;
            }
            job.rewards.log_judges(&run.path().join(JUDGES), llm.secrets())?;
        }
        job.rewards.ensure_store(|| Store::open(&store));
    }
    let report = match job.config.train.method {
        Method::Grpo if job.config.train.engine == TrainingEngine::Tinker => {
            tinker::train(&mut job, &run, resume, assignments)?
        }
        Method::Grpo | Method::Sft => policy::train(&mut job, &run, resume, assignments)?,
        Method::RewardModel => reward_model::train(&mut job, &run, resume)?,
    };
    write_calibrations(&run, &job)?;
    run.write("report.json", &serde_json::to_vec_pretty(&report)?)?;
    run.write("report.txt", report.to_string().as_bytes())?;
    Ok(report)
}

/// Prints the JSON event `start` with the sizes of the job. `counters` are those of the earlier run that is continued;
/// `None` for a new run.
fn announce(job: &Job, counters: Option<&Counters>) {
    let config = &job.config;
    let start = json!({
        "run": config.run.folder,
        "method": config.train.method,
        "seed": config.seed,
        "warmup_steps": config.warmup.steps,
        "steps": config.train.steps,
        "warmup_done": counters.map_or(0, |counters| counters.warmup),
        "done": counters.map_or(0, |counters| counters.step),
        "prompts": job.train.len(),
        "demonstrations": job.demonstrations.len(),
        "preferences": job.preferences.len(),
        "heldout": job.heldout.len() + job.heldout_preferences.len(),
    });
    job.output.event("start", start);
}

/// Writes down what this process computes on, after the lines of the earlier processes of the run. `counters` are those of the
/// earlier run that is continued; `None` for a new run.
fn record_environment(run: &RunFolder, job: &Job, counters: Option<&Counters>) -> Result<(), TrainError> {
    if counters.is_none() {
        run.clear(&[ENVIRONMENT])?;
    }
    let step = counters.map_or(0, |counters| counters.step);
    let computation = Computation { step, threads: rayon::current_num_threads(), device: &job.config.device };
    // A process whose steps are taken again stays in the record, too.
    let mut records = run.records(ENVIRONMENT, u64::MAX)?;
    records.append(&ProcessEnvironment::now(&job.build, computation))?;
    Ok(records.sync()?)
}

/// Writes the distribution of each tool's scores to the run's folder, as `library/TOOL/calibration.json`.
fn write_calibrations(run: &RunFolder, job: &Job) -> Result<(), TrainError> {
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
