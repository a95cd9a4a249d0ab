//! The YAML of a job. Each section has a file here; [`check`] holds all checks that one key cannot make alone.
//!
//! To add a key: add a field to its section, with a doc comment (the text of `docs/config.md`) and a default; if it depends on
//! other keys, add a check in `check.rs`; if a resume may change it, add it to `MAY_CHANGE` in `run/inputs.rs`.

mod algorithm;
mod check;
mod data;
mod evaluation;
mod model;
mod rewards;
mod run;
mod training;

use rlar_eval::Protocol;
use rlar_policy::Precision;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use algorithm::{
    Aggregate, Algorithm, Combine, Correction, CorrectionMode, Estimator, Kl, KlEstimator, KlPlace, Overlong, Surrogate,
};
pub use data::{DataConfig, Domain};
pub use evaluation::{CheckpointMetric, EvalConfig, SuiteRun};
pub use model::{LoraConfig, ModelChoice, Scratch};
pub use rewards::{Agent, Audit, RewardsConfig, Unadmitted};
pub use run::RunConfig;
pub use training::{Method, OptimizerConfig, SamplingConfig, TrainConfig, WarmupConfig};

use crate::schedule::Stream;

/// The version of the format that this build reads.
pub const VERSION: u32 = 1;

/// A job: what to train, on what data, with which rewards.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Version of this format: 1.
    pub version: u32,
    /// Seed of everything random.
    #[serde(default)]
    pub seed: u64,
    /// The device that computes: `cpu`, `cuda:0`, `cuda:1` …, or `auto`.
    #[serde(default = "cpu")]
    pub device: String,
    /// The number format of matrix products: `f32`, or `bf16` on a GPU.
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
    /// How replies are sampled.
    #[serde(default)]
    pub sampling: SamplingConfig,
    /// Method, steps, sizes and budgets.
    #[serde(default)]
    pub train: TrainConfig,
    /// How a policy learns from rewards.
    #[serde(default)]
    pub algorithm: Algorithm,
    /// The optimizer.
    #[serde(default)]
    pub optimizer: OptimizerConfig,
    /// Evaluation before, after and while training.
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
            seed: Stream::HeldOut.seed(self.seed),
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
}
