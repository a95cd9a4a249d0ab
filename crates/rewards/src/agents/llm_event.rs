//! What the language model is doing for the agents, for a progress display.

use std::sync::Arc;

use rlar_net::llm::ChatProgress;

/// Something that happened to a request of the agents to the language model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LlmEvent<'a> {
    /// The agent role: `classify`, `retrieve`, `synthesise` or `select`.
    pub role: &'a str,
    /// What the request is about: a task label, a domain, or the name of a tool.
    pub task: &'a str,
    /// What happened to the request: it was sent, a token came, or the reply was accepted or rejected.
    pub kind: LlmEventKind<'a>,
}

/// What happened to a request to the language model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum LlmEventKind<'a> {
    /// The request is sent.
    Sent,
    /// A token of the reply has come.
    Token(ChatProgress),
    /// A reply came and can be used.
    Accepted {
        /// Number of tokens in the prompt.
        prompt_tokens: u64,
        /// Number of tokens in the reply.
        reply_tokens: u64,
    },
    /// A reply came and cannot be used, or none came; holds the reason.
    Rejected(&'a str),
}

/// A function that is called with every event of the agents' requests to the language model.
pub type LlmObserver = Arc<dyn Fn(&LlmEvent) + Send + Sync>;
