//! `model`: the policy to start from.

use rlar_policy::{Lora, ModelConfig};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

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
    /// Trains a LoRA adapter of the model at `path` instead of all its weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lora: Option<LoraConfig>,
}

/// A LoRA adapter (Hu et al., 2021): low-rank products that are added to frozen matrices.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LoraConfig {
    /// Rank of the products.
    #[schemars(range(min = 1, max = 4096))]
    pub rank: usize,
    /// The products are multiplied by `alpha / rank`.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub alpha: f32,
    /// The adapted matrices, by the last part of their names in the checkpoint.
    pub targets: Vec<String>,
    /// Dropout of the adapter's inputs while training, from 0 to below 1.
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
    /// The adapter's settings for the policy crate.
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
    /// Largest vocabulary of the byte-level BPE tokenizer, at least 260; few or short demonstrations give a smaller one.
    #[schemars(range(min = 260, max = 1_000_000))]
    pub vocab_size: usize,
    /// Width of the residual stream.
    #[schemars(range(min = 2, max = 65536))]
    pub hidden_size: usize,
    /// Width inside the feed-forward block.
    #[schemars(range(min = 1, max = 262_144))]
    pub intermediate_size: usize,
    /// Number of layers.
    #[schemars(range(min = 1, max = 1024))]
    pub layers: usize,
    /// Number of query heads.
    #[schemars(range(min = 1, max = 1024))]
    pub heads: usize,
    /// Number of key and value heads; must divide `heads`.
    #[schemars(range(min = 1, max = 1024))]
    pub kv_heads: usize,
    /// Longest sequence, in tokens.
    #[schemars(range(min = 8, max = 1_048_576))]
    pub positions: usize,
}

impl Scratch {
    /// The configuration of a model of this shape with `vocab_size` tokens.
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
