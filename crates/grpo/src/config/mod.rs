//! The YAML of a job, checked whole before anything runs.

mod algorithm;
mod measuring;
mod model;
mod surroundings;
mod training;

use rlar_eval::Protocol;
use rlar_policy::Precision;
use rlar_rewards::LlmConfig;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use algorithm::{
    Aggregate, Algorithm, Combine, Correction, CorrectionMode, Estimator, Kl, KlEstimator, KlPlace, Overlong, Surrogate,
};
pub use measuring::{EvalConfig, Metric, Sitting};
pub use model::{LoraConfig, ModelChoice, Scratch};
pub use surroundings::{Agent, Audit, DataConfig, Domain, RewardsConfig, RunConfig, Unadmitted};
pub use training::{Method, OptimizerConfig, SamplingConfig, TrainConfig, WarmupConfig};

use crate::schedule::mix;

/// The format that this build reads.
pub const VERSION: u32 = 1;

/// A job: what to train, on what, with which rewards.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Version of this format: 1.
    pub version: u32,
    /// Seed of everything random.
    #[serde(default)]
    pub seed: u64,
    /// Where tensors live: `cpu`, `cuda:0`, `cuda:1` …, or `auto`.
    #[serde(default = "cpu")]
    pub device: String,
    /// What matrix products are computed in: `f32`, or `bf16` on a GPU.
    #[serde(default)]
    pub precision: Precision,
    /// The run's folder and what is kept in it.
    #[serde(default)]
    pub run: RunConfig,
    /// The policy to start from.
    pub model: ModelChoice,
    /// The data.
    pub data: DataConfig,
    /// Supervised fine-tuning before reinforcement learning; needs `data.demonstrations`.
    #[serde(default)]
    pub warmup: WarmupConfig,
    /// Reward tools.
    #[serde(default)]
    pub rewards: RewardsConfig,
    /// How replies are drawn.
    #[serde(default)]
    pub sampling: SamplingConfig,
    /// Steps, sizes and budgets.
    #[serde(default)]
    pub train: TrainConfig,
    /// How a policy learns from rewards.
    #[serde(default)]
    pub algorithm: Algorithm,
    /// The optimizer.
    #[serde(default)]
    pub optimizer: OptimizerConfig,
    /// Measuring held-out accuracy: before, after, and while training.
    #[serde(default)]
    pub eval: EvalConfig,
}

fn cpu() -> String {
    "cpu".into()
}

impl Config {
    /// How held-out accuracy is measured: sampled at the training temperature, and greedily.
    pub fn protocols(&self) -> [Protocol; 2] {
        let protocol = |temperature: f32, samples: usize| Protocol {
            format: self.data.format,
            sampling: self.sampling.at(temperature),
            samples,
            seed: mix(&[self.seed, 2]),
            batch: self.sampling.batch,
            scored: self.rewards.scored.clone().unwrap_or_default(),
            always: self.rewards.always.clone(),
        };
        [protocol(self.sampling.temperature, self.eval.samples), protocol(0.0, 1)]
    }

    /// The JSON Schema of the YAML.
    pub fn schema() -> serde_json::Value {
        schemars::schema_for!(Self).to_value()
    }

