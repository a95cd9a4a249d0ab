//! GRPO on one page: collect rollouts, compute advantages, update the policy, record the step.
//!
//! GRPO is group relative policy optimisation (Shao et al., 2024, arXiv 2402.03300). With the default
//! [`Algorithm`](crate::config::Algorithm) the steps here differ from the paper in the following:
//!
//! 1. The loss is the mean over all tokens of a minibatch (DAPO), not the mean of each reply's mean
//!    ([`policy_loss`](crate::algorithm::loss::policy_loss)).
//! 2. If any tool fails on a reply, or abstains (it does not apply to the prompt), the reply has no advantage and does
//!    not enter its group's baseline ([`advantages`]). A missing score is never trained on as a 0.
//! 3. If prompts have several tools, each tool's scores are normalised within the group, and their weighted sums are
//!    normalised again over the batch (GDPO). If every prompt has one tool, the advantages are those of the paper, with
//!    the sample standard deviation (`n − 1`) plus 1e-4 as divisor.
//! 4. The sampler's log-probs serve as those of the old policy, unless `algorithm.correction` asks for the trainer's
//!    own ([`OldAndRefLogProbs`]).
//! 5. There is no KL penalty unless `algorithm.kl` asks for one.
//! 6. There is one optimizer step per batch, so that all ratios are 1 up to rounding, unless `train.epochs` or
//!    `train.minibatches` is more than 1.
//! 7. Replies with advantage 0 count in the divisor of the loss, but skip the backward pass when their gradient is 0.

use rlar_data::Example;
use rlar_eval::render_prompt;
use rlar_eval::suite::SuiteEval;
use rlar_run::{Files, Journal};

use crate::TrainError;
use crate::algorithm::advantage::advantages;
use crate::config::CorrectionMode;
use crate::engine::trainer::Trainer;
use crate::report::grpo_metrics::{GrpoMetrics, StepResults};
use crate::report::rollout_files::RolloutFiles;
use crate::report::step_record::{Measurement, PhaseSeconds, StepMetrics, StepRecord};
use crate::rollouts::batch::Batch;
use crate::rollouts::collect::Collector;
use crate::rollouts::drawn_prompts::{DrawnPrompts, TrainingPrompts};
use crate::rollouts::evolution::Evolution;
use crate::rollouts::zero_spread::ZeroSpread;
use crate::train_loop::TrainMethod;
use crate::train_loop::held_out::measure_policy;
use crate::update::policy_update::{OldAndRefLogProbs, UpdateStats, policy_update, scores_with_kl};
use crate::update::train_state::TrainState;

/// Reinforcement learning of a policy as a training method of the train loop.
#[derive(Debug)]
pub struct Grpo<'a> {
    /// Samples and scores the batch of each step.
    pub collector: Collector<'a>,
    /// The folder to which rollouts are written.
    pub rollout_files: RolloutFiles,
    /// Held-out prompts to measure the policy on.
    pub heldout: &'a [Example],
    /// Evaluation suites to measure the policy on.
    pub suites: &'a mut [SuiteEval],
}

/// Advantages of a batch, by group and reply, and the statistics of the update with them.
struct Updated {
    advantages: Vec<Vec<Option<f64>>>,
    stats: UpdateStats,
    /// For each reply of the batch's groups, the log-probs that the trainer computed before the update; empty if importance
    /// correction did not need them.
    trainer_log_probs: Vec<Vec<f32>>,
}

