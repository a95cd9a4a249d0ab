//! Section `model`: the model to start from.

use rlar_policy::{FloatType, Lora, ModelConfig};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

/// The model to start from: exactly one of `path` and `scratch`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ModelChoice {
    /// Path of a Hugging Face model folder or of a GGUF file, or a model of the Hugging Face Hub: `OWNER/NAME`,
    /// `OWNER/NAME@REVISION`, or one of these with a file, such as `OWNER/NAME/FILE.gguf`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// A new Llama-style model with random weights and a tokenizer trained on the data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scratch: Option<Scratch>,
    /// Settings of a LoRA adapter. With this key, an adapter of the model at `path` is trained instead of all its
    /// weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lora: Option<LoraConfig>,
    /// The type of the weights in `final/`. `auto` is that of the safetensors at `path`, and `float32` for a GGUF file, a
    /// new model, or files of several types. Weights are rounded to nearest. Checkpoints and adapters are in `float32`.
    #[serde(default)]
    pub save_dtype: SaveDtype,
}

/// The type of the weights in a run's final model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SaveDtype {
    /// The type of the weights in the files from which the model was first loaded.
    #[default]
    Auto,
    /// Single precision.
    Float32,
    /// Half precision.
    Float16,
    /// bfloat16.
    Bfloat16,
}

impl SaveDtype {
    /// The type; `None` for that of the files from which the model was first loaded.
    pub fn float_type(self) -> Option<FloatType> {
        match self {
            Self::Auto => None,
            Self::Float32 => Some(FloatType::Float32),
            Self::Float16 => Some(FloatType::Float16),
            Self::Bfloat16 => Some(FloatType::Bfloat16),
        }
    }
}

/// A LoRA adapter (Hu et al., 2021): a product of two low-rank matrices is added to each adapted weight matrix, which
/// stays frozen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LoraConfig {
    /// Rank of the low-rank products.
    #[schemars(range(min = 1, max = 4096))]
    pub rank: usize,
    /// Scale of the low-rank products: they are multiplied by `alpha / rank`.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub alpha: f32,
    /// The weight matrices that are adapted, by the last part of their names in the checkpoint, such as `q_proj`.
    pub targets: Vec<String>,
    /// Probability with which inputs of the adapter are dropped while training, from 0 to below 1.
    #[schemars(range(min = 0), extend("exclusiveMaximum" = 1))]
    pub dropout: f32,
    /// Whether matrices that the GGUF file at `model.path` stores in quantised blocks stay in these blocks in memory
    /// (QLoRA, Dettmers et al., 2023). Log-probs and gradients are exact; sampling rounds activations to 8 bits. On a
    /// GPU, the matrices are dequantised.
    pub quantised: bool,
}

impl Default for LoraConfig {
    fn default() -> Self {
        let targets = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"];
        Self { rank: 16, alpha: 32.0, targets: targets.map(str::to_owned).to_vec(), dropout: 0.0, quantised: false }
    }
}

impl LoraConfig {
    /// Converts the settings to [`Lora`], the form in which the policy crate takes them.
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

/// The shape of a new model with random weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Scratch {
    /// Largest size of the vocabulary of the byte-level BPE tokenizer, at least 260. It gets smaller when the data has
    /// too little text for this number of tokens.
    #[schemars(range(min = 260, max = 1_000_000))]
    pub vocab_size: usize,
    /// Width of the residual stream.
    #[schemars(range(min = 2, max = 65536))]
    pub hidden_size: usize,
    /// Width inside the feed-forward block.
    #[schemars(range(min = 1, max = 262_144))]
    pub intermediate_size: usize,
    /// Number of transformer layers.
    #[schemars(range(min = 1, max = 1024))]
    pub layers: usize,
    /// Number of query heads.
    #[schemars(range(min = 1, max = 1024))]
    pub heads: usize,
    /// Number of key and value heads (grouped-query attention); must divide `heads`.
    #[schemars(range(min = 1, max = 1024))]
    pub kv_heads: usize,
    /// Length of the longest sequence that the model can process, in tokens.
    #[schemars(range(min = 8, max = 1_048_576))]
    pub positions: usize,
}

impl Scratch {
    /// Model configuration of this shape with a vocabulary of `vocab_size` tokens; an error if the sizes do not fit
    /// together.
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
