//! The run of a policy that a Tinker server trains: reinforcement learning, with an evaluation before and after. The base model's
//! weights are not needed in this process.

use rlar_policy::{ModelSource, PolicyError};
use rlar_run::RunFolder;

use crate::TrainError;
use crate::engine::tinker::{ServedPolicy, TinkerEngine, TinkerRecord};
use crate::report::assignment_log::AssignmentLog;
use crate::report::final_report::Report;
use crate::run::job::Job;
use crate::run::policy::{evaluate_after, evaluate_before, grpo_loop, report};
use crate::run::prepare::{PolicyInput, Prepared, prepare};
use crate::run::resume::ResumePoint;
use crate::schedule::Stream;
use crate::update::train_state::{Counters, ProcessClock, TrainState};

/// The file of a run's folder with what is known of the server.
const RECORD: &str = "tinker.json";

/// Trains a policy on the server to the end of the job, downloads the adapter into `final/`, and returns the report.
/// `assignments` is the file to which the tools of drawn prompts are written.
pub fn train(
    job: &mut Job,
    run: &RunFolder,
    resume: ResumePoint,
    assignments: Option<AssignmentLog>,
) -> Result<Report, TrainError> {
    let config = &job.config.clone();
    let base = served_model(job)?;
    let mut policy = load(&base)?;
    let mut counters = resume.counters().cloned().unwrap_or_else(Counters::now);
    let clock = ProcessClock::new(job.began, &counters.seconds);
    policy.tokenizer.pin_today(counters.began);
    let earlier = if resume.is_resumed() { earlier_model(run)? } else { None };
    let input = PolicyInput { tokenizer: &policy.tokenizer, positions: policy.positions };
    let prepared = prepare(job, run, resume, input, Vec::new(), &mut counters, |_, _| Ok(()))?;
    let mut prepared = Prepared { assignments, ..prepared };

    let settings = config.train.tinker.clone().unwrap_or_default();
    let seed = Stream::Weights.seed(config.seed);
    let engine = TinkerEngine::start(&settings, policy, seed, earlier.as_deref())?;
    let trainer = match &prepared.checkpoint {
        Some(checkpoint) => engine.resumed(checkpoint, counters.optimizer_steps)?,
        None => engine.first()?,
    };
    let mut state = TrainState { trainer, counters };
    write_record(run, &state.trainer.record())?;
    if state.counters.step == 0 {
        prepared.enter_first(job)?;
    }
    let tokenizer = &engine.policy().tokenizer;
    let before = evaluate_before(job, run, &mut state, tokenizer)?;

    clock.count_outside(&mut state.counters.seconds);
    let (ended, mut journal) = grpo_loop(job, config, run, prepared, &mut state, tokenizer)?;

    let measured = evaluate_after(job, before, &mut state, tokenizer, &mut journal)?;
    run.write_folder("final", &state.trainer.adapter(&base)?)?;
    write_record(run, &state.trainer.record())?;
    let TrainState { trainer, mut counters } = state;
    trainer.unload();
    report(config, run, clock, &mut counters, ended, measured)
}

/// Where the base model's tokenizer and config are on this machine.
pub fn served_model(job: &Job) -> Result<ModelSource, TrainError> {
    job.model.clone().ok_or_else(|| PolicyError::Request("`model` names no policy".into()).into())
}

/// What this process needs to know of the served model.
pub fn load(base: &ModelSource) -> Result<ServedPolicy, TrainError> {
    ServedPolicy::load(base.clone()).map_err(|source| TrainError::Data { key: "model.path", source })
}

/// The server's id of the model that an earlier process of the run trained, which still has a place there; `None` if there
/// is none.
fn earlier_model(run: &RunFolder) -> Result<Option<String>, TrainError> {
    if !run.has(RECORD) {
        return Ok(None);
    }
    let record: TinkerRecord = serde_json::from_slice(&run.read(RECORD)?)?;
    Ok(Some(record.model_id))
}

fn write_record(run: &RunFolder, record: &TinkerRecord) -> Result<(), TrainError> {
    Ok(run.write(RECORD, &serde_json::to_vec_pretty(record)?)?)
}
