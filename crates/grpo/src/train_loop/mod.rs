//! The train loop, the same for every training method: take a step, evaluate, record, write a checkpoint. It ends when
//! the steps are done, when the limit of time or tokens is reached, or when evaluations no longer improve. [`grpo`] is
//! the step of reinforcement learning.

pub mod grpo;
pub(crate) mod held_out;
pub mod preference;
pub mod reward_model;
pub mod sft;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use rlar_run::{Files, Journal, OutputMode, RunFolder};
use serde_json::{Value, json};

use crate::TrainError;
use crate::config::Config;
use crate::engine::trainer::Checkpointed;
use crate::report::hints::{FIRST_STEPS, hints};
use crate::report::metrics_log::MetricsLog;
use crate::report::step_record::{Measurement, StepRecord};
use crate::schedule;
use crate::update::train_state::{BestCheckpoint, Counters, TrainState};

/// A training method: what one step does, and how the model is evaluated. `T` holds model and optimizer.
pub trait TrainMethod<T> {
    /// Takes one training step at learning rate `lr`. Inputs that cannot be computed again, such as sampled replies,
    /// are written to the journal before they are used.
    fn step(&mut self, state: &mut TrainState<T>, lr: f32, journal: &mut Journal) -> Result<StepRecord, TrainError>;
    /// Evaluates the model during training; `None` without data to evaluate on.
    fn measure(&mut self, trainer: &T) -> Result<Option<Measurement>, TrainError>;
    /// Files of the method that a checkpoint holds in addition to model, moments and counters.
    fn files(&self) -> Result<Files, TrainError> {
        Ok(Vec::new())
    }
    /// Syncs the files that the method writes outside checkpoints to disk, so that they survive a crash of the machine.
    fn sync(&mut self) -> Result<(), TrainError> {
        Ok(())
    }
}

/// The train loop of a run, with the files that it writes.
pub struct TrainLoop<'a> {
    /// The folder of the run.
    pub run: &'a RunFolder,
    /// The config of the run.
    pub config: &'a Config,
    /// The journal: inputs of steps that cannot be computed again, such as sampled replies, recorded before they are
    /// used.
    pub journal: Journal,
    /// The log of step records, with the progress in the terminal.
    pub log: MetricsLog,
    /// A flag that a signal handler sets; the loop then stops after the current step.
    pub interrupted: &'a AtomicBool,
}

