//! What is asked and what is answered.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::llm::{Call, Function};

/// One message of a chat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChatMessage {
    /// Who speaks: `system`, `user` or `assistant`.
    pub role: String,
    /// What is said.
    pub content: String,
}

/// One request. Its role, template, task, attempt and messages identify it for a replay; bounds, temperature, schema and
/// tools do not: the version of the template stands for the form of the answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChatRequest {
    /// Which job asks: `judge`, `select` and so on.
    pub role: String,
    /// The version of the prompt's template, such as `judge-1`.
    pub template: String,
    /// What the request is about, such as an example's id.
    #[serde(default)]
    pub task: String,
    /// Which of several tries at the same task this is, from 0.
    #[serde(default)]
    pub attempt: u32,
    /// The chat so far; only in a scripted exchange there may be none.
    #[serde(default)]
    pub messages: Vec<ChatMessage>,
    /// Tokens that the answer may have.
    #[serde(default)]
    pub max_tokens: u32,
    /// Sampling temperature; 0 is greedy.
    #[serde(default)]
    pub temperature: f64,
    /// A JSON schema that the answer must fit. Servers that follow `OpenAI`'s strict rules refuse objects with optional
    /// properties or without `additionalProperties: false`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<serde_json::Value>,
    /// Functions of which the answer must call at least one. A server may answer with words all the same; what it calls
    /// and with which arguments is for the caller to check. Some servers refuse tools together with a schema.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<Function>,
}

impl ChatRequest {
    /// What identifies the request, as a SHA-256 in hexadecimal: the same for requests that differ only in white space
    /// within messages, bounds, temperature, schema or tools.
    pub fn key(&self) -> String {
        let mut hash = Sha256::new();
        let messages = self.messages.iter().flat_map(|m| [m.role.clone(), normalized(&m.content)]);
        let head = [self.role.clone(), self.template.clone(), self.task.clone(), self.attempt.to_string()];
        for part in head.into_iter().chain(messages) {
            // The length keeps parts apart: ("ab", "c") is not ("a", "bc").
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        hex(&hash.finalize())
    }

    /// The same without its messages, as scripts have it.
    pub(crate) fn without_messages(&self) -> Self {
        Self { messages: Vec::new(), ..self.clone() }
    }

    /// About how many tokens the messages and tools have: a quarter of their bytes.
    pub(crate) fn estimate(&self) -> u64 {
        let messages = self.messages.iter().map(|m| estimate(&m.content));
        messages.chain(self.tools.iter().map(Function::estimate)).sum()
    }
}

/// A model's answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChatReply {
    /// What the model said.
    #[serde(default)]
    pub text: String,
    /// Tokens of the prompt.
    #[serde(default)]
    pub prompt_tokens: u64,
    /// Tokens of the answer.
    #[serde(default)]
    pub completion_tokens: u64,
    /// Why the answer ended, as the server said: `stop`, `length`, `tool_calls` and so on; empty if it did not say.
    #[serde(default = "stop")]
    pub finish: String,
    /// Functions that the model calls, in its order; the text is often empty then.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub calls: Vec<Call>,
}

fn stop() -> String {
    "stop".into()
}

/// A text whose runs of white space are one space each, without any at its ends.
pub(crate) fn normalized(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// About how many tokens a text has: a quarter of its bytes, rounded up.
pub(crate) fn estimate(text: &str) -> u64 {
    (text.len() as u64).div_ceil(4)
}

/// Bytes in hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |hex, b| hex + &format!("{b:02x}"))
}
