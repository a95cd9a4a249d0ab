//! The loop.

use std::path::Path;
use std::sync::atomic::Ordering;

use rlar_policy::Moments;
use rlar_run::{Progress, Records, RunFolder};
use serde_json::Value;

use crate::TrainError;
use crate::config::Method;
use crate::job::Job;
use crate::report::Report;
use crate::setup::{assign, before, fresh, measure, prompts_fit, reference, same_inputs};
use crate::sft::{Demonstration, demonstrations};
use crate::state::State;
use crate::step::{grpo_step, sft_control, warmup_step};

/// Runs a job to its end.
pub fn train(mut job: Job) -> Result<Report, TrainError> {
    let config = job.config.clone();
    let run = RunFolder::open(Path::new(&config.run.folder), job.resume)?;
    same_inputs(&run, &job)?;
    assign(&run, &mut job)?;
    let shown = job.progress;
    let bar = |title: &str, total, done| if shown { Progress::new(title, total, done) } else { Progress::hidden() };

    let resumed = if job.resume { State::newest(&run, &config, |line| bar("", 0, 0).say(line))? } else { None };
    let mut state = resumed.map_or_else(|| fresh(&job), Ok)?;
    prompts_fit(&state.policy, &job)?;
    let demonstrations = demonstrations(&state.policy, &job.demonstrations, config.data.format)?;
    let progress = bar("warm-up", config.warmup.steps, state.warmup);
    warm_up(&mut state, &job, &run, &demonstrations, &progress)?;
    let start = reference(&run, &state, &config)?;
    let before = before(&run, &start, &mut job, &mut state)?;

    let mut metrics = run.records("metrics.jsonl", state.step)?;
    let mut written = run.records("rollouts.jsonl", state.step)?;
    let progress = bar("train", config.train.steps, state.step);
    let minutes = config.train.max_minutes;
    while state.step < config.train.steps && (minutes == 0.0 || state.seconds.reinforcement() < minutes * 60.0) {
        let record = match config.train.method {
            Method::Grpo => grpo_step(&mut state, &start, &mut job, &mut written)?,
            Method::Sft => sft_control(&mut state, &config, &demonstrations)?,
        };
        state.step += 1;
        metrics.append(&record)?;
        progress.step(state.step, figures(&record));
        let due = state.step.is_multiple_of(config.run.checkpoint_every);
        save_or_stop(&state, &job, &run, due, &[&metrics, &written], &progress)?;
    }
    progress.finish();
    let after = measure(&state.policy.clone(), &mut job, &mut state)?;
    metrics.sync()?;
    written.sync()?;
    state.save(&run.checkpoints(), config.run.keep_last)?;
    if state.policy.layout().lora().is_some() {
        run.write_folder("adapter", &state.policy.files()?)?;
    }
    run.write_folder("final", &state.policy.merged()?.files()?)?;
    let report = Report { before, after, steps: state.step, seconds: state.seconds };
    run.write("report.json", &serde_json::to_vec_pretty(&report)?)?;
    run.write("report.txt", report.to_string().as_bytes())?;
    Ok(report)
}

/// Supervised steps up to the start of reinforcement learning, which begins with fresh moments.
fn warm_up(
    state: &mut State,
    job: &Job,
    run: &RunFolder,
    data: &[Demonstration],
    progress: &Progress,
) -> Result<(), TrainError> {
    let mut losses = run.records("warmup.jsonl", state.warmup)?;
    let steps = job.config.warmup.steps;
    while state.warmup < steps {
        let record = warmup_step(state, &job.config, data)?;
        state.warmup += 1;
        losses.append(&record)?;
        progress.step(state.warmup, figures(&record));
        if state.warmup == steps && job.config.train.method == Method::Grpo {
            state.moments = Moments::zeros(&state.policy.decoder);
        }
        // Warm-up steps are short: ten checkpoints, the last at the end.
        let due = state.warmup == steps || state.warmup.is_multiple_of(steps.div_ceil(10));
        save_or_stop(state, job, run, due, &[&losses], progress)?;
    }
    progress.finish();
    Ok(())
}

/// Saves when it is due or when the run is to stop; ends the run in the latter case.
fn save_or_stop(
    state: &State,
    job: &Job,
    run: &RunFolder,
    due: bool,
    records: &[&Records],
    progress: &Progress,
) -> Result<(), TrainError> {
    let stop = job.interrupted.load(Ordering::SeqCst);
    if stop || due {
        records.iter().try_for_each(|r| r.sync())?;
        state.save(&run.checkpoints(), job.config.run.keep_last)?;
    }
    if stop {
        progress.finish();
        return Err(TrainError::Interrupted { warmup: state.warmup, step: state.step });
    }
    Ok(())
}

fn figures(record: &Value) -> String {
    let f = |key: &str| record[key].as_f64();
    let mut parts = Vec::new();
    parts.extend(f("reward").map(|x| format!("reward {x:.3}")));
    parts.extend(f("accuracy").map(|x| format!("accuracy {:.1} %", 100.0 * x)));
    parts.extend(f("kl").map(|x| format!("KL {x:.4}")));
    if parts.is_empty() {
        parts.extend(f("loss").map(|x| format!("loss {x:.3}")));
    }
    parts.extend(f("tokens_per_second").map(|x| format!("{x:.0} tok/s")));
    parts.join("  ")
}
