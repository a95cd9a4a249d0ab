//! The run of a reward model: the vocabulary head of a language model is replaced by a scalar head, and all weights are
//! trained on preference pairs.

use rlar_policy::RewardModel;
use rlar_run::RunFolder;

use crate::TrainError;
use crate::report::final_report::{BeforeAfter, Report};
use crate::report::metrics_log::MetricsLog;
use crate::run::job::Job;
use crate::run::resume::ResumePoint;
use crate::run::setup::{first_policy, progress};
use crate::schedule::Stream;
use crate::train_loop::TrainLoop;
use crate::train_loop::held_out::evaluate_once;
use crate::train_loop::preference::{PreferencePair, preference_pairs};
use crate::train_loop::reward_model::RewardModelTraining;
use crate::update::train_state::TrainState;

/// Trains a reward model to the end of the job, writes the final model, and returns the report.
pub fn train(job: &mut Job, run: &RunFolder, resume: ResumePoint) -> Result<Report, TrainError> {
    let config = &job.config;
    let first = || Ok(first_policy(job)?.reward_model(Stream::RewardHead.seed(config.seed))?);
    let mut state: TrainState<RewardModel> = resume.state(config, first)?;
    state.model.tokenizer.pin_today(state.counters.began);
    let pairs = preference_pairs(&state.model, &job.preferences)?;
    let heldout = preference_pairs(&state.model, &job.heldout_preferences)?;
    let longest = pairs.iter().map(PreferencePair::len).max().unwrap_or(1);
    let journal = resume.start(run, &mut state, config, longest)?;
    let tokens_per_micro_batch = state.counters.tokens_per_micro_batch;
    let mut method = RewardModelTraining { config, pairs: &pairs, heldout: &heldout, tokens_per_micro_batch };
    let done = state.counters.step;
    let before: Option<f64> = evaluate_once(run, "before.json", done, || method.accuracy(&state.model))?;
    let log = MetricsLog::open(run, "metrics.jsonl", done, true, progress(job, "train-rm", config.train.steps, done))?;
    let mut training = TrainLoop { run, config, journal, log, interrupted: job.interrupted };
    let ended = training.run(&mut state, &mut method)?;
    let after = method.accuracy(&state.model)?;
    run.write_folder("final", &state.model.files()?)?;
    let preferred = before.zip(after).map(|(before, after)| BeforeAfter { before, after });
    Ok(Report { preferred, ..Report::new(&state.counters, config, ended) })
}
