//! What is asked and what is answered.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// One message of a chat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChatMessage {
    /// Who speaks: `system`, `user` or `assistant`.
    pub role: String,
    /// What is said.
    pub content: String,
}

/// One request. Its role, template, task, attempt and messages identify it for a replay; bounds, temperature and schema
/// do not.
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
    /// The chat so far.
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
}

impl ChatRequest {
    /// What identifies the request, as a SHA-256 in hexadecimal: the same for requests that differ only in white space
    /// within messages, bounds, temperature or schema.
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

    /// About how many tokens the messages have: a quarter of their bytes.
    pub(crate) fn estimate(&self) -> u64 {
        self.messages.iter().map(|m| estimate(&m.content)).sum()
    }
}

/// A model's answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChatReply {
    /// What the model said.
    pub text: String,
    /// Tokens of the prompt.
    #[serde(default)]
    pub prompt_tokens: u64,
    /// Tokens of the answer.
    #[serde(default)]
    pub completion_tokens: u64,
    /// Why the answer ended, as the server said: `stop`, `length` and so on; empty if it did not say.
    #[serde(default = "stop")]
    pub finish: String,
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
