//! A reward model's run: a language model gets a score in place of its vocabulary, and learns from preferences.

use std::time::Instant;

use rlar_policy::RewardModel;
use rlar_run::{Files, Journal, RunFolder};
use serde_json::{Value, json};

use crate::config::Config;
use crate::report::log::Log;
use crate::report::summary::Report;
use crate::run::job::Job;
use crate::run::resume::Begin;
use crate::run::setup::{bar, first_policy};
use crate::train_loop::held_out::once;
use crate::train_loop::preference::{Pair, pairs};
use crate::train_loop::reward_model;
use crate::train_loop::{Course, Loop};
use crate::update::train_state::State;
use crate::{TrainError, optimizer, schedule};

/// Trains a reward model to the job's end.
pub fn train(job: &mut Job, run: &RunFolder, begin: Begin) -> Result<Report, TrainError> {
    let config = &job.config;
    let first = || Ok(first_policy(job)?.reward_model(schedule::mix(&[config.seed, 4]))?);
    let mut state: State<RewardModel> = begin.state(config, first)?;
    state.model.tokenizer.pin_today(state.ledger.began);
    let data = pairs(&state.model, &job.preferences)?;
    let heldout = pairs(&state.model, &job.heldout_preferences)?;
    let journal = begin.start(run, &mut state, config, data.iter().map(Pair::len).max().unwrap_or(1))?;
    let tokens = state.ledger.tokens_at_a_time;
    let mut course = RewardCourse { config, data: &data, heldout: &heldout, tokens };
    let before: Option<f64> = once(run, "before.json", state.ledger.step, || course.accuracy(&state.model))?;
    let done = state.ledger.step;
    let log = Log::open(run, "metrics.jsonl", done, true, bar(job, "train-rm", config.train.steps, done))?;
    let mut training = Loop { run, config, journal, log, interrupted: job.interrupted };
    let ended = training.run(&mut state, &mut course)?;
    let after = course.accuracy(&state.model)?;
    run.write_folder("final", &state.model.files()?)?;
    Ok(Report { preferred: before.zip(after), ..Report::of(&state.ledger, config, ended) })
}

struct RewardCourse<'a> {
    config: &'a Config,
    data: &'a [Pair],
    heldout: &'a [Pair],
    tokens: usize,
}

impl RewardCourse<'_> {
    fn accuracy(&self, model: &RewardModel) -> Result<Option<f64>, TrainError> {
        if self.heldout.is_empty() {
            return Ok(None);
        }
        let used = &self.heldout[..self.config.eval.examples(self.heldout.len())];
        Ok(Some(reward_model::accuracy(model, used, self.tokens)?))
    }
}

impl Course<RewardModel> for RewardCourse<'_> {
    fn step(&mut self, state: &mut State<RewardModel>, lr: f32, _: &mut Journal) -> Result<Value, TrainError> {
        let clock = Instant::now();
        let batch = self.config.train.batch.min(self.data.len());
        let chosen = schedule::batch(self.data.len(), batch, state.ledger.step, self.config.seed);
        let pairs: Vec<&Pair> = chosen.iter().map(|i| &self.data[*i]).collect();
        let mut record = reward_model::step(state, &pairs, &optimizer(self.config), lr, self.tokens)?;
        let training = clock.elapsed().as_secs_f64();
        record["seconds"] = json!({ "training": training });
        state.ledger.seconds.training += training;
        Ok(record)
    }

    fn measure(&mut self, model: &RewardModel) -> Result<Option<Value>, TrainError> {
        Ok(self.accuracy(model)?.map(|accuracy| json!({ "accuracy": accuracy, "decides": accuracy })))
    }

    fn sync(&mut self) -> Result<(), TrainError> {
        Ok(())
    }

    fn files(&self) -> Result<Files, TrainError> {
        Ok(Vec::new())
    }
}