    /// Values that are impossible together: key path and reason.
    pub fn problems(&self) -> Vec<(String, String)> {
        let mut found = Vec::new();
        let mut say = |key: &str, message: String| found.push((key.to_owned(), message));
        if self.version != VERSION {
            say("version", format!("is {}; this build reads version {VERSION}", self.version));
        }
        if self.model.path.is_some() == self.model.scratch.is_some() {
            say("model", "needs exactly one of `path` and `scratch`".into());
        }
        if let Some(lora) = &self.model.lora {
            if self.model.scratch.is_some() {
                say("model.lora", "adapts the model at `model.path`; one from scratch has nothing to keep".into());
            } else if let Err(why) = lora.lora().check() {
                say("model.lora", why);
            }
        }
        if let Some(scratch) = &self.model.scratch {
            if !scratch.hidden_size.is_multiple_of(2 * scratch.heads) {
                let message = format!("{} is not a multiple of twice the {} heads", scratch.hidden_size, scratch.heads);
                say("model.scratch.hidden_size", message);
            } else if let Err(why) = scratch.model(scratch.vocab_size) {
                say("model.scratch", why);
            }
            let untaught = !self.data.has_demonstrations() || self.warmup.steps == 0;
            if untaught && self.train.method == Method::Grpo {
                say("warmup.steps", "a model from scratch needs `data.demonstrations` and some warm-up steps".into());
            }
            if self.sampling.max_tokens >= scratch.positions && self.train.method == Method::Grpo {
                let message = format!(
                    "{} leaves no room for a prompt in {} positions",
                    self.sampling.max_tokens, scratch.positions
                );
                say("sampling.max_tokens", message);
            }
        }
        if !self.data.has_demonstrations() && (self.warmup.steps > 0 || self.train.method == Method::Sft) {
            say("data", "supervised fine-tuning needs `demonstrations`".into());
        }
        let has_prompts = self.data.train.is_some() || self.data.mixture.iter().any(|d| d.train.is_some());
        if self.train.method == Method::Grpo && !has_prompts {
            say("data", "`grpo` needs prompts to train on: `train`".into());
        }
        found.extend(self.data.problems(self.train.method, self.train.steps));
        let mut say = |key: &str, message: String| found.push((key.to_owned(), message));
        if self.train.method == Method::RewardModel {
            if self.data.preferences.is_none() {
                say("data", "`reward_model` needs `preferences`".into());
            }
            if self.model.lora.is_some() {
                say("model.lora", "a reward model is trained whole".into());
            }
            if self.train.recompute_layers {
                say("train.recompute_layers", "is for policies".into());
            }
            if self.warmup.steps > 0 {
                say(
                    "warmup.steps",
                    "a reward model has no warm-up; train the language model first with `rlar sft`".into(),
                );
            }
        }
        if !self.train.prompts.is_multiple_of(self.train.minibatches) {
            let message =
                format!("{} does not divide the {} prompts of a step", self.train.minibatches, self.train.prompts);
            say("train.minibatches", message);
        }
        let has_heldout = self.data.heldout.is_some() || self.data.mixture.iter().any(|d| d.heldout.is_some());
        let measures = (has_heldout || !self.eval.suites.is_empty()) && self.eval.every > 0;
        if self.run.keep_best > 0 && !measures {
            say("run.keep_best", "needs `data.heldout` or `eval.suites`, and `eval.every`".into());
        }
        found.extend(self.eval.problems(has_heldout, self.train.method));
        found.extend(self.algorithm.problems(&self.train, &self.sampling));
        let mut say = |key: &str, message: String| found.push((key.to_owned(), message));
        if self.device != "auto"
            && self.device != "cpu"
            && self.device.strip_prefix("cuda:").is_none_or(|n| n.parse::<usize>().is_err())
        {
            say("device", format!("`{}` is not one of: cpu, cuda:0, cuda:1 …, auto", self.device));
        }
        if !(self.train.max_minutes >= 0.0 && self.train.max_minutes.is_finite()) {
            say("train.max_minutes", format!("{} is not a time; 0 is no limit", self.train.max_minutes));
        }
        found.extend(self.rewards.problems());
        let mut say = |key: &str, message: String| found.push((key.to_owned(), message));
        if let Some(why) = self.rewards.llm.as_ref().and_then(LlmConfig::problem) {
            say("rewards.llm", why);
        }
        let agents = self.rewards.agent == Agent::Llm || self.rewards.evolve.is_some();
        if agents && self.rewards.llm.is_none() {
            let key = if self.rewards.agent == Agent::Llm { "rewards.agent" } else { "rewards.evolve" };
            say(key, "asks a language model: name one in `rewards.llm`".into());
        }
        if self.run.folder.trim().is_empty() {
            say("run.folder", "is empty".into());
        }
        found
    }

    /// What this machine cannot run: key path and reason.
    pub fn device_problems(&self) -> Vec<(String, String)> {
        let Err(error) = rlar_policy::ComputeDevice::with_precision(&self.device, self.precision) else {
            return Vec::new();
        };
        let key = if rlar_policy::ComputeDevice::new(&self.device).is_ok() { "precision" } else { "device" };
        vec![(key.to_owned(), error.to_string())]
    }

    /// Values that are impossible with this number of prompts in `data.train`: key path and reason.
    pub fn data_problems(&self, prompts: usize) -> Vec<(String, String)> {
        let train = &self.train;
        if prompts == 0 || prompts >= train.prompts || prompts.is_multiple_of(train.minibatches) {
            return Vec::new();
        }
        let message = format!("{} does not divide the {prompts} prompts of `data.train`", train.minibatches);
        vec![("train.minibatches".to_owned(), message)]
    }
}
