//! A chat completion: the request, the reply, and the trait of what answers.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::hex::hex;
use crate::llm::{FunctionCall, FunctionDefinition, LlmError};

/// A language model that answers chats.
pub trait Llm: Send + Sync + std::fmt::Debug {
    /// Answers one request. Blocks until the reply is complete.
    fn chat(&self, request: &ChatRequest) -> Result<ChatReply, LlmError>;

    /// The most requests that are answered at once.
    fn concurrency(&self) -> usize {
        1
    }

    /// A stable name of the model, for logs and as a part of cache keys: different models need different names.
    fn name(&self) -> String;
}

/// One message of a chat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChatMessage {
    /// The author: `system`, `user` or `assistant`.
    pub role: String,
    /// The text.
    pub content: String,
}

/// A request for a chat completion.
///
/// `role`, `template`, `task`, `attempt` and the messages identify a request, for caches and replays; see
/// [`ChatRequest::key`]. The token limit, temperature, schema and functions do not: the form of the reply is given by
/// the template's version.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChatRequest {
    /// The caller's job, such as `judge` or `select`.
    pub role: String,
    /// The prompt template with its version, such as `judge-1`.
    pub template: String,
    /// What the request is about, such as an example's id.
    #[serde(default)]
    pub task: String,
    /// The number of the attempt at the same task, from 0. Requests that should get different replies need different
    /// attempts.
    #[serde(default)]
    pub attempt: u32,
    /// The chat so far. Empty only in scripted exchanges, see [`Replay::load`](crate::llm::Replay::load).
    #[serde(default)]
    pub messages: Vec<ChatMessage>,
    /// The most tokens of the reply.
    #[serde(default)]
    pub max_tokens: u32,
    /// Sampling temperature; 0 is greedy.
    #[serde(default)]
    pub temperature: f64,
    /// A JSON schema that the reply must fit. Servers that follow `OpenAI`'s strict rules refuse objects with optional
    /// properties or without `additionalProperties: false`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<serde_json::Value>,
    /// Functions of which the reply must call at least one (`tool_choice: required`). A server may reply with text
    /// nevertheless, and the arguments need not fit the schema: the caller checks both. Some servers refuse functions
    /// together with a schema.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<FunctionDefinition>,
}

impl ChatRequest {
    /// The request's identity, a SHA-256 in hexadecimal. Requests that differ only in white space within messages, in
    /// the token limit, temperature, schema or functions have the same key.
    pub fn key(&self) -> String {
        let mut hash = Sha256::new();
        let messages = self.messages.iter().flat_map(|m| [m.role.clone(), normalized(&m.content)]);
        let head = [self.role.clone(), self.template.clone(), self.task.clone(), self.attempt.to_string()];
        for part in head.into_iter().chain(messages) {
            // The length separates the parts: ("ab", "c") and ("a", "bc") have different keys.
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        hex(&hash.finalize())
    }

    /// A copy without messages, which has the key of a scripted exchange.
    pub(crate) fn without_messages(&self) -> Self {
        Self { messages: Vec::new(), ..self.clone() }
    }

    /// An estimate of the prompt's tokens: a quarter of the bytes of messages and functions.
    pub(crate) fn estimate_tokens(&self) -> u64 {
        let messages = self.messages.iter().map(|m| estimate_tokens(&m.content));
        messages.chain(self.tools.iter().map(FunctionDefinition::estimate_tokens)).sum()
    }
}

/// A model's reply.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChatReply {
    /// The text; often empty if the model calls functions.
    #[serde(default)]
    pub text: String,
    /// Tokens of the prompt.
    #[serde(default)]
    pub prompt_tokens: u64,
    /// Tokens of the reply.
    #[serde(default)]
    pub completion_tokens: u64,
    /// The server's `finish_reason`, such as `stop`, `length` or `tool_calls`; empty if the server gave none.
    #[serde(default = "stop")]
    pub finish: String,
    /// The function calls, in the model's order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub calls: Vec<FunctionCall>,
}

/// The finish reason of an exchange that was written without one.
fn stop() -> String {
    "stop".into()
}

/// A text with every run of white space replaced by one space, and without white space at its ends.
pub(crate) fn normalized(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// An estimate of a text's tokens: a quarter of its bytes, rounded up.
pub(crate) fn estimate_tokens(text: &str) -> u64 {
    (text.len() as u64).div_ceil(4)
}
