//! Collects the batch of a step: reads it from the journal if it is there, otherwise samples and scores a new one.
//!
//! Everything that changes the rewards between two steps happens here, in this order:
//! 1. New tools and assignments from the language-model agents come into use.
//! 2. The weights of the tools are fitted anew, if they are learned.
//! 3. Replies are sampled and scored.
//! 4. Tools that fail too often are suspended, and other tools score their replies again.
//! 5. Audit tools score a share of the replies.
//! 6. The batch is written to the journal.
//! 7. The drift monitor, which watches whether scores still measure what they should, is shown the batch; so are the
//!    learned weights.

use std::time::Instant;

use rlar_data::{Example, Preference};
use rlar_rewards::{Assignment, Orchestrator, RewardError};
use rlar_run::{Checkpoint, Files, Journal};

use crate::TrainError;
use crate::config::Config;
use crate::engine::sampler::Sampler;
use crate::engine::trainer::Trainer;
use crate::report::assignment_log::AssignmentLog;
use crate::report::step_record::PhaseSeconds;
use crate::rollouts::batch::{Batch, BatchPosition};
use crate::rollouts::drawn_prompts::TrainingPrompts;
use crate::rollouts::evolution::{EVOLUTION, Evolution, StepContext};
use crate::rollouts::learned_weights::{LearnedWeights, WEIGHTS};
use crate::rollouts::mixture::Mixture;
use crate::rollouts::rollout::Group;
use crate::rollouts::tool_health::{FailingTool, ToolHealth};
use crate::update::train_state::{Counters, TrainState};

/// The file of a checkpoint with the batch of the next step, if it was collected one step ahead.
const NEXT_BATCH: &str = "pending.json";

/// The file of a checkpoint with the failures of tools in the last steps and the suspended tools.
const TOOL_HEALTH: &str = "tools.json";

/// The kind of the journal entries that hold a batch.
const BATCH: &str = "batch";

/// Collects the batches of a run of reinforcement learning.
#[derive(Debug)]
pub struct Collector<'a> {
    /// The config of the run.
    pub config: &'a Config,
    /// Prompts to train on.
    pub prompts: TrainingPrompts<'a>,
    /// Prompts to measure on. When a tool is suspended, other tools must be able to score these prompts, too.
    pub heldout: &'a [Example],
    /// The order in which prompts are drawn from the domains.
    pub mixture: Mixture,
    /// The reward tools, and which of them each prompt has.
    pub rewards: &'a mut Orchestrator,
    /// Failures of each tool in the last steps, and the suspended tools.
    pub tool_health: ToolHealth,
    /// The agents that assign and replace tools while training runs; `None` without agents.
    pub evolution: Option<Evolution<'a>>,
    /// The learned weights of the tools; `None` if weights are fixed.
    pub weights: Option<LearnedWeights>,
    /// Pairs of replies from which the weights are learned, too.
    pub preferences: &'a [Preference],
    /// The file to which the tools of drawn prompts are written; `None` if a run has none.
    pub assignments: Option<AssignmentLog>,
    /// The batch of the next step; `None` unless it was collected one step ahead (`train.asynchronous`).
    pub next: Option<Batch>,
}

/// Reads from a checkpoint how often each tool failed in the last steps, and which tools are suspended. Without a
/// checkpoint, no failures are counted and no tool is suspended.
pub fn tool_health(checkpoint: Option<&Checkpoint>) -> Result<ToolHealth, TrainError> {
    Ok(read(checkpoint, TOOL_HEALTH)?.unwrap_or_default())
}

/// Reads from a checkpoint the batch that was collected ahead for the next step; `None` if there is none.
pub fn next_batch(checkpoint: Option<&Checkpoint>) -> Result<Option<Batch>, TrainError> {
    read(checkpoint, NEXT_BATCH)
}

fn read<T: serde::de::DeserializeOwned>(checkpoint: Option<&Checkpoint>, file: &str) -> Result<Option<T>, TrainError> {
    let Some(checkpoint) = checkpoint.filter(|c| c.path.join(file).exists()) else { return Ok(None) };
    Ok(Some(serde_json::from_slice(&checkpoint.read(file)?)?))
}

