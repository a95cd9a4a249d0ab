//! Section `train.tinker`: the server that trains.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The server of `train.engine: tinker`, which speaks the Tinker API: it holds the model at `model.path`, trains a LoRA
/// adapter of it, and samples the replies. `docs/how-to/scale.md` says how it is started and what it cannot do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TinkerConfig {
    /// Address of the server, such as `http://gpu-1:8000`.
    pub server: String,
    /// The name under which the server offers the model at `model.path`. When absent, it is that of the only model that the
    /// server offers, which must be called as the model at `model.path` is on the Hub, or by a path of the same folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Rank of the LoRA adapter. Which matrices it adapts, and its `alpha`, the server decides.
    #[schemars(range(min = 1, max = 4096))]
    pub rank: u32,
    /// Name of the environment variable with the key that the server asks for. When absent, no key is sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_key_env: Option<String>,
    /// Longest time for the server to do what one request asks for, in seconds. The first requests take longest, because
    /// servers compile the model then.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub deadline: f64,
}

impl Default for TinkerConfig {
    fn default() -> Self {
        Self { server: String::new(), model: None, rank: 16, api_key_env: None, deadline: 1800.0 }
    }
}
