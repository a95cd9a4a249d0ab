//! The YAML of a job, checked whole before anything runs.

use rlar_eval::{PromptFormat, Protocol};
use rlar_policy::{Lora, ModelConfig, Precision, Sampling};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::schedule::{Decay, mix};

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
    /// The algorithm.
    #[serde(default)]
    pub train: TrainConfig,
    /// The optimizer.
    #[serde(default)]
    pub optimizer: OptimizerConfig,
    /// Measuring held-out accuracy.
    #[serde(default)]
    pub eval: EvalConfig,
}

fn cpu() -> String {
    "cpu".into()
}

/// The run's folder and what is kept in it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RunConfig {
    /// The folder, relative to the current one.
    pub folder: String,
    /// Steps between checkpoints.
    #[schemars(range(min = 1))]
    pub checkpoint_every: u64,
    /// Newest checkpoints that are kept.
    #[schemars(range(min = 1))]
    pub keep_last: usize,
    /// Steps between written samples of rollouts.
    #[schemars(range(min = 1))]
    pub rollouts_every: u64,
}

impl Default for RunConfig {
    fn default() -> Self {
        Self { folder: "runs/run".into(), checkpoint_every: 25, keep_last: 2, rollouts_every: 10 }
    }
}

/// The policy to start from: exactly one of `path` and `scratch`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ModelChoice {
    /// A Hugging Face folder or a GGUF file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// A new Llama-style model with random weights and a tokenizer trained on the data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scratch: Option<Scratch>,
    /// Train a low-rank adaptation of the model at `path` instead of all its weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lora: Option<LoraConfig>,
}

/// A low-rank adaptation (LoRA): small matrices beside frozen ones.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LoraConfig {
    /// Rank of the product that is added.
    #[schemars(range(min = 1, max = 4096))]
    pub rank: usize,
    /// The product is multiplied by `alpha / rank`.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub alpha: f32,
    /// The adapted matrices, by the last part of their names in the checkpoint.
    pub targets: Vec<String>,
    /// Share of the inputs that training drops, from 0 to below 1.
    #[schemars(range(min = 0), extend("exclusiveMaximum" = 1))]
    pub dropout: f32,
}

impl Default for LoraConfig {
    fn default() -> Self {
        let targets = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"];
        Self { rank: 16, alpha: 32.0, targets: targets.map(str::to_owned).to_vec(), dropout: 0.0 }
    }
}

impl LoraConfig {
    /// The same in the policy's terms.
    pub fn lora(&self) -> Lora {
        Lora {
            r: self.rank,
            lora_alpha: self.alpha,
            target_modules: self.targets.clone(),
            lora_dropout: self.dropout,
            use_rslora: false,
        }
    }
}

/// The shape of a new model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Scratch {
    /// Most tokens of the byte-level BPE, at least 260; few or short demonstrations make fewer.
    #[schemars(range(min = 260, max = 1_000_000))]
    pub vocab_size: usize,
    /// Width of the residual stream.
    #[schemars(range(min = 2, max = 65536))]
    pub hidden_size: usize,
    /// Width inside the feed-forward block.
    #[schemars(range(min = 1, max = 262_144))]
    pub intermediate_size: usize,
    /// Layers.
    #[schemars(range(min = 1, max = 1024))]
    pub layers: usize,
    /// Query heads.
    #[schemars(range(min = 1, max = 1024))]
    pub heads: usize,
    /// Key and value heads; divides `heads`.
    #[schemars(range(min = 1, max = 1024))]
    pub kv_heads: usize,
    /// Longest sequence, in tokens.
    #[schemars(range(min = 8, max = 1_048_576))]
    pub positions: usize,
}