impl<T: Trainer> TrainMethod<T> for Grpo<'_> {
    fn step(&mut self, state: &mut TrainState<T>, lr: f32, journal: &mut Journal) -> Result<StepRecord, TrainError> {
        let config = self.collector.config;
        let step = state.counters.step + 1;
        let mut seconds = PhaseSeconds::default();

        // 1. Collect: draw prompts, sample replies, score them with the reward tools.
        let batch = self.collector.collect(state, journal, &mut seconds)?;
        let prompts = self.collector.prompts.of_batch(&batch)?;

        let update = |state: &mut TrainState<T>| {
            // 2. Advantages. With `algorithm.kl.in: reward`, the KL from the reference model is one of the scores.
            let log_probs = OldAndRefLogProbs::new(state, &batch, &prompts, config)?;
            let scores = scores_with_kl(&batch, &log_probs, config);
            let by_group = advantages(&scores, &config.algorithm);

            // 3. Policy update: optimizer steps that lower the policy loss.
            let stats = policy_update(state, &batch, &prompts, &log_probs, &by_group, config, lr)?;
            let is_corrected = config.algorithm.correction.mode != CorrectionMode::None;
            let trainer_log_probs = if is_corrected { log_probs.old_log_probs } else { Vec::new() };
            Ok(Updated { advantages: by_group, stats, trainer_log_probs })
        };
        // Runs `update` now. With `train.asynchronous`, the next batch is collected at the same time.
        let updated = self.collector.update_and_collect_ahead(state, &batch, journal, &mut seconds, update)?;
        let updated = Updated { stats: updated.stats.finite(step)?, ..updated };

        // 4. Record: count the batch, write its rollouts, compute the metrics.
        let record = self.record(state, &batch, &prompts, &updated, seconds, lr)?;

        // 5. With `algorithm.kl.reanchor_every`, the KL penalty refers to the new policy from now on.
        let every = config.algorithm.kl.reanchor_every;
        if every > 0 && step.is_multiple_of(every) && state.trainer.reanchor()? {
            state.counters.reference = step;
        }
        Ok(record)
    }

    fn measure(&mut self, trainer: &T) -> Result<Option<Measurement>, TrainError> {
        let policy = trainer.policy()?;
        let Collector { config, prompts, rewards, .. } = &mut self.collector;
        measure_policy(&policy, prompts.tokenizer, self.heldout, rewards, self.suites, config)
    }

    fn files(&self) -> Result<Files, TrainError> {
        self.collector.files()
    }

    fn sync(&mut self) -> Result<(), TrainError> {
        self.rollout_files.sync()
    }
}

impl Grpo<'_> {
    /// Counts the batch in `state`, writes its rollouts, and returns the record of the step. If all replies of every
    /// group had the same reward for `train.flat_steps` steps in a row, this is an error, because the run learns
    /// nothing.
    fn record<T>(
        &mut self,
        state: &mut TrainState<T>,
        batch: &Batch,
        prompts: &DrawnPrompts,
        Updated { advantages, stats: update, trainer_log_probs }: &Updated,
        seconds: PhaseSeconds,
        lr: f32,
    ) -> Result<StepRecord, TrainError> {
        let Collector { config, prompts: TrainingPrompts { tokenizer, .. }, .. } = self.collector;
        let step = state.counters.step + 1;
        state.counters.count_batch(batch, seconds, config.algorithm.combine);
        let zero_spread = self.zero_spread(batch, advantages);
        let mut metrics = GrpoMetrics::new(&StepResults {
            config,
            prompts,
            batch,
            advantages,
            update,
            zero_spread: &zero_spread,
            counters: &state.counters,
            lr,
            seconds,
        });
        let evolution = &mut self.collector.evolution;
        metrics.agents = evolution.as_ref().map(Evolution::usage);
        let news = evolution.as_mut().map(Evolution::news);
        metrics.suspended.clone_from(&self.collector.tool_health.suspended);
        if step.is_multiple_of(config.run.rollouts_every) || step == 1 {
            let render = |example: &Example| render_prompt(tokenizer, example, config.data.format);
            self.rollout_files.write(step, batch, advantages, trainer_log_probs, prompts, render)?;
        }
        let flat_steps = state.counters.flat_steps;
        if config.train.flat_steps > 0 && flat_steps >= config.train.flat_steps {
            return Err(TrainError::Flat { steps: flat_steps, why: zero_spread.explain(batch) });
        }
        Ok(StepRecord {
            step,
            metrics: StepMetrics::Grpo(Box::new(metrics)),
            seconds: seconds.into(),
            eval: None,
            hints: None,
            news,
        })
    }

    /// Counts the groups of a batch whose replies all have the same advantage. Groups that dynamic sampling replaced
    /// have no advantages; their rewards are compared instead.
    fn zero_spread(&self, batch: &Batch, advantages: &[Vec<Option<f64>>]) -> ZeroSpread {
        let library = self.collector.rewards.library();
        // The soft overlong penalty (DAPO) is scored like a tool, from −1 to 0, but has no tool card with a range.
        let range = |tool: &str| library.card(tool).map_or([-1.0, 0.0], |card| card.range);
        let advantages = advantages.iter().map(Vec::as_slice).chain(std::iter::repeat(&[][..]));
        ZeroSpread::count(batch.sampled().zip(advantages), self.collector.config.algorithm.combine, range)
    }
}
