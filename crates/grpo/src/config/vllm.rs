//! Section `sampling.vllm`: the servers that sample, and how the weights get to them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The largest LoRA rank that vLLM can be started with (`--max-lora-rank`).
pub(super) const MAX_LORA_RANK: usize = 512;

/// The lowest temperature at which vLLM samples; it replaces lower ones by this one.
pub(super) const MIN_TEMPERATURE: f32 = 0.01;

/// The vLLM servers of `sampling.engine: vllm`, and how the weights of every step get to them. `docs/how-to/scale.md` says
/// how the servers are started.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct VllmConfig {
    /// Addresses of the servers, such as `http://gpu-1:8000`. Each reply is sampled by the server with the fewest replies
    /// in progress. Other clients must not use these servers during the run.
    pub servers: Vec<String>,
    /// The name under which the servers serve the base model (`--served-model-name`). When absent, it is the first model
    /// that a server names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Name of the environment variable with the key that the servers were started with (`--api-key`). When absent, no key
    /// is sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_key_env: Option<String>,
    /// How the weights of a step get to the servers: `lora`, as an adapter with a name of its own; `reload`, as a model with
    /// all weights, which replaces the one that they serve.
    pub weights: PublishBy,
    /// The folder into which the weights of a step are written and from which the servers read them: every server sees it
    /// under this path. When absent, it is `vllm` in the run's folder, which is enough for servers on this machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Longest time for one reply, in seconds. After it, the reply is sampled by another server.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub deadline: f64,
    /// Longest time for a server to load the weights of a step, in seconds.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub weights_deadline: f64,
    /// Largest mean difference between a server's log-probs and the trainer's on a fixed prompt of about 300 tokens, in
    /// nats. Every server is compared after it loaded the weights of a step, and samples nothing if it differs more.
    /// Servers in `float32` stay below 0.0001, in `bfloat16` below about 0.05.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub canary_gap: f64,
}

/// How the weights of a step get to the servers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PublishBy {
    /// As a LoRA adapter, under a new name at every step. Needs `model.lora`.
    #[default]
    Lora,
    /// As a model with all weights, which replaces the one that the servers serve. A LoRA adapter is merged into its base.
    Reload,
}

impl Default for VllmConfig {
    fn default() -> Self {
        Self {
            servers: Vec::new(),
            model: None,
            api_key_env: None,
            weights: PublishBy::Lora,
            path: None,
            deadline: 600.0,
            weights_deadline: 600.0,
            canary_gap: 0.05,
        }
    }
}
