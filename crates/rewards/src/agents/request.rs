//! A request of an agent role to the language model, from which a chat is made.

use rlar_net::llm::{ChatMessage, ChatRequest};
use serde_json::Value;

use crate::agents::prompt::Prompt;

/// A request of an agent role to the language model, from which a chat is made.
#[derive(Clone, Debug, Default)]
pub struct LlmRequest {
    /// The agent role: `classify`, `retrieve`, `synthesise` or `select`.
    pub role: &'static str,
    /// Name and version of the prompt template, such as `select-4`.
    pub template: &'static str,
    /// What the request is about, which tells requests apart in recordings: a task label, a domain, the name of a tool,
    /// or one of these with the step.
    pub task: String,
    /// Number of requests about the same task that were sent before this one. The number tells repeated requests apart
    /// in recordings.
    pub attempt: u32,
    /// The system message.
    pub system: String,
    /// The first user message.
    pub user: Prompt,
    /// The replies to this request that were rejected, oldest first, each with what was wrong.
    pub repairs: Vec<RepairTurn>,
    /// Largest length of the reply, in tokens.
    pub max_tokens: u32,
    /// Sampling temperature of the first reply; 0 always takes the most probable token.
    pub temperature: f64,
    /// JSON schema that the reply must follow; `None` when free text is wanted.
    pub schema: Option<Value>,
}

/// A rejected reply of the model, and what the model is told about it.
#[derive(Clone, Debug)]
pub struct RepairTurn {
    /// The text of the rejected reply, possibly cut.
    pub reply: String,
    /// The message to the model: why the reply was rejected, and the request for another one.
    pub feedback: String,
}

/// Estimate of the number of characters per token, low enough for code and for languages with long words.
const CHARS_PER_TOKEN: u64 = 3;

impl LlmRequest {
    /// The chat of this request. Data in the user message are cut if prompt and reply would not fit into `context`
    /// tokens; `None` for a context of unknown length.
    pub fn chat(&self, context: Option<u64>) -> ChatRequest {
        let repairs: usize = self.repairs.iter().map(|t| t.reply.chars().count() + t.feedback.chars().count()).sum();
        let beside = self.system.chars().count() + repairs;
        let max_chars = context.map_or(usize::MAX, |context| {
            // A reply may be cut off when it is long; a prompt that is too long gets no reply at all.
            let reply = u64::from(self.max_tokens).min(context / 2);
            let chars = (context - reply).saturating_mul(CHARS_PER_TOKEN);
            usize::try_from(chars).unwrap_or(usize::MAX).saturating_sub(beside)
        });
        let message = |role: &str, content: String| ChatMessage { role: role.to_owned(), content };
        let mut messages = vec![message("system", self.system.clone()), message("user", self.user.render(max_chars))];
        for turn in &self.repairs {
            messages.push(message("assistant", turn.reply.clone()));
            messages.push(message("user", turn.feedback.clone()));
        }
        ChatRequest {
            role: self.role.to_owned(),
            template: self.template.to_owned(),
            task: self.task.clone(),
            attempt: self.attempt,
            messages,
            max_tokens: self.max_tokens,
            temperature: self.temperature,
            schema: self.schema.clone(),
            tools: Vec::new(),
        }
    }
}
