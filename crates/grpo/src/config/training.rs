//! Sections `train`, `warmup`, `sampling` and `optimizer`: what a training step does.

use rlar_policy::{AdamW, Sampling};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::tinker::TinkerConfig;
use crate::config::vllm::VllmConfig;
use crate::schedule::Decay;

/// The training method.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// Reinforcement learning of a policy from rewards: group relative policy optimisation (Shao et al., 2024), with
    /// the settings in `algorithm`.
    Grpo,
    /// Supervised fine-tuning of a policy on demonstrations, as by `rlar sft`.
    Sft,
    /// Training of a reward model on preference pairs (Bradley & Terry, 1952), as by `rlar train-rm`.
    RewardModel,
}

/// What trains the policy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TrainingEngine {
    /// This process, on the device `device`.
    #[default]
    Local,
    /// The server of `train.tinker`, which trains a LoRA adapter of the model that it holds.
    Tinker,
}

impl TrainingEngine {
    // `skip_serializing_if` calls this function with a reference.
    #[allow(clippy::trivially_copy_pass_by_ref)]
    fn is_local(&self) -> bool {
        *self == Self::Local
    }
}

/// Training method, number of steps, batch sizes, and limits of time and tokens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TrainConfig {
    /// The training method.
    pub method: Method,
    /// Number of training steps; steps of the supervised warm-up are not counted.
    pub steps: u64,
    /// Longest training time, in minutes; 0 is no limit. Only the time of sampling, scoring and training counts, not
    /// that of the supervised warm-up or of evaluations.
    #[schemars(range(min = 0))]
    pub max_minutes: f64,
    /// Limit of reply tokens sampled by the run: once it is reached, no further step begins. 0 is no limit.
    pub max_tokens: u64,
    /// `grpo` only: number of prompts per step.
    #[schemars(range(min = 1))]
    pub prompts: usize,
    /// `grpo` only: number of replies per prompt, which form a group.
    #[schemars(range(min = 2))]
    pub group_size: usize,
    /// `sft` and `reward_model` only: number of demonstrations or preference pairs per step.
    #[schemars(range(min = 1))]
    pub batch: usize,
    /// `grpo` only: number of passes over each batch of rollouts.
    #[schemars(range(min = 1))]
    pub epochs: usize,
    /// `grpo` only: number of optimizer steps per pass over the batch, each on an equal share of the prompts; must
    /// divide `prompts`.
    #[schemars(range(min = 1))]
    pub minibatches: usize,
    /// `grpo` only: whether the next batch is sampled and scored at the same time as the update on the current one, by
    /// the policy before this update (one-step-off; Noukhovitch et al., 2024).
    pub asynchronous: bool,
    /// `grpo` only: the run stops with an error after this number of steps in a row in which all replies of every group
    /// had the same reward. 0 never stops the run.
    pub flat_steps: u64,
    /// Number of tokens per micro-batch of the backward pass, prompts included. It does not change the mathematics.
    /// When absent, it is derived from the free memory of the machine.
    #[schemars(range(min = 1))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub micro_batch_tokens: Option<usize>,
    /// Whether the backward pass recomputes the activations of each layer instead of keeping them (gradient
    /// checkpointing). This takes a third more computation, and the memory of one layer instead of all. It does not
    /// change the mathematics.
    pub recompute_layers: bool,
    /// `grpo` only: what trains the policy: `local`, this process, also when absent; `tinker`, the server of
    /// `train.tinker`, which samples, too.
    #[serde(skip_serializing_if = "TrainingEngine::is_local")]
    pub engine: TrainingEngine,
    /// The server of `engine: tinker`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tinker: Option<TinkerConfig>,
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
            engine: TrainingEngine::Local,
            tinker: None,
        }
    }
}

/// Supervised fine-tuning on demonstrations before the training steps (the warm-up).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct WarmupConfig {
    /// Number of supervised steps; 0 is no warm-up.
    pub steps: u64,
    /// Number of demonstrations per supervised step.
    #[schemars(range(min = 1))]
    pub batch: usize,
    /// Peak learning rate of the supervised steps: it is reached after a tenth of them, and decays to a tenth of itself
    /// at the end.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub learning_rate: f32,
}

impl Default for WarmupConfig {
    fn default() -> Self {
        Self { steps: 0, batch: 32, learning_rate: 1e-3 }
    }
}

