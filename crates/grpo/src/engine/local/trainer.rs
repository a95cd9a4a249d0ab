//! Training in this process.

use rlar_policy::{ComputeDevice, File, Gradients, Moments, Policy, PolicyError, Sequence};
use rlar_run::{Checkpoint, Files};

use crate::TrainError;
use crate::config::{Config, OptimizerConfig};
use crate::engine::local::micro_batches::{LossGradients, add_gradient, log_probs};
use crate::engine::local::reference::Reference;
use crate::engine::local::sampler::LocalSampler;
use crate::engine::local::trainable::Trainable;
use crate::engine::sampler::Sampler;
use crate::engine::trainer::{
    CheckpointPart, Checkpointed, CompletionLogProbs, CurrentPolicy, ForwardBackward, Objective, PassOptions,
    TrainSample, Trainer,
};
use crate::engine::vllm::VllmEngine;

/// A model that is trained in this process, with the state of its optimizer.
#[derive(Debug)]
pub struct LocalTrainer<M = Policy> {
    /// The model that is trained: a policy or a reward model.
    pub model: M,
    /// The first and second moments of AdamW.
    pub moments: Moments,
    /// The reference model of the KL penalty; there is none before reinforcement learning starts.
    pub reference: Reference,
    /// The servers that sample; `None`: this process samples.
    pub servers: Option<VllmEngine>,
    /// The gradient since the last optimizer step.
    gradients: Gradients,
}

impl<M: Trainable> LocalTrainer<M> {
    /// The trainer of a model before its first step, with zero moments.
    pub fn new(model: M) -> Result<Self, PolicyError> {
        let moments = Moments::zeros(model.decoder()?);
        Ok(Self { model, moments, reference: Reference::None, servers: None, gradients: Gradients::default() })
    }

    /// Loads model and moments as they were saved, bit for bit. `optimizer_steps` is the number of optimizer steps that the
    /// moments contain. The reference model is opened when reinforcement learning starts ([`Reference::open`]).
    pub fn load(checkpoint: &Checkpoint, optimizer_steps: u64, config: &Config) -> Result<Self, TrainError> {
        let device = ComputeDevice::with_precision(&config.device, config.precision)?;
        let model = M::load(&checkpoint.path, &device, &config.model)?;
        let moments = Moments::load(model.decoder()?, &checkpoint.path, optimizer_steps)?;
        Ok(Self { model, moments, reference: Reference::None, servers: None, gradients: Gradients::default() })
    }
}

impl<M: Trainable> Checkpointed for LocalTrainer<M> {
    /// The files of a Hugging Face model folder, the moments, and the reference model where it can be loaded from nowhere
    /// else.
    fn save(&self) -> Vec<CheckpointPart<'_>> {
        let named =
            |files: Vec<File>| -> Files { files.into_iter().map(|(name, bytes)| (name.to_owned(), bytes)).collect() };
        vec![
            Box::new(move || Ok(named(self.model.files()?))),
            Box::new(move || Ok(named(vec![self.moments.first_file()?]))),
            Box::new(move || Ok(named(vec![self.moments.second_file()?]))),
            Box::new(move || self.reference.files()),
        ]
    }

    fn optimizer_steps(&self) -> u64 {
        self.moments.steps
    }
}

impl Trainer for LocalTrainer {
    fn log_probs(&self, sequences: &[Sequence], options: PassOptions) -> Result<CompletionLogProbs, TrainError> {
        Ok(log_probs(&self.model.decoder, sequences, options))
    }

    fn ref_log_probs(
        &self,
        sequences: &[Sequence],
        options: PassOptions,
    ) -> Result<Option<CompletionLogProbs>, TrainError> {
        Ok(self.reference.decoder().map(|reference| log_probs(reference, sequences, options)))
    }

    fn reanchor(&mut self) -> Result<bool, TrainError> {
        if matches!(self.reference, Reference::None) {
            return Ok(false);
        }
        self.reference = Reference::Anchored(self.model.clone());
        Ok(true)
    }

    fn gives_entropies(&self) -> bool {
        true
    }

    fn has_dropout(&self) -> bool {
        self.model.layout().lora().is_some_and(|lora| lora.lora_dropout > 0.0)
    }

    fn forward_backward(
        &mut self,
        samples: &[TrainSample],
        objective: Objective,
        options: PassOptions,
    ) -> Result<ForwardBackward, TrainError> {
        let sequences: Vec<Sequence> = samples.iter().map(|sample| sample.sequence).collect();
        let mut pass = ForwardBackward::default();
        add_gradient(&mut self.gradients, &self.model.decoder, &sequences, options, |range, known| {
            let mut losses = objective.losses(&samples[range], known);
            let mut gradients = LossGradients::default();
            for loss in &mut losses {
                gradients.log_probs.append(&mut loss.grad_log_probs);
                gradients.entropies.append(&mut loss.grad_entropies);
            }
            pass.log_probs.extend(known);
            pass.losses.append(&mut losses);
            gradients
        });
        Ok(pass)
    }

    fn optimizer_step(&mut self, optimizer: &OptimizerConfig, lr: f32) -> Result<f64, TrainError> {
        let gradients = std::mem::take(&mut self.gradients);
        Ok(optimizer.adamw().step(&mut self.model.decoder, &mut self.moments, gradients, lr))
    }

    /// A sampler in this process shares the weights; an optimizer step while it is alive copies them. Servers get a copy.
    fn publish(&self, weight_version: u64) -> Result<Box<dyn Sampler>, TrainError> {
        if let Some(servers) = &self.servers {
            return Ok(Box::new(servers.publish(&self.model, weight_version)?));
        }
        Ok(Box::new(LocalSampler { policy: self.model.clone(), weight_version }))
    }

    fn policy(&self) -> Result<CurrentPolicy<'_>, TrainError> {
        Ok(CurrentPolicy::Here(&self.model))
    }
}