impl Collector<'_> {
    /// The batch of the next training step: the one that was collected one step ahead, or else one from the journal or
    /// a new one. Sets the times of sampling and scoring in `seconds`, unless the batch was collected ahead.
    pub fn collect<T: Trainer>(
        &mut self,
        state: &TrainState<T>,
        journal: &mut Journal,
        seconds: &mut PhaseSeconds,
    ) -> Result<Batch, TrainError> {
        if let Some(batch) = self.next.take() {
            return Ok(batch);
        }
        let Counters { step, cursor, .. } = state.counters;
        let position = BatchPosition { step, policy_steps: step, cursor };
        let batch = self.obtain(|| state.trainer.publish(step), position, journal)?;
        (seconds.sampling, seconds.scoring) = (batch.sampling, batch.scoring);
        Ok(batch)
    }

    /// Runs the update on a batch. With `train.asynchronous` the next batch is collected at the same time, by the
    /// policy before this update (one-step-off; Noukhovitch et al., 2024). Adds the times of both to `seconds`.
    pub fn update_and_collect_ahead<T: Trainer, R>(
        &mut self,
        state: &mut TrainState<T>,
        batch: &Batch,
        journal: &mut Journal,
        seconds: &mut PhaseSeconds,
        update: impl FnOnce(&mut TrainState<T>) -> Result<R, TrainError>,
    ) -> Result<R, TrainError> {
        let clock = Instant::now();
        let step = state.counters.step;
        let activity = self.rewards.activity().clone();
        let update = |state: &mut TrainState<T>| {
            let _training = activity.phase("training", 0, "");
            update(state)
        };
        if !self.config.train.asynchronous || step + 1 >= self.config.train.steps {
            let updated = update(state);
            seconds.training = clock.elapsed().as_secs_f64();
            return updated;
        }
        let sampler = state.trainer.publish(step)?;
        let position = BatchPosition { step: step + 1, policy_steps: step, cursor: batch.cursor };
        let (updated, next) = std::thread::scope(|scope| {
            let ahead = scope.spawn(|| self.obtain(|| Ok(sampler), position, journal));
            let updated = update(state);
            seconds.training = clock.elapsed().as_secs_f64();
            (updated, ahead.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        });
        seconds.sampling += clock.elapsed().as_secs_f64() - seconds.training;
        self.next = Some(next?);
        updated
    }

    /// The batch for a position: from the journal, or a new one, which is written to the journal before it is used.
    /// `publish` makes the sampler of a new one. A tool that fails too often is suspended. If no other tool can score its
    /// prompts, this is an error, and the batch is not written to the journal, so that a resumed run samples and scores
    /// anew.
    fn obtain(
        &mut self,
        publish: impl FnOnce() -> Result<Box<dyn Sampler>, TrainError>,
        at: BatchPosition,
        journal: &mut Journal,
    ) -> Result<Batch, TrainError> {
        let step = at.step + 1;
        let is_replayed = journal.holds(step, BATCH);
        if let Some(evolution) = &mut self.evolution {
            let (config, examples) = (self.config, self.prompts.examples);
            let context = StepContext { config, rewards: &mut *self.rewards, examples, step, is_replayed };
            evolution.enter(context, journal)?;
        }
        if let Some(weights) = &mut self.weights {
            weights.score_preferences(step, self.preferences, self.rewards, self.config, journal)?;
            weights.fit(step, self.config.seed, self.rewards.library(), journal)?;
        }
        let batch = if let Some(batch) = journal.recall::<Batch>(step, BATCH)? {
            batch.suspended.iter().for_each(|tool| self.suspend(tool.clone()));
            self.tool_health.observe(batch.sampled(), self.config);
            batch
        } else {
            let batch = self.sample_score_and_audit(&*publish()?, at)?;
            journal.record(step, BATCH, &batch)?;
            batch
        };
        let drawn = self.prompts.of_batch(&batch)?;
        if let Some(assignments) = &mut self.assignments {
            assignments.add(at.policy_steps + 1, &drawn, self.rewards)?;
        }
        if let Some(evolution) = &mut self.evolution {
            let (config, examples) = (self.config, self.prompts.examples);
            let context = StepContext { config, rewards: &mut *self.rewards, examples, step, is_replayed };
            evolution.observe(batch.sampled(), &drawn, &context)?;
        }
        if let Some(weights) = &mut self.weights {
            weights.observe(batch.sampled(), &drawn, self.rewards, self.config)?;
        }
        Ok(batch)
    }

    /// A new batch: sampled, scored by tools that do not fail too often, and audited.
    fn sample_score_and_audit(&mut self, sampler: &dyn Sampler, at: BatchPosition) -> Result<Batch, TrainError> {
        let mut batch = self.sample_and_score(sampler, at)?;
        while let Some(failing) = self.tool_health.failing(batch.sampled(), self.config) {
            batch.suspended.push(failing.tool.clone());
            self.suspend_and_rescore(&mut batch, at.step + 1, failing)?;
        }
        self.tool_health.observe(batch.sampled(), self.config);
        self.audit(&mut batch)?;
        batch.weights = self.weights.as_ref().map(|weights| weights.fitted().clone());
        Ok(batch)
    }

    /// Stops using a tool for the rest of the run.
    fn suspend(&mut self, tool: String) {
        self.rewards.suspend(&tool);
        self.tool_health.suspended.push(tool);
    }

    /// Suspends a failing tool, and scores the replies that it scored in this batch again with other tools.
    fn suspend_and_rescore(&mut self, batch: &mut Batch, step: u64, failing: FailingTool) -> Result<(), TrainError> {
        let FailingTool { tool, failed, requested, last_failure: last } = failing;
        let no_replacement = |left: String| TrainError::ToolFails {
            step,
            tool: tool.clone(),
            failed,
            requested,
            last: last.clone(),
            left,
        };
        self.suspend(tool.clone());
        // A gate lets only replies pass that its tool scores high enough; without the tool, every reply would pass.
        if self.config.rewards.always.iter().any(|m| m.tool == tool) {
            return Err(no_replacement("`rewards.always` prescribes it for every prompt".to_owned()));
        }
        if self.config.rewards.python.iter().any(|f| f.tool_name() == tool) {
            return Err(no_replacement("`rewards.python` prescribes it for every prompt".to_owned()));
        }
        let rewards: &Orchestrator = self.rewards;
        let has_tools = |chosen: Result<Assignment, RewardError>| match chosen {
            Ok(_) => Ok(()),
            Err(e) => Err(no_replacement(e.to_string())),
        };
        self.prompts.examples.for_each(|example| rewards.choose(&example), has_tools)?;
        self.heldout.iter().try_for_each(|example| has_tools(rewards.choose(example)))?;
        let is_affected = |g: &Group| g.replies.iter().any(|r| r.scores.get(&tool).is_some());
        match self.rescore(batch, is_affected) {
            Ok(()) => {
                tracing::warn!(
                    "step {step}: tool `{tool}` failed on {failed} of {requested} replies and is suspended; last: {last}"
                );
                Ok(())
            }
            Err(TrainError::Reward(e)) => Err(no_replacement(e.to_string())),
            Err(e) => Err(e),
        }
    }

    /// The files by which a checkpoint restores the collector: tool failures, the agents' results, learned
    /// weights, and a batch collected ahead.
    pub fn files(&self) -> Result<Files, TrainError> {
        let mut files = vec![(TOOL_HEALTH.to_owned(), serde_json::to_vec(&self.tool_health)?)];
        if let Some(evolution) = &self.evolution {
            files.push((EVOLUTION.to_owned(), serde_json::to_vec(evolution.state())?));
        }
        if let Some(weights) = &self.weights {
            files.push((WEIGHTS.to_owned(), serde_json::to_vec(weights)?));
        }
        if let Some(batch) = &self.next {
            files.push((NEXT_BATCH.to_owned(), serde_json::to_vec(batch)?));
        }
        Ok(files)
    }
}