/// What samples the replies that a policy is trained on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SamplingEngine {
    /// This process, on the device that trains.
    #[default]
    Local,
    /// The vLLM servers of `sampling.vllm`, which get the weights of every step.
    Vllm,
}

impl SamplingEngine {
    // `skip_serializing_if` calls this function with a reference.
    #[allow(clippy::trivially_copy_pass_by_ref)]
    fn is_local(&self) -> bool {
        *self == Self::Local
    }
}

/// How replies are sampled.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SamplingConfig {
    /// Temperature of sampling while training. Evaluations also use greedy replies.
    #[schemars(extend("exclusiveMinimum" = 0), range(max = 100))]
    pub temperature: f32,
    /// Nucleus sampling: tokens are drawn from the smallest set of most likely tokens that together have at least this
    /// probability. 1 is all tokens.
    #[schemars(extend("exclusiveMinimum" = 0), range(max = 1))]
    pub top_p: f32,
    /// Number of most likely tokens from which each token is drawn; 0 is all tokens.
    pub top_k: usize,
    /// Smallest probability of a token that may be drawn, as a fraction of the most likely token's probability; 0 is
    /// all tokens.
    #[schemars(range(min = 0, max = 1))]
    pub min_p: f32,
    /// Repetition penalty: logits of tokens that occurred before are divided by this number when positive, and
    /// multiplied by it when negative. 1 is no penalty.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub repetition_penalty: f32,
    /// Largest length of a reply, in tokens.
    #[schemars(range(min = 1))]
    pub max_tokens: usize,
    /// Texts that end a reply when they occur in it, in addition to the model's end token.
    pub stop: Vec<String>,
    /// Whether a reply that ended at a text of `stop` is scored with that text, as vLLM's `include_stop_str_in_output`
    /// does, instead of up to it. Needed where a text of `stop` belongs to the form of a reply, such as `</answer>`. In
    /// both cases the tokens of that text are learned, and no end token after it.
    #[serde(skip_serializing_if = "is_false")]
    pub include_stop: bool,
    /// Number of replies that are sampled at the same time.
    #[schemars(range(min = 1))]
    pub batch: usize,
    /// `grpo` only: what samples the replies that are trained on: `local`, this process, also when absent; `vllm`, the
    /// servers of `sampling.vllm`. With both, evaluations sample in this process.
    #[serde(skip_serializing_if = "SamplingEngine::is_local")]
    pub engine: SamplingEngine,
    /// The servers of `engine: vllm`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vllm: Option<VllmConfig>,
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
            include_stop: false,
            batch: 256,
            engine: SamplingEngine::Local,
            vllm: None,
        }
    }
}

// `skip_serializing_if` calls this function with a reference.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_false(value: &bool) -> bool {
    !value
}

impl SamplingConfig {
    /// Converts to the settings of the sampler, with this temperature; 0 is greedy.
    pub fn at(&self, temperature: f32) -> Sampling {
        Sampling {
            temperature,
            top_p: self.top_p,
            top_k: self.top_k,
            min_p: self.min_p,
            repetition_penalty: self.repetition_penalty,
            max_tokens: self.max_tokens,
            stop: self.stop.clone(),
            include_stop: self.include_stop,
            stop_tokens: Vec::new(),
        }
    }
}

/// The settings of the optimizer, AdamW.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct OptimizerConfig {
    /// Peak learning rate of the training steps. The supervised warm-up has its own, `warmup.learning_rate`.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub learning_rate: f32,
    /// Number of training steps over which the learning rate rises linearly from zero to its peak.
    pub warmup_steps: u64,
    /// How the learning rate changes after that rise.
    pub decay: Decay,
    /// Decay rate of AdamW's first moment.
    #[schemars(range(min = 0), extend("exclusiveMaximum" = 1))]
    pub beta1: f32,
    /// Decay rate of AdamW's second moment.
    #[schemars(range(min = 0), extend("exclusiveMaximum" = 1))]
    pub beta2: f32,
    /// Constant that is added to the square root of the second moment in the denominator.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub eps: f32,
    /// Decoupled weight decay, applied to matrices only.
    #[schemars(range(min = 0))]
    pub weight_decay: f32,
    /// Largest global norm of the gradient; larger gradients are scaled down to it. 0 is no clipping.
    #[schemars(range(min = 0))]
    pub max_norm: f32,
}

impl OptimizerConfig {
    /// Converts to the settings of AdamW.
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
