//! Configuration of the language model that agents and judges use, and opening of the model.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rlar_net::llm::{Budget, Llm, LlmLimits, OpenAi, OpenAiSettings, Record, Replay, Secret};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::RewardError;
use crate::agents::local::LocalLlm;

/// A file of recorded exchanges (requests to a language model with their replies): its path and its text.
pub type Exchanges = (PathBuf, String);

/// The language model of agents and judges: an OpenAI-compatible server, a local model, or a file of recorded
/// exchanges. Exactly one of them must be configured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LlmConfig {
    /// Base URL of the OpenAI-compatible server, without `chat/completions`: `http://localhost:8000/v1`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// In place of `url`: base URLs of several servers with the same model. A request goes to the server with the fewest in
    /// progress, and to another one if that fails. Cached and recorded replies are those of the model at the first address.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub servers: Vec<String>,
    /// The name of the model on the server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// A local chat model to use instead of a server, named like `model.path`: a Hugging Face folder, a GGUF file, or a
    /// model of the Hugging Face Hub. rlar runs it on the CPU.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub local: Option<String>,
    /// Name of the environment variable that holds the server's API key. The variable may be unset for a server that
    /// needs no key.
    pub key: String,
    /// Longest time for one request, in seconds, including its retries and the pauses between them.
    #[schemars(extend("exclusiveMinimum" = 0), range(max = 3600))]
    pub deadline: f64,
    /// Longest wait for the first token of a reply, in seconds, including the server's queue and its reading of the
    /// prompt. A server that does not stream must give its whole reply within this time. A request that is given up is
    /// closed, so that the server stops.
    #[schemars(extend("exclusiveMinimum" = 0), range(max = 3600))]
    pub first_token: f64,
    /// Longest wait for every further token of a reply, in seconds.
    #[schemars(extend("exclusiveMinimum" = 0), range(max = 3600))]
    pub next_token: f64,
    /// Largest number of times that one request is sent, the first time included, when it fails.
    #[schemars(range(min = 1, max = 20))]
    pub tries: u32,
    /// Largest number of requests that are sent to a server at the same time, or answered by a local model.
    /// Fewer are sent if the server says that it takes fewer, or while it is overloaded.
    #[schemars(range(min = 1, max = 1024))]
    pub concurrency: usize,
    /// Number of tokens that prompt and reply share in the model's context. When absent, the server is asked; a local model
    /// then has its own context, which is also the most that it can have.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 256))]
    pub context: Option<u64>,
    /// Largest total number of tokens of all prompts and replies; no limit when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u64>,
    /// Largest total cost of all requests, in the currency of the prices; no limit when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_cost: Option<f64>,
    /// Price of a million prompt tokens, in any currency. Used for `max_cost`.
    #[schemars(range(min = 0))]
    pub prompt_price: f64,
    /// Price of a million reply tokens, in the same currency. Used for `max_cost`.
    #[schemars(range(min = 0))]
    pub completion_price: f64,
    /// A file of recorded or scripted exchanges (JSONL or YAML) whose replies are used instead of a server's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replay: Option<String>,
    /// The file, as JSONL, in which requests and replies are recorded for `replay`; nothing is recorded when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record: Option<String>,
}

impl Default for LlmConfig {
    fn default() -> Self {
        Self {
            url: None,
            servers: Vec::new(),
            model: None,
            local: None,
            key: "OPENAI_API_KEY".into(),
            deadline: 600.0,
            first_token: 120.0,
            next_token: 30.0,
            tries: 4,
            concurrency: 8,
            context: None,
            max_tokens: None,
            max_cost: None,
            prompt_price: 0.0,
            completion_price: 0.0,
            replay: None,
            record: None,
        }
    }
}

impl LlmConfig {
    /// The error message when the configuration does not name exactly one model; `None` when it does.
    pub fn problem(&self) -> Option<String> {
        let is_server = self.url.is_some() || !self.servers.is_empty();
        let models = [is_server, self.local.is_some(), self.replay.is_some()].into_iter().filter(|n| *n).count();
        let is_incomplete = is_server != self.model.is_some();
        if models != 1 || is_incomplete {
            return Some(
                "needs `url` and `model`, or `servers` and `model`, or `local` alone, or `replay` alone".into(),
            );
        }
        (self.url.is_some() && !self.servers.is_empty()).then(|| "needs `url` or `servers`, not both".into())
    }

    /// The API key, which must be removed from logs; empty when the environment variable is not set.
    pub fn secrets(&self) -> Vec<Secret> {
        Secret::from_env(&self.key).into_iter().collect()
    }

    /// Opens the language model without sending a request. `find` finds and reads the file of recorded exchanges, given
    /// its path.
    pub fn open(&self, find: &dyn Fn(&str) -> Result<Exchanges, RewardError>) -> Result<Arc<dyn Llm>, RewardError> {
        let mut urls = self.url.iter().chain(&self.servers);
        let llm: Arc<dyn Llm> = match (&self.replay, &self.local, urls.next(), &self.model) {
            (Some(path), None, None, _) => {
                let (path, text) = find(path)?;
                Arc::new(Replay::parse(&path, &text)?.with_context(self.context))
            }
            (None, Some(path), None, _) => {
                let local = LocalLlm::load(Path::new(path), "cpu", self.concurrency);
                let local = local.map_err(|e| RewardError::tool("rewards.llm.local", e.to_string()))?;
                Arc::new(local.with_context(self.context))
            }
            (None, None, Some(url), Some(model)) => {
                let limits = LlmLimits {
                    max_tokens: self.max_tokens,
                    max_cost: self.max_cost,
                    prompt_price: self.prompt_price,
                    completion_price: self.completion_price,
                };
                let settings = OpenAiSettings {
                    key: Secret::from_env(&self.key),
                    deadline: Duration::from_secs_f64(self.deadline),
                    first_token: Duration::from_secs_f64(self.first_token),
                    next_token: Duration::from_secs_f64(self.next_token),
                    tries: self.tries,
                    concurrency: self.concurrency,
                    context: self.context,
                    others: urls.cloned().collect(),
                    budget: Budget::new(limits),
                    ..OpenAiSettings::new(url, model)
                };
                Arc::new(OpenAi::new(settings)?)
            }
            _ => {
                let message = format!("`rewards.llm` {}", self.problem().unwrap_or_default());
                return Err(RewardError::Llm(rlar_net::llm::LlmError::Request {
                    address: "rewards.llm".into(),
                    message,
                }));
            }
        };
        Ok(match &self.record {
            Some(path) => Arc::new(Record::new(llm, Path::new(path))?),
            None => llm,
        })
    }
}
