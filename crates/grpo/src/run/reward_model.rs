//! The run of a reward model: the vocabulary head of a language model is replaced by a scalar head, and all weights are
//! trained on preference pairs.

use std::time::Instant;

use rlar_policy::RewardModel;
use rlar_run::{OutputMode, RunFolder, percent};
use serde_json::json;

use crate::TrainError;
use crate::engine::local::trainable::Trainable;
use crate::engine::local::trainer::LocalTrainer;
use crate::report::final_report::{BeforeAfter, Report, Trend};
use crate::report::metrics_log::{METRICS, MetricsLog};
use crate::run::job::Job;
use crate::run::lengths::Lengths;
use crate::run::resume::ResumePoint;
use crate::run::setup::{first_policy, plan_memory, progress};
use crate::schedule::Stream;
use crate::train_loop::TrainLoop;
use crate::train_loop::held_out::evaluate_once;
use crate::train_loop::preference::preference_pairs;
use crate::train_loop::reward_model::RewardModelTraining;
use crate::update::train_state::{ProcessClock, TrainState};

/// Trains a reward model to the end of the job, writes the final model, and returns the report.
pub fn train(job: &mut Job, run: &RunFolder, resume: ResumePoint) -> Result<Report, TrainError> {
    let config = &job.config;
    let first = || Ok(LocalTrainer::new(first_policy(job)?.reward_model(Stream::RewardHead.seed(config.seed))?)?);
    let mut state: TrainState<LocalTrainer<RewardModel>> = resume.state(config, first)?;
    let clock = ProcessClock::new(job.began, &state.counters.seconds);
    state.trainer.model.tokenizer.pin_today(state.counters.began);
    let pairs = preference_pairs(&state.trainer.model, &job.preferences)?;
    let heldout = preference_pairs(&state.trainer.model, &job.heldout_preferences)?;
    let TrainState { trainer, counters } = &mut state;
    let lengths = Lengths::of_pairs(&pairs, config);
    let journal = resume.start(run, counters, |counters| {
        plan_memory(counters, config, Trainable::decoder(&trainer.model)?, lengths);
        Ok(())
    })?;
    let tokens_per_micro_batch = state.counters.tokens_per_micro_batch;
    let mut method = RewardModelTraining { config, pairs: &pairs, heldout: &heldout, tokens_per_micro_batch };
    let done = state.counters.step;
    let measuring = Instant::now();
    let before: Option<f64> = evaluate_once(run, "before.json", done, || method.accuracy(&state.trainer.model))?;
    state.counters.seconds.evaluation += measuring.elapsed().as_secs_f64();
    announce_preferred(job.output, "before", before);
    let progress = progress(job, "train-rm", config.train.steps, done);
    let log = MetricsLog::open(run, METRICS, done, true, progress)?;
    clock.count_outside(&mut state.counters.seconds);
    let mut training = TrainLoop { run, config, journal, log, interrupted: job.interrupted };
    let ended = training.run(&mut state, &mut method)?;
    let measuring = Instant::now();
    let after = method.accuracy(&state.trainer.model)?;
    state.counters.seconds.evaluation += measuring.elapsed().as_secs_f64();
    announce_preferred(job.output, "after", after);
    run.write_folder("final", &state.trainer.model.published_files(config.model.save_dtype.float_type())?)?;
    let preferred = before.zip(after).map(|(before, after)| BeforeAfter { before, after });
    let trend = Trend::of(&training.log.records()?);
    clock.count_outside(&mut state.counters.seconds);
    Ok(Report { preferred, trend, ..Report::new(&state.counters, config, ended) })
}

/// Shows which share of the held-out pairs the model ranks correctly before or after training.
fn announce_preferred(output: OutputMode, when: &str, preferred: Option<f64>) {
    let Some(preferred) = preferred else { return };
    output.event("evaluation", json!({ "when": when, "preferred": preferred }));
    if when == "before" {
        output.say(&format!("held-out pairs ranked right before training: {} %", percent(preferred)));
    }
}
