//! GRPO: every step obtains a batch, learns from it, and leaves a record.

use std::time::Instant;

use rlar_data::Example;
use rlar_eval::suite::Exam;
use rlar_policy::Policy;
use rlar_run::{Checkpoint, Files, Journal};
use serde_json::Value;

use crate::TrainError;
use crate::report::log::Rollouts;
use crate::report::metrics::{self, Spent};
use crate::rollouts::collect::{Batch, Source};
use crate::rollouts::evolution::EVOLUTION;
use crate::rollouts::rollout::Group;
use crate::rollouts::tool_health::{Failing, Health};
use crate::rollouts::zero_spread::Flat;
use crate::train_loop::Course;
use crate::train_loop::held_out::midway;
use crate::update::policy_update::{Learned, learn};
use crate::update::reference::Reference;
use crate::update::train_state::State;

/// Reinforcement learning in groups.
#[derive(Debug)]
pub struct Grpo<'a> {
    /// Where batches come from.
    pub source: Source<'a>,
    /// Prompts to measure on.
    pub heldout: &'a [Example],
    /// Suites to measure on.
    pub exams: &'a mut [Exam],
    /// What the policy is held to.
    pub reference: Reference,
    /// Where rollouts are written.
    pub rollouts: Rollouts,
    /// The batch of the next step, where it is drawn one step ahead.
    pub pending: Option<Batch>,
}

/// Where a checkpoint holds the batch of the next step.
const PENDING: &str = "pending.json";

/// Where a checkpoint holds how the tools do.
const HEALTH: &str = "tools.json";

/// The kind of the journal's entries for batches.
const BATCH: &str = "batch";

/// How the tools did before a checkpoint; well, without one.
pub fn health(checkpoint: Option<&Checkpoint>) -> Result<Health, TrainError> {
    let Some(checkpoint) = checkpoint.filter(|c| c.path.join(HEALTH).exists()) else { return Ok(Health::default()) };
    Ok(serde_json::from_slice(&checkpoint.read(HEALTH)?)?)
}

/// The batch that a checkpoint holds for the step after it.
pub fn pending(checkpoint: Option<&Checkpoint>) -> Result<Option<Batch>, TrainError> {
    let Some(checkpoint) = checkpoint.filter(|c| c.path.join(PENDING).exists()) else { return Ok(None) };
    Ok(Some(serde_json::from_slice(&checkpoint.read(PENDING)?)?))
}

impl Course<Policy> for Grpo<'_> {
    fn step(&mut self, state: &mut State, lr: f32, journal: &mut Journal) -> Result<Value, TrainError> {
        let step = state.ledger.step;
        let config = self.source.config;
        let mut spent = Spent::default();
        let batch = if let Some(batch) = self.pending.take() {
            batch
        } else {
            let batch = obtain(&mut self.source, journal, &state.model, [step, step, state.ledger.cursor])?;
            (spent.sampling, spent.scoring) = (batch.sampling, batch.scoring);
            batch
        };
        let clock = Instant::now();
        let learned = if config.train.asynchronous && step + 1 < config.train.steps {
            // The next batch is drawn by the policy before this step, while the step is taken.
            let policy = state.model.clone();
            let (prompts, source, cursor) = (self.source.prompts, &mut self.source, batch.cursor);
            let (learned, next) = std::thread::scope(|scope| {
                let ahead = scope.spawn(|| obtain(source, journal, &policy, [step, step + 1, cursor]));
                let learned = learn(state, self.reference.decoder(), &batch, prompts, config, lr);
                spent.training = clock.elapsed().as_secs_f64();
                let next = ahead.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
                (learned, next)
            });
            spent.sampling += clock.elapsed().as_secs_f64() - spent.training;
            self.pending = Some(next?);
            learned
        } else {
            let learned = learn(state, self.reference.decoder(), &batch, self.source.prompts, config, lr);
            spent.training = clock.elapsed().as_secs_f64();
            learned
        };
        let learned: Learned = learned.finite(step + 1)?;

        let ledger = &mut state.ledger;
        ledger.cursor = batch.cursor;
        ledger.reply_tokens += batch.tokens() as u64;
        let teaches = batch.groups.iter().any(|g| g.scored().has_spread(config.algorithm.combine));
        ledger.flat_steps = if teaches { 0 } else { ledger.flat_steps + 1 };
        ledger.seconds.sampling += spent.sampling;
        ledger.seconds.scoring += spent.scoring;
        ledger.seconds.training += spent.training;
        let library = self.source.rewards.library();
        let range = |tool: &str| library.card(tool).map_or([-1.0, 0.0], |card| card.range);
        let advantages = learned.advantages.iter().map(Vec::as_slice).chain(std::iter::repeat(&[][..]));
        let flat = Flat::of(batch.drawn().zip(advantages), config.algorithm.combine, range);
        let mut record = metrics::record(&batch, &learned, &flat, ledger, config, lr, spent);
        record["domains"] = metrics::domains(&batch, self.source.examples, config);
        if let Some(evolution) = &mut self.source.evolution {
            record["agents"] = evolution.tally();
            record["news"] = serde_json::json!(evolution.news());
        }
        record["suspended"] = serde_json::json!(self.source.health.suspended);
        let done = step + 1;
        if done.is_multiple_of(config.run.rollouts_every) || done == 1 {
            self.rollouts.write(done, &batch, &learned.advantages, self.source.examples)?;
        }
        if config.train.flat_steps > 0 && ledger.flat_steps >= config.train.flat_steps {
            return Err(TrainError::Flat { steps: ledger.flat_steps, why: why_flat(&batch, &flat) });
        }
        self.reference.reanchor(state, done, config.algorithm.kl.reanchor_every);
        Ok(record)
    }

    fn measure(&mut self, model: &Policy) -> Result<Option<Value>, TrainError> {
        midway(model, self.heldout, self.source.rewards, self.exams, self.source.config)
    }

    fn sync(&mut self) -> Result<(), TrainError> {
        self.rollouts.sync()
    }

    fn files(&self) -> Result<Files, TrainError> {
        let mut files = self.reference.files()?;
        files.push((HEALTH.to_owned(), serde_json::to_vec(&self.source.health)?));
        if let Some(evolution) = &self.source.evolution {
            files.push((EVOLUTION.to_owned(), serde_json::to_vec(evolution.state())?));
        }
        if let Some(batch) = &self.pending {
            files.push((PENDING.to_owned(), serde_json::to_vec(batch)?));
        }
        Ok(files)
    }
}