impl Scratch {
    /// The model that this shape describes, with `vocab_size` tokens.
    pub fn model(&self, vocab_size: usize) -> Result<ModelConfig, String> {
        ModelConfig::new(json!({
            "model_type": "llama",
            "vocab_size": vocab_size,
            "hidden_size": self.hidden_size,
            "intermediate_size": self.intermediate_size,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads,
            "max_position_embeddings": self.positions,
            "rope_theta": 10_000.0,
            "rms_norm_eps": 1e-5,
            "tie_word_embeddings": true,
        }))
    }
}

/// The data. A path is looked for as given, then beside the config file and one folder up, then among the
/// files embedded in the binary.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DataConfig {
    /// JSONL of prompts with references, to train on.
    pub train: String,
    /// JSONL of prompts with references, to measure on.
    pub heldout: String,
    /// JSONL of prompts with replies to imitate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub demonstrations: Option<String>,
    /// How messages become text.
    #[serde(default = "chat")]
    pub format: PromptFormat,
}

fn chat() -> PromptFormat {
    PromptFormat::Chat
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

/// Reward tools.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RewardsConfig {
    /// Folder with the tools; the curated tools of rlar when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub library: Option<String>,
    /// Who chooses tools: `builtin`.
    pub agent: Agent,
    /// Addresses of further tool cards for `rlar fetch-rewards`.
    pub sources: Vec<String>,
    /// Python packages that verifiers may import, as pip writes them (`sympy`, `sympy==1.13.1`); installed at first use.
    pub packages: Vec<String>,
    /// Longest time for one score, in seconds.
    #[schemars(extend("exclusiveMinimum" = 0), range(max = 3600))]
    pub deadline: f64,
    /// Share of failed scores of one tool in one step above which the run stops, from 0 to 1.
    #[schemars(range(min = 0, max = 1))]
    pub failure_limit: f64,
}

/// Who chooses tools.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Agent {
    /// Features of prompt and reference; offline and deterministic.
    Builtin,
}

impl Default for RewardsConfig {
    fn default() -> Self {
        Self {
            library: None,
            agent: Agent::Builtin,
            sources: Vec::new(),
            packages: Vec::new(),
            deadline: 2.0,
            failure_limit: 0.2,
        }
    }
}

/// How replies are drawn.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SamplingConfig {
    /// Divides logits while training; evaluation also draws greedily.
    #[schemars(extend("exclusiveMinimum" = 0), range(max = 100))]
    pub temperature: f32,
    /// Draw from the smallest set of tokens with this much probability; 1 is all.
    #[schemars(extend("exclusiveMinimum" = 0), range(max = 1))]
    pub top_p: f32,
    /// Draw from this many likeliest tokens; 0 is all.
    pub top_k: usize,
    /// Draw from tokens at least this many times as likely as the likeliest; 0 is all.
    #[schemars(range(min = 0, max = 1))]
    pub min_p: f32,
    /// Logits of tokens that occurred are divided by this when positive, multiplied when negative; 1 leaves them alone.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub repetition_penalty: f32,
    /// Longest reply, in tokens.
    #[schemars(range(min = 1))]
    pub max_tokens: usize,
    /// Texts that end a reply, beside the model's end token.
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
    /// For the sampler, at a temperature.
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

/// What a training step does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// Group relative policy optimisation (Shao et al., 2024).
    Grpo,
    /// More supervised fine-tuning on the demonstrations: the control of an experiment.
    Sft,
}

