//! The train loop, the same for every method: step, measure, record, checkpoint, until steps, time, tokens or patience are
//! used up. [`grpo`] is the step of reinforcement learning.

pub mod grpo;
pub(crate) mod held_out;
pub mod preference;
pub mod reward_model;
pub mod sft;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use rlar_run::{Files, Journal, RunFolder};
use serde_json::Value;

use crate::TrainError;
use crate::config::Config;
use crate::report::log::Log;
use crate::schedule;
use crate::update::train_state::State;
use crate::update::trainable::Learner;

/// What a method does in a run.
pub trait Course<M> {
    /// One step at learning rate `lr`; gives its record. What enters it from outside is journalled first.
    fn step(&mut self, state: &mut State<M>, lr: f32, journal: &mut Journal) -> Result<Value, TrainError>;
    /// Measures the model: an object with `decides`, the more the better; nothing without data to measure on.
    fn measure(&mut self, model: &M) -> Result<Option<Value>, TrainError>;
    /// What its checkpoints hold beside the state.
    fn files(&self) -> Result<Files, TrainError>;
    /// Makes what it has written itself survive a crash of the machine.
    fn sync(&mut self) -> Result<(), TrainError>;
}

/// What a loop runs in.
pub struct Loop<'a> {
    /// The run's folder.
    pub run: &'a RunFolder,
    /// The config.
    pub config: &'a Config,
    /// What entered the steps.
    pub journal: Journal,
    /// What is left for people.
    pub log: Log,
    /// Set from outside to stop after the current step.
    pub interrupted: &'a AtomicBool,
}

impl Loop<'_> {
    /// Steps until the steps, the time, the tokens or the patience are used up, saves, and says which it was.
    pub fn run<M: Learner>(&mut self, state: &mut State<M>, course: &mut impl Course<M>) -> Result<String, TrainError> {
        let o = &self.config.optimizer;
        let mut recorded = Instant::now();
        loop {
            if let Some(why) = self.ended(state)? {
                self.checkpoint(state, course)?;
                state.ledger.seconds.keeping += recorded.elapsed().as_secs_f64();
                self.log.finish();
                return Ok(why);
            }
            let before = state.ledger.seconds;
            let steps = self.config.train.steps;
            let lr = schedule::learning_rate(o.learning_rate, state.ledger.step, steps, o.warmup_steps, o.decay);
            let mut record = course.step(state, lr, &mut self.journal)?;
            for line in record["news"].as_array().into_iter().flatten().filter_map(Value::as_str) {
                self.log.say(&format!("step {}: {line}", state.ledger.step + 1));
            }
            state.ledger.step += 1;
            let improved = self.measure(state, course, &mut record)?;
            let seconds = &mut state.ledger.seconds;
            let evaluation = seconds.evaluation - before.evaluation;
            // What follows the record of a step is in the next one's.
            let counted = seconds.counted() - before.counted();
            // A batch that the journal had was paid for by an earlier process.
            let other = (recorded.elapsed().as_secs_f64() - counted - evaluation).max(0.0);
            recorded = Instant::now();
            seconds.keeping += other;
            record["seconds"]["evaluation"] = evaluation.into();
            record["seconds"]["other"] = other.into();
            self.log.step(record)?;
            let stop = self.interrupted.load(Ordering::SeqCst);
            if stop || improved || state.ledger.step.is_multiple_of(self.config.run.checkpoint_every) {
                self.checkpoint(state, course)?;
            }
            if stop {
                self.log.finish();
                return Err(TrainError::Interrupted { warmup: state.ledger.warmup, step: state.ledger.step });
            }
        }
    }

    /// Why there is no next step, if there is none. A reason that depends on a clock is journalled: a resumed run stops
    /// where the run before it did.
    fn ended<M>(&mut self, state: &State<M>) -> Result<Option<String>, TrainError> {
        let (t, ledger) = (&self.config.train, &state.ledger);
        if ledger.step >= t.steps {
            return Ok(Some("all steps are done".into()));
        }
        if t.max_tokens > 0 && ledger.reply_tokens >= t.max_tokens {
            return Ok(Some(format!("`train.max_tokens` of {} are drawn", t.max_tokens)));
        }
        let patience = self.config.eval.patience;
        if patience > 0 && ledger.since_best >= patience {
            return Ok(Some(format!("{patience} measurements in a row were no better than the best")));
        }
        if t.max_minutes > 0.0 {
            // The journal is no longer the run's when it was asked for more time.
            let spent: Option<f64> = self.journal.recall(ledger.step, "out of time")?;
            if spent.is_some_and(|minutes| minutes >= t.max_minutes) {
                return Ok(Some(format!("`train.max_minutes` of {} are spent", t.max_minutes)));
            }
            let replayed = self.journal.reaches(ledger.step + 1);
            if !replayed && ledger.seconds.counted() >= t.max_minutes * 60.0 {
                self.journal.record(ledger.step, "out of time", &t.max_minutes)?;
                return Ok(Some(format!("`train.max_minutes` of {} are spent", t.max_minutes)));
            }
        }
        Ok(None)
    }

    /// Measures when it is due; says whether the model was never better. What is measured enters decisions, so it is
    /// journalled first.
    fn measure<M: Learner>(
        &mut self,
        state: &mut State<M>,
        course: &mut impl Course<M>,
        record: &mut Value,
    ) -> Result<bool, TrainError> {
        let every = self.config.eval.every;
        if every == 0 || !state.ledger.step.is_multiple_of(every) {
            return Ok(false);
        }
        let clock = Instant::now();
        let measured = self.journal.once(state.ledger.step, "measured", || course.measure(&state.model))?;
        let Some(measured): Option<Value> = measured else { return Ok(false) };
        let ledger = &mut state.ledger;
        ledger.seconds.evaluation += clock.elapsed().as_secs_f64();
        let decides = measured["decides"].as_f64();
        record["eval"] = measured;
        // What could not be measured decides nothing.
        let Some(figure) = decides else { return Ok(false) };
        let improved = ledger.best.first().is_none_or(|(_, best)| figure > *best);
        ledger.since_best = if improved { 0 } else { ledger.since_best + 1 };
        let place = ledger.best.iter().position(|(_, best)| figure > *best).unwrap_or(ledger.best.len());
        let number = ledger.warmup + ledger.step;
        ledger.best.insert(place, (number, figure));
        ledger.best.truncate(self.config.run.keep_best.max(1));
        Ok(ledger.best.iter().take(self.config.run.keep_best).any(|(step, _)| *step == number))
    }

    /// Writes a checkpoint, then lets go of what no kept one needs.
    fn checkpoint<M: Learner>(&mut self, state: &State<M>, course: &mut impl Course<M>) -> Result<(), TrainError> {
        self.log.sync()?;
        let checkpoints = self.run.checkpoints();
        course.sync()?;
        state.save(&checkpoints, &|| course.files())?;
        let best: Vec<u64> = state.ledger.best.iter().take(self.config.run.keep_best).map(|(step, _)| *step).collect();
        // Before there are as many as are to be kept, the journal can stand in for those that are not.
        if let Some(oldest) = checkpoints.keep(self.config.run.keep_last, &best)? {
            self.journal.forget(oldest.saturating_sub(state.ledger.warmup))?;
        }
        Ok(())
    }
}
