//! Section `sampling.vllm`: the servers that sample, and how the weights get to them.

use std::time::Duration;

use rlar_data::KeyProblem;
use rlar_vllm::check_address;
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
    /// In place of `servers`: servers that rlar starts on this machine and ends with the run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<VllmStartConfig>,
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
    /// nats. Every server is compared after it loaded the weights of a step, and samples nothing if it differs more. When
    /// absent, it is 0.0005 for a server that says that it computes in `float32`, as the trainer does, and otherwise 0.05.
    /// Servers in `float32` stay below 0.0001, in `bfloat16` below about 0.05.
    #[schemars(extend("exclusiveMinimum" = 0))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub canary_gap: Option<f64>,
}

/// vLLM servers that rlar starts on this machine. What they write is in `vllm-0.log`, `vllm-1.log` … in the run's folder. They
/// end with rlar, also when it is killed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct VllmStartConfig {
    /// The program and its arguments, one entry each; no shell reads them. `{port}` stands for a free port of this machine,
    /// `{model}` for the path of the model at `model.path` (of an adapter, its base), `{index}` for the number of the server,
    /// from 0. Let the server listen on `127.0.0.1` alone. Its environment is rlar's, with `VLLM_SERVER_DEV_MODE=1`,
    /// `VLLM_ALLOW_RUNTIME_LORA_UPDATING=1` and the key of `api_key_env` as `VLLM_API_KEY`.
    pub command: Vec<String>,
    /// Number of servers.
    #[schemars(range(min = 1, max = 64))]
    pub count: usize,
    /// Longest time until a server answers after its start, in seconds.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub deadline: f64,
    /// How often a server is started again when it ends during the run, or when its weights are unknown after a failed call.
    #[schemars(range(max = 1000))]
    pub restarts: u32,
}

impl Default for VllmStartConfig {
    fn default() -> Self {
        Self { command: Vec::new(), count: 1, deadline: 900.0, restarts: 3 }
    }
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
            start: None,
            model: None,
            api_key_env: None,
            weights: PublishBy::Lora,
            path: None,
            deadline: 600.0,
            weights_deadline: 600.0,
            canary_gap: None,
        }
    }
}

impl VllmConfig {
    /// What is wrong with this section alone, by key.
    pub(super) fn problems(&self) -> Vec<KeyProblem> {
        let mut found = Vec::new();
        let mut add = |key: &str, message: String| found.push(KeyProblem::new(format!("sampling.vllm{key}"), message));
        match (self.servers.is_empty(), &self.start) {
            (true, None) => {
                add("", "names no server: name vLLM servers in `servers`, or start some with `start`".into());
            }
            (false, Some(_)) => add("", "has both `servers` and `start`; remove one".into()),
            _ => {}
        }
        for (i, server) in self.servers.iter().enumerate() {
            if let Err(why) = check_address(server) {
                add(&format!(".servers[{i}]"), why);
            } else if self.servers[..i].contains(server) {
                add(&format!(".servers[{i}]"), "is named twice".into());
            }
        }
        let start = self.start.as_ref();
        if start.is_some_and(|start| !start.command.iter().any(|word| word.contains("{port}"))) {
            add(".start.command", "needs a program and `{port}` among its arguments".into());
        }
        let unknown = start.iter().flat_map(|start| &start.command).find_map(|word| unknown_placeholder(word));
        if let Some(placeholder) = unknown {
            add(
                ".start.command",
                format!("`{placeholder}` stands for nothing; there are {{port}}, {{model}} and {{index}}"),
            );
        }
        let start_deadline = start.map_or(1.0, |start| start.deadline);
        for (key, seconds) in [
            (".deadline", self.deadline),
            (".weights_deadline", self.weights_deadline),
            (".start.deadline", start_deadline),
        ] {
            if Duration::try_from_secs_f64(seconds).is_err() {
                add(key, format!("{seconds} is not a duration"));
            }
        }
        found
    }
}

/// The first lower-case word in braces that stands for nothing. JSON, whose braces hold more than a word, is none.
fn unknown_placeholder(word: &str) -> Option<&str> {
    let mut rest = word;
    while let Some((_, after)) = rest.split_once('{') {
        let at = word.len() - after.len() - 1;
        let name = &after[..after.find(|c: char| !c.is_ascii_lowercase() && c != '_').unwrap_or(after.len())];
        let is_placeholder = !name.is_empty() && after[name.len()..].starts_with('}');
        if is_placeholder && !["port", "model", "index"].contains(&name) {
            return word.get(at..at + name.len() + 2);
        }
        rest = after;
    }
    None
}
