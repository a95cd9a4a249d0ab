//! What a server says about itself.

use serde::Deserialize;
use serde_json::Value;

/// The oldest version of vLLM whose completions say which weights sampled them, as major and minor number.
pub const OLDEST: (u64, u64) = (0, 30);

/// A model or an adapter that a server serves.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ServedModel {
    /// The name by which requests ask for it.
    pub id: String,
    /// The name of its base model; `None` for a base model.
    #[serde(default)]
    pub parent: Option<String>,
    /// Longest sequence, prompt and completion together, in tokens; `None` where the server does not say.
    #[serde(default)]
    pub max_model_len: Option<usize>,
}

/// The settings of a server on which reinforcement learning depends. `None` where the server does not say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerFacts {
    /// `--logprobs-mode`.
    pub logprobs_mode: Option<String>,
    /// Whether `--enable-lora` is on.
    pub has_lora: Option<bool>,
    /// `--max-lora-rank`.
    pub max_lora_rank: Option<usize>,
    /// Whether it computes in single precision (`--dtype float32`).
    pub is_float32: Option<bool>,
}

impl ServerFacts {
    /// Reads the answer of `/server_info`, in which everything may be missing.
    pub(crate) fn read(answer: &Value) -> Self {
        let config = &answer["vllm_config"];
        let lora = config.get("lora_config");
        let rank = lora.and_then(|lora| lora["max_lora_rank"].as_u64());
        Self {
            logprobs_mode: config["model_config"]["logprobs_mode"].as_str().map(str::to_owned),
            has_lora: lora.map(|lora| !lora.is_null()),
            max_lora_rank: rank.and_then(|rank| usize::try_from(rank).ok()),
            is_float32: config["model_config"]["dtype"].as_str().map(|dtype| dtype.ends_with("float32")),
        }
    }
}
