//! Chat completions: the request, the reply, and the trait of everything that answers requests.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::hex::hex;
use crate::llm::{ChatProgress, FunctionCall, FunctionDefinition, LlmError};

/// A language model that answers chat requests, or something in its place, such as a recording.
pub trait Llm: Send + Sync + std::fmt::Debug {
    /// Answers one request, and blocks until the reply is complete.
    fn chat(&self, request: &ChatRequest) -> Result<ChatReply, LlmError>;

    /// Answers one request like [`Llm::chat`], and reports every token as it comes, where the model tells. A reply that
    /// was recorded reports nothing.
    fn chat_with_progress(
        &self,
        request: &ChatRequest,
        on_progress: &mut dyn FnMut(ChatProgress),
    ) -> Result<ChatReply, LlmError> {
        let _ = on_progress;
        self.chat(request)
    }

    /// Number of tokens that prompt and reply of one chat share; `None` if unknown. The first call may ask a server, and
    /// blocks until it has answered.
    fn context(&self) -> Option<u64> {
        None
    }

    /// Maximum number of requests that are answered at the same time.
    fn concurrency(&self) -> usize {
        1
    }

    /// The name of the model, for logs and as a part of cache keys. The name must stay the same, and different models
    /// must have different names.
    fn name(&self) -> String;
}

/// One message of a chat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChatMessage {
    /// The author of the message: `system`, `user` or `assistant`.
    pub role: String,
    /// The text of the message.
    pub content: String,
}

/// A request for a chat completion.
///
/// `role`, `template`, `task`, `attempt` and the messages identify a request in caches and recordings; see
/// [`ChatRequest::key`]. The token limit, temperature, schema and functions are no part of the identity: who changes
/// them must change the version in `template`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChatRequest {
    /// The purpose for which the caller uses the model, such as `judge` or `select`.
    pub role: String,
    /// The name of the prompt template with its version, such as `judge-1`.
    pub template: String,
    /// What the request is about, such as the id of a dataset example.
    #[serde(default)]
    pub task: String,
    /// The number of the attempt at the same task, from 0. Two requests that should get different replies need
    /// different attempts.
    #[serde(default)]
    pub attempt: u32,
    /// The messages of the chat so far. They are empty only in scripted exchanges, see
    /// [`Replay::load`](crate::llm::Replay::load).
    #[serde(default)]
    pub messages: Vec<ChatMessage>,
    /// Maximum number of tokens in the reply.
    #[serde(default)]
    pub max_tokens: u32,
    /// Sampling temperature; 0 always takes the most probable token.
    #[serde(default)]
    pub temperature: f64,
    /// A JSON schema that the reply must fit; `None` for free text. Servers that follow `OpenAI`'s strict rules refuse
    /// schemas with optional properties or without `additionalProperties: false`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<serde_json::Value>,
    /// Functions of which the reply must call at least one (`tool_choice: required`). A server may reply with text
    /// nevertheless, and the arguments need not fit the schema: the caller checks both. Some servers refuse functions
    /// together with a schema.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<FunctionDefinition>,
}

impl ChatRequest {
    /// The identity of the request: a SHA-256 in hexadecimal. Requests have the same key if they differ only in white
    /// space within messages, in the token limit, temperature, schema or functions.
    pub fn key(&self) -> String {
        let mut hash = Sha256::new();
        let messages = self.messages.iter().flat_map(|m| [m.role.clone(), normalized(&m.content)]);
        let head = [self.role.clone(), self.template.clone(), self.task.clone(), self.attempt.to_string()];
        for part in head.into_iter().chain(messages) {
            // The length separates the parts, so that ("ab", "c") and ("a", "bc") have different keys.
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        hex(&hash.finalize())
    }

    /// A copy of the request without its messages. Scripted exchanges are looked up by the key of this copy, because they
    /// answer a request whatever its messages are.
    pub(crate) fn without_messages(&self) -> Self {
        Self { messages: Vec::new(), ..self.clone() }
    }

    /// An estimate of the number of prompt tokens: a quarter of the bytes of the messages and functions.
    pub(crate) fn estimate_tokens(&self) -> u64 {
        let messages = self.messages.iter().map(|m| estimate_tokens(&m.content));
        messages.chain(self.tools.iter().map(FunctionDefinition::estimate_tokens)).sum()
    }
}

/// The reply of a model to a chat request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChatReply {
    /// The text of the reply; often empty if the model calls functions.
    #[serde(default)]
    pub text: String,
    /// Number of tokens in the prompt.
    #[serde(default)]
    pub prompt_tokens: u64,
    /// Number of tokens in the reply.
    #[serde(default)]
    pub completion_tokens: u64,
    /// Why the reply ended: the server's `finish_reason`, such as `stop`, `length` or `tool_calls`; empty if the server
    /// gave none; `repetition` if the reply was cut because it repeated itself without end.
    #[serde(default = "stop")]
    pub finish: String,
    /// The function calls in the reply, in the model's order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub calls: Vec<FunctionCall>,
}

/// The default of `finish` for an exchange in a file that does not give one.
fn stop() -> String {
    "stop".into()
}

/// A text with every run of white space replaced by one space, and without white space at its ends.
pub(crate) fn normalized(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// An estimate of the number of tokens in a text: a quarter of the text's bytes, rounded up.
pub(crate) fn estimate_tokens(text: &str) -> u64 {
    (text.len() as u64).div_ceil(4)
}
