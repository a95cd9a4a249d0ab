//! Reward-model training: steps that lower the Bradley–Terry loss of preference pairs, and accuracy on held-out pairs.

use std::time::Instant;

use rlar_policy::{Gradients, PolicyError, RewardInput, RewardModel, micro_batches};
use rlar_run::Journal;

use crate::config::Config;
use crate::engine::local::trainer::LocalTrainer;
use crate::report::step_record::{Measurement, RewardModelMetrics, StepMetrics, StepRecord, StepSeconds};
use crate::train_loop::TrainMethod;
use crate::train_loop::preference::{PreferencePair, bradley_terry};
use crate::update::train_state::TrainState;
use crate::{TrainError, schedule};

/// Training of a reward model on preference pairs as a training method of the train loop.
#[derive(Debug)]
pub struct RewardModelTraining<'a> {
    /// The config of the run.
    pub config: &'a Config,
    /// Preference pairs to train on.
    pub pairs: &'a [PreferencePair],
    /// Held-out preference pairs to measure accuracy on.
    pub heldout: &'a [PreferencePair],
    /// Number of tokens per micro-batch of the backward pass, prompts included.
    pub tokens_per_micro_batch: usize,
}

impl RewardModelTraining<'_> {
    /// Share of the held-out pairs in which the model scores the chosen reply higher; `None` without held-out pairs.
    pub fn accuracy(&self, model: &RewardModel) -> Result<Option<f64>, TrainError> {
        if self.heldout.is_empty() {
            return Ok(None);
        }
        let used = &self.heldout[..self.config.eval.examples(self.heldout.len())];
        let inputs: Vec<RewardInput> = used.iter().flat_map(|p| [p.chosen.clone(), p.rejected.clone()]).collect();
        let outputs = model.outputs(&inputs, self.tokens_per_micro_batch)?;
        let right = outputs.chunks_exact(2).filter(|s| s[0][0] > s[1][0]).count();
        Ok(Some(right as f64 / used.len().max(1) as f64))
    }

    /// Takes the next training step, at learning rate `lr`, and returns its metrics. The counters in `state` are not
    /// changed.
    pub fn update(
        &self,
        state: &mut TrainState<LocalTrainer<RewardModel>>,
        lr: f32,
    ) -> Result<RewardModelMetrics, TrainError> {
        let batch = self.config.train.batch.min(self.pairs.len());
        let chosen = schedule::batch(self.pairs.len(), batch, state.counters.step, self.config.seed);
        let pairs: Vec<&PreferencePair> = chosen.iter().map(|i| &self.pairs[*i]).collect();
        let mut gradients = Gradients::default();
        let (mut loss, mut right, mut margin) = (0.0, 0, 0.0);
        for range in micro_batches(pairs.iter().map(|p| p.len()), self.tokens_per_micro_batch) {
            let part = &pairs[range];
            let inputs: Vec<&RewardInput> = part.iter().flat_map(|p| [&p.chosen, &p.rejected]).collect();
            state.trainer.model.backward(&mut gradients, &inputs, |scores| {
                let mut grads = Vec::with_capacity(scores.len());
                for (pair, s) in part.iter().zip(scores.chunks_exact(2)) {
                    let (chosen, rejected) = (f64::from(s[0]), f64::from(s[1]));
                    let pair_loss = bradley_terry(chosen, rejected, pair.margin);
                    loss += pair_loss.value;
                    margin += chosen - rejected;
                    right += usize::from(chosen > rejected);
                    let grad = (pair_loss.grad_chosen / pairs.len() as f64) as f32;
                    grads.extend([grad, -grad]);
                }
                grads
            });
        }
        let TrainState { trainer: LocalTrainer { model, moments, .. }, counters } = state;
        let decoder = model.decoder_mut().ok_or_else(|| PolicyError::Request("an encoder cannot be trained".into()))?;
        let grad_norm = self.config.optimizer.adamw().step(decoder, moments, gradients, lr);
        if !grad_norm.is_finite() {
            return Err(TrainError::Diverged { step: counters.step + 1 });
        }
        let n = pairs.len() as f64;
        Ok(RewardModelMetrics {
            loss: loss / n,
            accuracy: right as f64 / n,
            margin: margin / n,
            grad_norm,
            learning_rate: lr,
        })
    }
}

impl TrainMethod<LocalTrainer<RewardModel>> for RewardModelTraining<'_> {
    fn step(
        &mut self,
        state: &mut TrainState<LocalTrainer<RewardModel>>,
        lr: f32,
        _: &mut Journal,
    ) -> Result<StepRecord, TrainError> {
        let clock = Instant::now();
        let step = state.counters.step + 1;
        let metrics = self.update(state, lr)?;
        let seconds = StepSeconds::training(clock.elapsed().as_secs_f64());
        state.counters.seconds.training += seconds.training;
        Ok(StepRecord {
            step,
            metrics: StepMetrics::RewardModel(metrics),
            seconds,
            eval: None,
            news: None,
            hints: None,
        })
    }

    fn measure(&mut self, trainer: &LocalTrainer<RewardModel>) -> Result<Option<Measurement>, TrainError> {
        let accuracy = self.accuracy(&trainer.model)?;
        Ok(accuracy.map(|_| Measurement { accuracy, decides: accuracy, ..Measurement::default() }))
    }
}