impl TrainLoop<'_> {
    /// Takes steps until the run ends, writes a last checkpoint, and returns the reason for the end.
    pub fn run<T: Checkpointed>(
        &mut self,
        state: &mut TrainState<T>,
        method: &mut impl TrainMethod<T>,
    ) -> Result<String, TrainError> {
        let o = &self.config.optimizer;
        let mut last_record = Instant::now();
        loop {
            if let Some(why) = self.ended(state)? {
                self.checkpoint(state, method)?;
                state.counters.seconds.overhead += last_record.elapsed().as_secs_f64();
                self.log.finish();
                return Ok(why);
            }
            let before = state.counters.seconds;
            let steps = self.config.train.steps;
            let lr = schedule::learning_rate(o.learning_rate, state.counters.step, steps, o.warmup_steps, o.decay);
            let mut record = method.step(state, lr, &mut self.journal)?;
            state.counters.step += 1;
            record.eval = self.measure(state, method)?;
            let is_best = record.eval.as_ref().is_some_and(|measured| self.keep_best(state, measured));
            let seconds = &mut state.counters.seconds;
            record.seconds.evaluation = seconds.evaluation - before.evaluation;
            // Time after this record is counted with the next one. `other` could be below 0 if the journal supplied the
            // batch, because an earlier process spent the time of sampling it.
            let counted = seconds.counted() - before.counted() + record.seconds.evaluation;
            record.seconds.other = (last_record.elapsed().as_secs_f64() - counted).max(0.0);
            last_record = Instant::now();
            seconds.overhead += record.seconds.other;
            record.hints = self.first_hints(&record)?;
            self.log.write(record.step, &record)?;
            self.announce(state, &record)?;
            let stop = self.interrupted.load(Ordering::SeqCst);
            if stop || is_best || state.counters.step.is_multiple_of(self.config.run.checkpoint_every) {
                self.checkpoint(state, method)?;
            }
            if stop {
                self.log.finish();
                return Err(TrainError::Interrupted { warmup: state.counters.warmup, step: state.counters.step });
            }
        }
    }

    /// Shows what a step did in addition to the line with its figures: news of the agents, the evaluation after the
    /// step, and hints.
    fn announce<T>(&self, state: &TrainState<T>, record: &StepRecord) -> Result<(), TrainError> {
        let (output, step) = (self.log.output(), record.step);
        for line in record.news.iter().flatten() {
            output.say(&format!("step {step}: {line}"));
            output.event("news", json!({ "step": step, "message": line }));
        }
        if let Some(measured) = &record.eval {
            let is_best = state.counters.best.first().is_some_and(|best| best.number == state.number());
            let best = if is_best { ", the best so far" } else { "" };
            output.say(&format!("step {step}: {measured}{best}"));
            let mut event = json!({ "step": step, "is_best": is_best });
            if let (Value::Object(event), Value::Object(measured)) = (&mut event, serde_json::to_value(measured)?) {
                event.extend(measured);
            }
            output.event("measurement", event);
        }
        for hint in record.hints.iter().flatten() {
            output.say(&format!("hint: {hint}"));
            output.event("hint", json!({ "step": step, "message": hint }));
        }
        Ok(())
    }

    /// The hints about the first steps, whose last one has this record; `None` after any other step.
    fn first_hints(&self, record: &StepRecord) -> Result<Option<Vec<String>>, TrainError> {
        if record.step != FIRST_STEPS {
            return Ok(None);
        }
        let mut records = self.log.records()?;
        records.push(serde_json::to_value(record)?);
        Ok(Some(hints(&records, self.config.sampling.max_tokens)))
    }

    /// Why the run ends before the next step; `None` if it goes on. If the limit of time is reached, this is written to
    /// the journal, so that a resumed run stops after the same step.
    fn ended<T>(&mut self, state: &TrainState<T>) -> Result<Option<String>, TrainError> {
        let (t, counters) = (&self.config.train, &state.counters);
        if counters.step >= t.steps {
            return Ok(Some("all steps are done".into()));
        }
        if t.max_tokens > 0 && counters.reply_tokens >= t.max_tokens {
            return Ok(Some(format!("the limit of `train.max_tokens`, {} sampled tokens, is reached", t.max_tokens)));
        }
        let patience = self.config.eval.patience;
        if patience > 0 && counters.since_best >= patience {
            return Ok(Some(format!(
                "{patience} evaluations in a row were no better than the best one (`eval.patience`)"
            )));
        }
        if t.max_minutes > 0.0 {
            // An entry with a smaller limit was written before the user raised the limit, and no longer holds.
            let spent: Option<f64> = self.journal.recall(counters.step, "out of time")?;
            if spent.is_some_and(|minutes| minutes >= t.max_minutes) {
                return Ok(Some(format!("the limit of `train.max_minutes`, {} minutes, is reached", t.max_minutes)));
            }
            let is_replayed = self.journal.reaches(counters.step + 1);
            if !is_replayed && counters.seconds.counted() >= t.max_minutes * 60.0 {
                self.journal.record(counters.step, "out of time", &t.max_minutes)?;
                return Ok(Some(format!("the limit of `train.max_minutes`, {} minutes, is reached", t.max_minutes)));
            }
        }
        Ok(None)
    }

    /// Evaluates the model if an evaluation is due. The result decides which checkpoints are kept, so it is written to
    /// the journal.
    fn measure<T: Checkpointed>(
        &mut self,
        state: &mut TrainState<T>,
        method: &mut impl TrainMethod<T>,
    ) -> Result<Option<Measurement>, TrainError> {
        let every = self.config.eval.every;
        if every == 0 || !state.counters.step.is_multiple_of(every) {
            return Ok(None);
        }
        let clock = Instant::now();
        let measured = self.journal.once(state.counters.step, "measured", || method.measure(&state.trainer))?;
        if measured.is_some() {
            state.counters.seconds.evaluation += clock.elapsed().as_secs_f64();
        }
        Ok(measured)
    }

    /// Ranks the current state by its measurement among the best so far. Returns whether its checkpoint is one of the
    /// `run.keep_best` that are kept.
    fn keep_best<T>(&self, state: &mut TrainState<T>, measured: &Measurement) -> bool {
        let number = state.number();
        let counters = &mut state.counters;
        let Some(value) = measured.decides else { return false };
        let is_best = counters.best.first().is_none_or(|best| value > best.value);
        counters.since_best = if is_best { 0 } else { counters.since_best + 1 };
        let rank = counters.best.iter().position(|best| value > best.value).unwrap_or(counters.best.len());
        counters.best.insert(rank, BestCheckpoint { number, value });
        counters.best.truncate(self.config.run.keep_best.max(1));
        counters.best.iter().take(self.config.run.keep_best).any(|best| best.number == number)
    }

    /// Writes a checkpoint, then removes older checkpoints and journal entries that are no longer needed.
    fn checkpoint<T: Checkpointed>(
        &mut self,
        state: &TrainState<T>,
        method: &mut impl TrainMethod<T>,
    ) -> Result<(), TrainError> {
        self.log.sync()?;
        let checkpoints = self.run.checkpoints();
        method.sync()?;
        state.save(&checkpoints, &|| method.files())?;
        let best: Vec<u64> = state.counters.best.iter().take(self.config.run.keep_best).map(|b| b.number).collect();
        // While there are fewer checkpoints than `run.keep_last`, the journal keeps all entries from the start of the
        // run.
        if let Some(oldest) = checkpoints.keep(self.config.run.keep_last, &best)? {
            self.journal.forget(oldest.saturating_sub(state.counters.warmup))?;
        }
        announce_checkpoint(self.log.output(), self.run, state);
        Ok(())
    }
}

/// Prints the JSON event `checkpoint` about the checkpoint of `state` that was just written.
pub(crate) fn announce_checkpoint<T>(output: OutputMode, run: &RunFolder, state: &TrainState<T>) {
    let Counters { warmup, step, .. } = state.counters;
    let path = run.checkpoints().path(state.number());
    output.event("checkpoint", json!({ "step": step, "warmup": warmup, "path": path }));
}
