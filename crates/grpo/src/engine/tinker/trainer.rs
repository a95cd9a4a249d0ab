//! Training by the server: samples with advantages out, log-probs and norms of gradients in.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rlar_policy::{File, ModelSource, Sequence};
use rlar_tinker::{AdamParams, AdapterFiles, Datum, DatumOutput, LossFunction, StepOutput, TrainingModel};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::TrainError;
use crate::algorithm::importance::importance_weights;
use crate::algorithm::loss::token_share;
use crate::config::{CorrectionMode, OptimizerConfig};
use crate::engine::sampler::Sampler;
use crate::engine::tinker::connect::{TinkerEngine, TinkerRecord};
use crate::engine::tinker::sampler::TinkerSampler;
use crate::engine::tinker::server_loss::PassTotals;
use crate::engine::trainer::{
    CheckpointPart, Checkpointed, CompletionLogProbs, CurrentPolicy, ForwardBackward, Objective, PassOptions,
    TrainSample, Trainer,
};

/// The file of a checkpoint that names the server's checkpoint.
pub(super) const CHECKPOINT: &str = "tinker.json";

/// A model that the server trains: a LoRA adapter with its optimizer.
#[derive(Debug)]
pub struct TinkerTrainer {
    engine: TinkerEngine,
    model: Mutex<TrainingModel>,
    steps: u64,
    /// Whether a pass waits for its step.
    has_gradients: bool,
    /// Number of times that this process has saved the model. Every checkpoint has a name of its own, because a server takes
    /// each name once.
    saves: AtomicU64,
}

/// The content of [`CHECKPOINT`].
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SavedModel {
    /// The server's name of the checkpoint, such as `tinker://MODEL/weights/NAME`.
    pub checkpoint: String,
}

/// The norm of the gradient of a step; an error if the server does not say it.
pub(super) fn grad_norm(step: &StepOutput) -> Result<f64, String> {
    let norm = step.metrics.iter().find(|(name, _)| name.ends_with("grad_norm"));
    norm.map(|(_, norm)| *norm).ok_or_else(|| {
        let names: Vec<&str> = step.metrics.keys().map(String::as_str).collect();
        format!("the server does not say the norm of a step's gradient; it says: {}", names.join(", "))
    })
}

impl TinkerTrainer {
    pub(super) fn new(engine: TinkerEngine, model: TrainingModel, steps: u64) -> Self {
        Self { engine, model: Mutex::new(model), steps, has_gradients: false, saves: AtomicU64::new(0) }
    }

    /// The record of the server and of this model for the run's folder.
    pub fn record(&self) -> TinkerRecord {
        self.engine.record(&self.model())
    }

    /// The files of a folder with the adapter, from which PEFT and rlar load the policy: `base` is where its base model is on
    /// this machine or on the Hub. The tokenizer's files are beside it.
    pub fn adapter(&self, base: &ModelSource) -> Result<Vec<File>, TrainError> {
        let name = self.next_name("adapter");
        let (mut guard, server) = (self.model(), &self.engine.shared.server);
        let model: &mut TrainingModel = &mut guard;
        let download = async {
            let saved = model.save_adapter(&name).await?;
            server.download_adapter(&saved).await
        };
        let AdapterFiles { config, weights } = self.engine.wait(download)?;
        let mut files: Vec<File> =
            vec![("adapter_config.json", with_base(&config, base)?), ("adapter_model.safetensors", weights)];
        let tokenizer = self.engine.policy().tokenizer.files()?;
        files.extend(tokenizer.map(|(name, text)| (name, text.into_bytes())));
        Ok(files)
    }

    /// Frees the model's place on the server. Its checkpoints remain.
    pub fn unload(self) {
        let Self { engine, model, .. } = self;
        let model = model.into_inner().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = engine.wait(model.unload()) {
            tracing::warn!("{error}");
        }
    }

    fn model(&self) -> MutexGuard<'_, TrainingModel> {
        self.model.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next_name(&self, kind: &str) -> String {
        format!("{kind}-{}-{}", self.steps, self.saves.fetch_add(1, Ordering::Relaxed))
    }

    /// The datum of a sample. Its advantages are such that the server's loss has the gradient of the objective.
    fn datum(&self, sample: &TrainSample, objective: Objective, pass: PassTotals) -> Datum {
        let TrainSample { sequence: Sequence { prompt, completion }, advantage, old_log_probs, .. } = *sample;
        let Objective { algorithm: a, minibatch } = objective;
        let targets = completion.len();
        let factor = self.engine.shared.loss.loss.factor(targets, pass);
        let scaled = advantage * token_share(a.aggregate, targets, &minibatch) / factor;
        let mut datum = Datum::completion(prompt, completion, old_log_probs, scaled as f32);
        if a.correction.mode != CorrectionMode::None && !sample.sampler_log_probs.is_empty() {
            let weights = importance_weights(&a.correction, old_log_probs, sample.sampler_log_probs);
            let advantages = datum.advantages.iter_mut().flatten().rev();
            advantages.zip(weights.iter().rev()).for_each(|(advantage, weight)| *advantage *= *weight as f32);
        }
        datum
    }
}

