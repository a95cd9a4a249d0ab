//! What a server says about itself.

use serde::Deserialize;

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
}

/// The answer of `/server_info`, as far as it is read.
#[derive(Deserialize)]
pub(crate) struct InfoAnswer {
    vllm_config: ConfigAnswer,
}

#[derive(Deserialize)]
struct ConfigAnswer {
    model_config: ModelAnswer,
    /// The outer `None` is a missing key, the inner one a server without LoRA.
    #[serde(default, deserialize_with = "present")]
    lora_config: Option<Option<LoraAnswer>>,
}

#[derive(Deserialize)]
struct ModelAnswer {
    #[serde(default)]
    logprobs_mode: Option<String>,
}

#[derive(Deserialize)]
struct LoraAnswer {
    #[serde(default)]
    max_lora_rank: Option<usize>,
}

/// Reads a key that is there, `null` included.
fn present<'de, D: serde::Deserializer<'de>>(value: D) -> Result<Option<Option<LoraAnswer>>, D::Error> {
    Option::deserialize(value).map(Some)
}

impl From<InfoAnswer> for ServerFacts {
    fn from(answer: InfoAnswer) -> Self {
        let ConfigAnswer { model_config, lora_config } = answer.vllm_config;
        Self {
            logprobs_mode: model_config.logprobs_mode,
            has_lora: lora_config.as_ref().map(Option::is_some),
            max_lora_rank: lora_config.flatten().and_then(|lora| lora.max_lora_rank),
        }
    }
}