/// The algorithm.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TrainConfig {
    /// What a step does.
    pub method: Method,
    /// Steps.
    pub steps: u64,
    /// Longest training time, in minutes; 0 is no limit. Sampling, scoring and training count.
    #[schemars(range(min = 0))]
    pub max_minutes: f64,
    /// Prompts per step.
    #[schemars(range(min = 1))]
    pub prompts: usize,
    /// Replies per prompt.
    #[schemars(range(min = 2))]
    pub group_size: usize,
    /// Whether advantages are divided by the group's standard deviation (GRPO) or not (Dr. GRPO).
    pub scale_by_std: bool,
    /// At most this many optimizer steps per batch of rollouts, each on its share of the prompts.
    #[schemars(range(min = 1))]
    pub minibatches: usize,
    /// Ratios below `1 − clip_low` earn nothing more.
    #[schemars(range(min = 0, max = 1))]
    pub clip_low: f32,
    /// Ratios above `1 + clip_high` earn nothing more.
    #[schemars(range(min = 0))]
    pub clip_high: f32,
    /// Weight of the k3 estimate of KL to the frozen starting policy; 0 needs no reference.
    #[schemars(range(min = 0))]
    pub kl: f32,
    /// Tokens differentiated at a time; does not change the mathematics.
    #[schemars(range(min = 1))]
    pub micro_batch_tokens: usize,
    /// Whether the backward pass computes each layer again instead of keeping it: a third more computation, and the
    /// memory of one layer instead of all. Does not change the mathematics.
    pub recompute_layers: bool,
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            method: Method::Grpo,
            steps: 100,
            max_minutes: 0.0,
            prompts: 16,
            group_size: 8,
            scale_by_std: true,
            minibatches: 1,
            clip_low: 0.2,
            clip_high: 0.2,
            kl: 0.0,
            micro_batch_tokens: 16384,
            recompute_layers: false,
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
    /// Steps over which the learning rate rises from zero.
    pub warmup_steps: u64,
    /// How it falls afterwards.
    pub decay: Decay,
    /// Decay of the first moment.
    #[schemars(range(min = 0), extend("exclusiveMaximum" = 1))]
    pub beta1: f32,
    /// Decay of the second moment.
    #[schemars(range(min = 0), extend("exclusiveMaximum" = 1))]
    pub beta2: f32,
    /// Added to the root of the second moment.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub eps: f32,
    /// Decoupled weight decay, on matrices.
    #[schemars(range(min = 0))]
    pub weight_decay: f32,
    /// Gradients are scaled down to this global norm; 0 leaves them alone.
    #[schemars(range(min = 0))]
    pub max_norm: f32,
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

/// Measuring held-out accuracy, before and after.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EvalConfig {
    /// Sampled answers per example, at the training temperature.
    #[schemars(range(min = 1))]
    pub samples: usize,
    /// Examples used, from the first; 0 is all.
    pub limit: usize,
}

impl Default for EvalConfig {
    fn default() -> Self {
        Self { samples: 2, limit: 0 }
    }
}

impl EvalConfig {
    /// How many of `available` examples are used.
    pub fn examples(&self, available: usize) -> usize {
        if self.limit == 0 { available } else { self.limit.min(available) }
    }
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
            if self.data.demonstrations.is_none() || self.warmup.steps == 0 {
                say("warmup.steps", "a model from scratch needs `data.demonstrations` and some warm-up steps".into());
            }
            if self.sampling.max_tokens >= scratch.positions {
                let message = format!(
                    "{} leaves no room for a prompt in {} positions",
                    self.sampling.max_tokens, scratch.positions
                );
                say("sampling.max_tokens", message);
            }
        }
        if self.data.demonstrations.is_none() && (self.warmup.steps > 0 || self.train.method == Method::Sft) {
            say("data", "supervised fine-tuning needs `demonstrations`".into());
        }
        if self.train.minibatches > self.train.prompts {
            let message =
                format!("{} is more than the {} prompts of a step", self.train.minibatches, self.train.prompts);
            say("train.minibatches", message);
        }
        if self.device != "auto"
            && self.device != "cpu"
            && self.device.strip_prefix("cuda:").is_none_or(|n| n.parse::<usize>().is_err())
        {
            say("device", format!("`{}` is not one of: cpu, cuda:0, cuda:1 …, auto", self.device));
        }
        if !(self.train.max_minutes >= 0.0 && self.train.max_minutes.is_finite()) {
            say("train.max_minutes", format!("{} is not a time; 0 is no limit", self.train.max_minutes));
        }
        if self.run.folder.trim().is_empty() {
            say("run.folder", "is empty".into());
        }
        found
    }
}