/// The log-probs of the completions of some sequences, concatenated. The targets of a datum end with its completion.
fn of_completions(outputs: &[DatumOutput], sequences: &[Sequence]) -> CompletionLogProbs {
    let mut known = CompletionLogProbs::default();
    for (output, sequence) in outputs.iter().zip(sequences) {
        let before = output.logprobs.len().saturating_sub(sequence.completion.len());
        known.log_probs.extend(&output.logprobs[before..]);
    }
    known
}

/// The config of an adapter with the name of its base model as PEFT and rlar find it.
fn with_base(config: &[u8], base: &ModelSource) -> Result<Vec<u8>, TrainError> {
    let mut json: Value = serde_json::from_slice(config)?;
    let path = std::path::absolute(&base.path).unwrap_or_else(|_| base.path.clone());
    let repository = base.repository.as_ref();
    let name = repository.map_or_else(|| path.display().to_string(), |repository| repository.id.clone());
    json["base_model_name_or_path"] = name.into();
    json["revision"] = repository.map(|repository| repository.commit.clone()).into();
    json["task_type"] = "CAUSAL_LM".into();
    Ok(serde_json::to_vec_pretty(&json)?)
}

impl Checkpointed for TinkerTrainer {
    /// Saves adapter and optimizer on the server; a file names them.
    fn save(&self) -> Vec<CheckpointPart<'_>> {
        vec![Box::new(|| {
            let name = self.next_name("step");
            let saved = self.engine.wait(self.model().save_weights(&name))?;
            let saved = SavedModel { checkpoint: saved.to_string() };
            Ok(vec![(CHECKPOINT.to_owned(), serde_json::to_vec_pretty(&saved)?)])
        })]
    }

    fn optimizer_steps(&self) -> u64 {
        self.steps
    }
}

impl Trainer for TinkerTrainer {
    fn log_probs(&self, sequences: &[Sequence], _: PassOptions) -> Result<CompletionLogProbs, TrainError> {
        if sequences.is_empty() {
            return Ok(CompletionLogProbs::default());
        }
        let data: Vec<Datum> = sequences.iter().map(|s| Datum::supervised(s.prompt, s.completion)).collect();
        let mut guard = self.model();
        let model: &mut TrainingModel = &mut guard;
        let forward = async { model.forward(&data, LossFunction::CrossEntropy).await?.result().await };
        let output = self.engine.wait(forward)?;
        Ok(of_completions(&output.data, sequences))
    }

    fn ref_log_probs(&self, _: &[Sequence], _: PassOptions) -> Result<Option<CompletionLogProbs>, TrainError> {
        Ok(None)
    }

    fn reanchor(&mut self) -> Result<bool, TrainError> {
        Ok(false)
    }

    fn gives_entropies(&self) -> bool {
        false
    }

    fn has_dropout(&self) -> bool {
        false
    }

    /// One pass per optimizer step, because servers may divide by the number of sequences of a pass.
    fn forward_backward(
        &mut self,
        samples: &[TrainSample],
        objective: Objective,
        _: PassOptions,
    ) -> Result<ForwardBackward, TrainError> {
        if self.has_gradients {
            let message = "a pass was asked for before the step of the one before it".to_owned();
            return Err(TrainError::Tinker { message });
        }
        let sequences: Vec<Sequence> = samples.iter().map(|sample| sample.sequence).collect();
        let targets = sequences.iter().map(|s| s.completion.len()).sum();
        let pass = PassTotals { sequences: samples.len(), targets };
        let data: Vec<Datum> = samples.iter().map(|sample| self.datum(sample, objective, pass)).collect();
        let a = objective.algorithm;
        let loss = LossFunction::Ppo { clip_low: (1.0 - a.clip_low) as f32, clip_high: (1.0 + a.clip_high) as f32 };
        self.has_gradients = true;
        let mut guard = self.model();
        let model: &mut TrainingModel = &mut guard;
        let backward = async { model.forward_backward(&data, loss).await?.result().await };
        let output = self.engine.wait(backward)?;
        let log_probs = of_completions(&output.data, &sequences);
        Ok(ForwardBackward { losses: objective.losses(samples, &log_probs), log_probs })
    }

    fn optimizer_step(&mut self, optimizer: &OptimizerConfig, lr: f32) -> Result<f64, TrainError> {
        let adam = AdamParams {
            learning_rate: f64::from(lr),
            beta1: f64::from(optimizer.beta1),
            beta2: f64::from(optimizer.beta2),
            eps: f64::from(optimizer.eps),
            weight_decay: f64::from(optimizer.weight_decay),
        };
        let mut guard = self.model();
        let model: &mut TrainingModel = &mut guard;
        let output = self.engine.wait(async { model.optim_step(adam).await?.result().await })?;
        drop(guard);
        self.has_gradients = false;
        self.steps += 1;
        grad_norm(&output).map_err(|message| TrainError::Tinker { message })
    }

    /// The sampler can be used until the next optimizer step.
    fn publish(&self, weight_version: u64) -> Result<Box<dyn Sampler>, TrainError> {
        let remote = Arc::new(self.engine.wait(self.model().sampler())?);
        Ok(Box::new(TinkerSampler { shared: Arc::clone(&self.engine.shared), remote, weight_version }))
    }

    fn policy(&self) -> Result<CurrentPolicy<'_>, TrainError> {
        Ok(CurrentPolicy::Elsewhere { sampler: self.publish(self.steps)?, weight_version: self.steps })
    }
}
