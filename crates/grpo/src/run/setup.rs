//! Setup before the train loop: the initial model, its memory plan, and the order of its prompts.

use std::time::Duration;

use rlar_data::{Example, Preference};
use rlar_policy::{ComputeDevice, Decoder, ModelSource, Policy, PolicyError, Tokenizer, free_memory, load_tokenizer};
use rlar_run::{Disk, Progress, RunFolder};

use crate::TrainError;
use crate::config::{Config, KlEstimator, Method, ModelChoice};
use crate::engine::local::memory_plan::{TrainingMemory, TrainingSizes};
use crate::engine::local::trainable::Trainable;
use crate::engine::trainer::PassOptions;
use crate::rollouts::mixture::{DrawPlan, Mixture};
use crate::run::job::Job;
use crate::run::lengths::Lengths;
use crate::schedule::Stream;
use crate::update::train_state::Counters;

/// The progress of a phase with `total` steps, of which `done` are done.
pub fn progress(job: &Job, title: &str, total: u64, done: u64) -> Progress {
    Progress::new(job.output, title, total, done)
}

/// The longest time that a write waits for free space on a full disk, from `run.disk_wait`.
pub fn disk(config: &Config) -> Disk {
    Disk { wait: Duration::from_secs_f64(config.run.disk_wait) }
}

/// Sets the number of threads to that of the earlier run, because sums depend on it, bit for bit. If the thread pool
/// already runs with another number, this is an error. `counters` is `None` for a run that starts from the beginning.
pub fn restore_threads(run: &RunFolder, counters: Option<&Counters>) -> Result<(), TrainError> {
    let Some(wanted) = counters.map(|c| c.threads) else { return Ok(()) };
    // Building the pool fails if it runs already; its size is compared below.
    let _ = rayon::ThreadPoolBuilder::new().num_threads(wanted).build_global();
    let threads = rayon::current_num_threads();
    if threads != wanted {
        let message =
            format!("was computed by {wanted} threads and there are {threads}; set RAYON_NUM_THREADS={wanted}");
        return Err(TrainError::Checkpoint { path: run.path().to_owned(), message });
    }
    Ok(())
}

/// The policy before the first step: loaded, or made with random weights and a tokenizer trained on the job's data.
pub fn first_policy(job: &Job) -> Result<Policy, TrainError> {
    let config = &job.config;
    let device = ComputeDevice::with_precision(&config.device, config.precision)?;
    match (&job.model, &config.model.scratch) {
        (Some(source), _) => {
            let policy = <Policy as Trainable>::load(&source.path, &device, &config.model)
                .map_err(|source| TrainError::Data { key: "model.path", source })?;
            let Some(lora) = &config.model.lora else { return Ok(policy) };
            if lora.quantised && !policy.is_quantised() {
                tracing::warn!(
                    "model.lora.quantised has no effect: on this device, {} has no matrices in quantised blocks",
                    source.path.display()
                );
            }
            let path = std::path::absolute(&source.path).unwrap_or_else(|_| source.path.clone());
            let base = ModelSource { path, ..source.clone() };
            Ok(policy.adapt(lora.lora(), Stream::Weights.seed(config.seed), base)?)
        }
        (None, Some(scratch)) => {
            let tokenizer = first_tokenizer(&config.model, &job.demonstrations, &job.preferences)?;
            let model = scratch.model(tokenizer.vocab_size()).map_err(PolicyError::Request)?;
            Ok(Policy::random(model, tokenizer, Stream::Weights.seed(config.seed), &device)?)
        }
        (None, None) => Err(PolicyError::Request("`model` names no policy".into()).into()),
    }
}

/// The tokenizer of the policy before the first step: loaded without the model, or trained on the job's data.
pub fn first_tokenizer(
    model: &ModelChoice,
    demonstrations: &[Example],
    preferences: &[Preference],
) -> Result<Tokenizer, PolicyError> {
    match (&model.path, &model.scratch) {
        (Some(path), _) => load_tokenizer(path.as_ref()),
        (None, Some(scratch)) => {
            let demonstrations = demonstrations.iter().flat_map(|e| {
                let messages = e.messages.iter().map(|m| m.content.as_str());
                messages.chain(e.demonstration.as_deref())
            });
            let preferences = preferences.iter().flat_map(|p| {
                let messages = p.messages.iter().map(|m| m.content.as_str());
                messages.chain([p.chosen.as_str(), p.rejected.as_str()])
            });
            Tokenizer::train(demonstrations.chain(preferences), scratch.vocab_size)
        }
        (None, None) => Err(PolicyError::Request("`model` names no policy".into())),
    }
}

/// Estimates the memory of training, and chooses the number of tokens per micro-batch, for sequences of these lengths.
pub fn memory_plan(config: &Config, decoder: &Decoder, Lengths { longest, step }: Lengths) -> TrainingMemory {
    let layout = decoder.layout();
    let saved = PassOptions::new(config, 1.0, 0, 0).saved;
    let trained = layout.trained().parameters();
    let (has_reference, is_adapted) = (config.algorithm.kl.estimator != KlEstimator::None, layout.lora().is_some());
    let is_grpo = config.train.method == Method::Grpo;
    // Copies: a reference model, and the policy before the update, which samples the next batch, with its packed copy.
    let copies =
        usize::from(is_grpo && has_reference && !is_adapted) + 2 * usize::from(is_grpo && config.train.asynchronous);
    let sizes = TrainingSizes { weights: decoder.weight_bytes(), trained, copies, longest, step };
    let available = if config.device.starts_with("cuda") { None } else { free_memory() };
    // The loaded model is part of the plan, so its memory counts as available.
    let available = available.map(|free| free + decoder.weight_bytes());
    TrainingMemory::new(decoder.config(), sizes, saved, config.train.micro_batch_tokens, available)
}

/// Sets the number of tokens per micro-batch by the memory plan, and warns if the machine has too little memory for it.
pub fn plan_memory(counters: &mut Counters, config: &Config, decoder: &Decoder, lengths: Lengths) {
    let plan = memory_plan(config, decoder, lengths);
    counters.tokens_per_micro_batch = plan.tokens;
    if plan.is_too_large() {
        tracing::warn!("memory: {plan}");
    }
}

/// The order in which the prompts of a job are drawn; `lengths` has the length of each, 0 for one that is left out. With
/// `grpo`, a step at which no domain has a prompt is an error.
pub fn mixture(job: &Job, lengths: &[u32]) -> Result<Mixture, TrainError> {
    let plan = DrawPlan { per_step: job.config.train.prompts as u64, steps: job.config.train.steps };
    let mixture = Mixture::new(&job.config.data.mixture, &job.sizes, plan, &|i| lengths[i] > 0);
    match mixture.gap(plan.steps.saturating_mul(plan.per_step)) {
        Some(draw) if job.config.train.method == Method::Grpo => {
            let step = draw / plan.per_step;
            let message = format!("at step {step} no domain has a prompt whose length is within the limits");
            Err(TrainError::Data { key: "data.mixture", source: PolicyError::Request(message) })
        }
        _ => Ok(mixture),
    }
}
