//! The config, which is the YAML of a job. The files here hold its sections; `training.rs` holds `train`, `warmup`,
//! `sampling` and `optimizer`. The bounds of a key stand at its field; `check.rs` and `check_tinker.rs` hold the checks that
//! involve several keys.
//!
//! To add a key: add a field to the struct of its section, with a default and a doc comment, which becomes the text in
//! `docs/reference/config.md`. If the key depends on others, add a check in `check.rs`. If a resumed run may change it, add
//! it to `MAY_CHANGE` in `run/inputs.rs`.

mod algorithm;
mod check;
mod check_tinker;
mod data;
mod evaluation;
mod foreign_names;
mod model;
mod paths;
mod rewards;
mod rewards_only;
mod run;
mod tinker;
mod training;
mod vllm;

use rlar_eval::Protocol;
use rlar_policy::Precision;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use algorithm::{
    Aggregate, Algorithm, Combine, Correction, CorrectionMode, Estimator, Kl, KlEstimator, KlTarget, Overlong,
    Surrogate,
};
pub use data::{DataConfig, DataSet, Domain};
pub use evaluation::{CheckpointMetric, EvalConfig, SuiteRun};
pub use foreign_names::FOREIGN_NAMES;
pub use model::{LoraConfig, ModelChoice, Scratch};
pub use rewards::{Agent, Audit, RewardsConfig, Unadmitted, WeightSource};
pub use rewards_only::RewardsOnly;
pub use run::RunConfig;
pub use tinker::TinkerConfig;
pub use training::{
    Method, OptimizerConfig, SamplingConfig, SamplingEngine, TrainConfig, TrainingEngine, WarmupConfig,
};
pub use vllm::{PublishBy, VllmConfig, VllmStartConfig};

use crate::schedule::Stream;

/// The version of the config format that this program reads.
pub const VERSION: u32 = 1;

/// A job: what to train, on what data, with which rewards.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Version of the config format: 1.
    pub version: u32,
    /// Seed of all random numbers: initial weights, order of data, sampling, dropout.
    #[serde(default)]
    pub seed: u64,
    /// The device that computes: `cpu`, `cuda:0`, `cuda:1` …, or `auto`.
    #[serde(default = "cpu")]
    pub device: String,
    /// The number format of matrix products with weights: `f32`, or `bf16` on a GPU or a processor with AVX512-BF16. That
    /// instruction set is faster than `f32` on AMD's Zen 4 and slower on Intel's Xeon. On a GPU, `f32` rounds the inputs of
    /// products to TF32, which has 11 significant bits. With `bf16`, sampling holds a copy of the matrices in bfloat16.
    #[serde(default)]
    pub precision: Precision,
    /// The run's folder, and which checkpoints and rollouts it keeps.
    #[serde(default)]
    pub run: RunConfig,
    /// The model to start from.
    pub model: ModelChoice,
    /// The data files.
    pub data: DataConfig,
    /// Supervised fine-tuning of the policy before reinforcement learning (the warm-up); needs `data.demonstrations`.
    #[serde(default)]
    pub warmup: WarmupConfig,
    /// The reward tools: verifiers, judges and reward models that score replies.
    #[serde(default)]
    pub rewards: RewardsConfig,
    /// How replies are sampled.
    #[serde(default)]
    pub sampling: SamplingConfig,
    /// Training method, number of steps, batch sizes, and limits of time and tokens.
    #[serde(default)]
    pub train: TrainConfig,
    /// The reinforcement-learning algorithm: how the policy learns from rewards.
    #[serde(default)]
    pub algorithm: Algorithm,
    /// The settings of the optimizer, AdamW.
    #[serde(default)]
    pub optimizer: OptimizerConfig,
    /// Evaluation before, during and after training.
    #[serde(default)]
    pub eval: EvalConfig,
}

fn cpu() -> String {
    "cpu".into()
}

impl Config {
    /// How held-out accuracy is measured: first with replies sampled at the training temperature, then with greedy
    /// replies.
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

    /// The JSON Schema of a config, by which its YAML is checked.
    pub fn schema() -> serde_json::Value {
        schemars::schema_for!(Self).to_value()
    }
}