/// The batch of a step: what the journal holds of it, or a fresh one, which the journal then holds. A tool that fails too
/// often is suspended, and what it should have scored is scored by others; where there are none, the batch is refused before
/// it enters the journal, so that the step can be tried again.
fn obtain(
    source: &mut Source,
    journal: &mut Journal,
    policy: &Policy,
    [policy_steps, step, cursor]: [u64; 3],
) -> Result<Batch, TrainError> {
    let config = source.config;
    let is_replayed = journal.holds(step + 1, BATCH);
    let examples = source.examples;
    if let Some(evolution) = &mut source.evolution {
        evolution.enter(source.rewards, examples, journal, step + 1, is_replayed)?;
    }
    if let Some(batch) = journal.recall::<Batch>(step + 1, BATCH)? {
        batch.suspended.iter().for_each(|tool| source.suspend(tool.clone()));
        source.health.observe(batch.drawn(), config);
        if let Some(evolution) = &mut source.evolution {
            evolution.observe(batch.drawn(), source.rewards, examples, step + 1, true);
        }
        return Ok(batch);
    }
    let mut batch = source.collect(policy, policy_steps, step, cursor)?;
    while let Some(failing) = source.health.failing(batch.drawn(), config) {
        batch.suspended.push(failing.tool.clone());
        replace(source, &mut batch, step + 1, failing)?;
    }
    source.health.observe(batch.drawn(), config);
    source.audit(&mut batch);
    journal.record(step + 1, BATCH, &batch)?;
    if let Some(evolution) = &mut source.evolution {
        evolution.observe(batch.drawn(), source.rewards, examples, step + 1, false);
    }
    Ok(batch)
}

/// Suspends a tool and lets others score what it scored in a batch.
fn replace(source: &mut Source, batch: &mut Batch, step: u64, failing: Failing) -> Result<(), TrainError> {
    let Failing { tool, failed, asked, last } = failing;
    source.suspend(tool.clone());
    // A gate that everything passes is no gate: what every prompt must have cannot be done without.
    if source.config.rewards.always.iter().any(|m| m.tool == tool) {
        let left = "`rewards.always` gives it to every prompt".to_owned();
        return Err(TrainError::ToolFails { step, tool, failed, asked, last, left });
    }
    let mut prompts = source.examples.iter().chain(source.heldout);
    if let Err(e) = prompts.try_for_each(|e| source.rewards.choose(e).map(drop)) {
        return Err(TrainError::ToolFails { step, tool, failed, asked, last, left: e.to_string() });
    }
    let scored = |g: &Group| g.replies.iter().any(|r| r.scores.get(&tool).is_some());
    match source.score_again(batch, scored) {
        Ok(()) => {
            tracing::warn!(
                "step {step}: tool `{tool}` failed on {failed} of {asked} replies and is suspended; last: {last}"
            );
            Ok(())
        }
        Err(TrainError::Reward(e)) => {
            Err(TrainError::ToolFails { step, tool, failed, asked, last, left: e.to_string() })
        }
        Err(e) => Err(e),
    }
}

/// What the rewards of groups without spread look like.
fn why_flat(batch: &Batch, flat: &Flat) -> String {
    let replies = || batch.drawn().flat_map(|g| &g.replies);
    let unscored = replies().filter(|r| r.scores.total().is_none()).count();
    let totals: Vec<f64> = replies().filter_map(|r| r.scores.total()).collect();
    let alike = batch.drawn().filter(|g| g.replies.windows(2).all(|w| w[0].text == w[1].text)).count();
    let [low, high] = totals.iter().fold([f64::INFINITY, f64::NEG_INFINITY], |[l, h], x| [l.min(*x), h.max(*x)]);
    if totals.is_empty() {
        return format!("no reply of the last step has a score ({unscored} without one); see the tools' failures");
    }
    let groups = batch.drawn().count();
    if alike == groups {
        return "all replies to a prompt are the same text; raise `sampling.temperature`".into();
    }
    format!(
        "the rewards of the last step lie from {low} to {high} and are equal within every one of its {groups} groups ({flat}): \
         the task is too hard or too easy for this policy, or the tool tells nothing apart; look at the replies in \
         `rollouts/`, then change prompts, tool, `train.group_size` or `sampling.temperature`"
    )
}
