//! `train`, `warmup`, `sampling`, `optimizer`: what a training step does.

use rlar_policy::{AdamW, Sampling};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::schedule::Decay;

/// The training method.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// Trains a policy on rewards: group relative policy optimisation (Shao et al., 2024), as `algorithm` describes it.
    Grpo,
    /// Trains a policy on demonstrations; `rlar sft`.
    Sft,
    /// Trains a reward model on preference pairs (Bradley & Terry, 1952); `rlar train-rm`.
    RewardModel,
}

/// Method, steps, sizes and budgets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TrainConfig {
    /// The training method.
    pub method: Method,
    /// Number of steps.
    pub steps: u64,
    /// Longest training time, in minutes; 0 is no limit. Sampling, scoring and training count.
    #[schemars(range(min = 0))]
    pub max_minutes: f64,
    /// Reply tokens after which no further step begins; 0 is no limit.
    pub max_tokens: u64,
    /// `grpo`: prompts per step.
    #[schemars(range(min = 1))]
    pub prompts: usize,
    /// `grpo`: replies per prompt.
    #[schemars(range(min = 2))]
    pub group_size: usize,
    /// `sft`, `reward_model`: demonstrations or pairs per step.
    #[schemars(range(min = 1))]
    pub batch: usize,
    /// `grpo`: passes over each batch of rollouts.
    #[schemars(range(min = 1))]
    pub epochs: usize,
    /// `grpo`: optimizer steps per epoch, each on its share of the prompts; must divide `prompts`.
    #[schemars(range(min = 1))]
    pub minibatches: usize,
    /// `grpo`: whether the next batch is sampled and scored, by the policy before the step, while the step is taken
    /// (one-step-off; Noukhovitch et al., 2024).
    pub asynchronous: bool,
    /// `grpo`: the run stops after this many steps in a row in which no group's rewards differ; 0 never stops it.
    pub flat_steps: u64,
    /// Tokens differentiated at a time, prompts included; does not change the mathematics. Planned from the machine's free
    /// memory when absent.
    #[schemars(range(min = 1))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub micro_batch_tokens: Option<usize>,
    /// Whether the backward pass recomputes each layer's activations instead of keeping them (gradient checkpointing): a third
    /// more computation, and the memory of one layer instead of all. Does not change the mathematics.
    pub recompute_layers: bool,
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            method: Method::Grpo,
            steps: 100,
            max_minutes: 0.0,
            max_tokens: 0,
            prompts: 16,
            group_size: 8,
            batch: 32,
            epochs: 1,
            minibatches: 1,
            asynchronous: false,
            flat_steps: 50,
            micro_batch_tokens: None,
            recompute_layers: false,
        }
    }
}

/// Supervised fine-tuning before reinforcement learning.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct WarmupConfig {
    /// Steps; 0 skips it.
    pub steps: u64,
    /// Demonstrations per step.
    #[schemars(range(min = 1))]
    pub batch: usize,
    /// Peak learning rate; it warms up over a tenth of the steps and decays to a tenth of itself.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub learning_rate: f32,
}

impl Default for WarmupConfig {
    fn default() -> Self {
        Self { steps: 0, batch: 32, learning_rate: 1e-3 }
    }
}

/// How replies are sampled.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SamplingConfig {
    /// Sampling temperature while training. Evaluation also samples greedily.
    #[schemars(extend("exclusiveMinimum" = 0), range(max = 100))]
    pub temperature: f32,
    /// Nucleus sampling: the smallest set of most likely tokens with at least this probability; 1 is all.
    #[schemars(extend("exclusiveMinimum" = 0), range(max = 1))]
    pub top_p: f32,
    /// Number of most likely tokens to sample from; 0 is all.
    pub top_k: usize,
    /// Least probability of a token to sample, as a share of the most likely token's; 0 is all.
    #[schemars(range(min = 0, max = 1))]
    pub min_p: f32,
    /// Logits of tokens that occurred before are divided by this when positive and multiplied when negative; 1 is no penalty.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub repetition_penalty: f32,
    /// Longest reply, in tokens.
    #[schemars(range(min = 1))]
    pub max_tokens: usize,
    /// Texts that end a reply, in addition to the model's end token.
    pub stop: Vec<String>,
    /// Sequences sampled at a time.
    #[schemars(range(min = 1))]
    pub batch: usize,
}

impl Default for SamplingConfig {
    fn default() -> Self {
        Self {
            temperature: 1.0,
            top_p: 1.0,
            top_k: 0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            max_tokens: 64,
            stop: Vec::new(),
            batch: 256,
        }
    }
}

impl SamplingConfig {
    /// The settings of the sampler, at a temperature.
    pub fn at(&self, temperature: f32) -> Sampling {
        Sampling {
            temperature,
            top_p: self.top_p,
            top_k: self.top_k,
            min_p: self.min_p,
            repetition_penalty: self.repetition_penalty,
            max_tokens: self.max_tokens,
            stop: self.stop.clone(),
            stop_tokens: Vec::new(),
        }
    }
}

/// The optimizer: AdamW.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct OptimizerConfig {
    /// Peak learning rate of reinforcement learning.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub learning_rate: f32,
    /// Steps over which the learning rate rises linearly from zero.
    pub warmup_steps: u64,
    /// How the learning rate decays afterwards.
    pub decay: Decay,
    /// Decay rate of the first moment.
    #[schemars(range(min = 0), extend("exclusiveMaximum" = 1))]
    pub beta1: f32,
    /// Decay rate of the second moment.
    #[schemars(range(min = 0), extend("exclusiveMaximum" = 1))]
    pub beta2: f32,
    /// Added to the square root of the second moment.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub eps: f32,
    /// Decoupled weight decay, on matrices only.
    #[schemars(range(min = 0))]
    pub weight_decay: f32,
    /// Gradients are scaled down to this global norm; 0 is no clipping.
    #[schemars(range(min = 0))]
    pub max_norm: f32,
}

impl OptimizerConfig {
    /// The optimizer.
    pub fn adamw(&self) -> AdamW {
        AdamW {
            beta1: self.beta1,
            beta2: self.beta2,
            eps: self.eps,
            weight_decay: self.weight_decay,
            max_norm: self.max_norm,
        }
    }
}

impl Default for OptimizerConfig {
    fn default() -> Self {
        Self {
            learning_rate: 1e-5,
            warmup_steps: 5,
            decay: Decay::Constant,
            beta1: 0.9,
            beta2: 0.99,
            eps: 1e-8,
            weight_decay: 0.0,
            max_norm: 1.0,
        }
    }
}
