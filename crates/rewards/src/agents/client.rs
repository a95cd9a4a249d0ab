//! The client through which the agents ask a language model. It sends requests, counts them and parses the replies; a
//! request whose reply is unusable is repeated with the reason.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use rlar_net::llm::{ChatMessage, ChatReply, ChatRequest, FunctionDefinition, Llm, LlmError};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::agents::fence::clip;
use crate::agents::parse::without_reasoning;

/// Largest number of times that the model is asked to repair an unusable reply.
const MAX_REPAIRS: u32 = 2;

/// Largest number of characters of an unusable reply that are shown to the model again when it is asked for a repair.
const QUOTED_CHARS: usize = 4000;

/// A request of an agent role to the language model, from which a chat is made.
#[derive(Clone, Debug, Default)]
pub struct LlmRequest {
    /// The agent role: `classify`, `retrieve`, `synthesise` or `select`.
    pub role: &'static str,
    /// Name and version of the prompt template, such as `select-1`.
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
    pub user: String,
    /// The replies to this request that were rejected, oldest first, each with what was wrong.
    pub repairs: Vec<RepairTurn>,
    /// Largest length of the reply, in tokens.
    pub max_tokens: u32,
    /// JSON schema that the reply must follow; `None` when free text or a function call is wanted.
    pub schema: Option<Value>,
    /// Functions that the model may call in its reply; empty for none.
    pub functions: Vec<FunctionDefinition>,
}

/// A rejected reply of the model, and what the model is told about it.
#[derive(Clone, Debug)]
pub struct RepairTurn {
    /// The text of the rejected reply, possibly cut.
    pub reply: String,
    /// The message to the model: why the reply was rejected, and the request for another one.
    pub feedback: String,
}

impl LlmRequest {
    fn chat(&self) -> ChatRequest {
        let message = |role: &str, content: &str| ChatMessage { role: role.to_owned(), content: content.to_owned() };
        let mut messages = vec![message("system", &self.system), message("user", &self.user)];
        for turn in &self.repairs {
            messages.push(message("assistant", &turn.reply));
            messages.push(message("user", &turn.feedback));
        }
        ChatRequest {
            role: self.role.to_owned(),
            template: self.template.to_owned(),
            task: self.task.clone(),
            attempt: self.attempt,
            messages,
            max_tokens: self.max_tokens,
            temperature: 0.0,
            schema: self.schema.clone(),
            tools: self.functions.clone(),
        }
    }
}

/// The result of one pass of [`repair_loop`]: an accepted or a rejected reply of the model.
pub enum Attempt<T> {
    /// The value of an accepted reply, with which the loop ends.
    Accepted(T),
    /// A rejected reply, which the next pass shows to the model with the reason.
    Rejected(RepairTurn),
}

/// Runs `attempt` until it accepts a reply, at most `max_repairs` times after the first. The arguments of `attempt` are
/// the request, which holds all replies rejected so far, and the number of repairs so far, 0 at first. The result is
/// the accepted value, or `None` when every reply was rejected.
pub fn repair_loop<T, E>(
    request: &mut LlmRequest,
    max_repairs: u32,
    mut attempt: impl FnMut(&mut LlmRequest, u32) -> Result<Attempt<T>, E>,
) -> Result<Option<T>, E> {
    for repair in 0..=max_repairs {
        match attempt(request, repair)? {
            Attempt::Accepted(value) => return Ok(Some(value)),
            Attempt::Rejected(turn) => request.repairs.push(turn),
        }
    }
    Ok(None)
}

/// A reply of the model that could be parsed.
#[derive(Clone, Debug)]
pub struct ParsedReply<T> {
    /// The value that the reply was parsed into.
    pub value: T,
    /// The reply as the model wrote it, function calls included.
    pub text: String,
    /// Number of requests about the same task so far, this one included: the [`LlmRequest::attempt`] of the next
    /// request.
    pub attempts: u32,
}

/// Why a request brought no usable reply.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LlmFailure {
    /// No reply came, because the connection failed or the budget is used up; holds the reason. The same request may
    /// succeed later.
    #[error("{0}")]
    Unavailable(String),
    /// All replies to the request were rejected; holds the reason for the last rejection.
    #[error("no usable answer in {tries} tries; the last problem: {0}", tries = MAX_REPAIRS + 1)]
    Unusable(String),
}

/// How much one agent role has used of the language model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleUsage {
    /// Number of requests that were answered, repair requests included.
    #[serde(rename = "asked")]
    pub requests: u64,
    /// Number of requests that asked for the repair of an unusable reply.
    pub repairs: u64,
    /// Number of times that the builtin agent (fixed rules) decided, because the language model gave no usable reply.
    pub fallbacks: u64,
    /// Number of tokens of all prompts and replies.
    pub tokens: u64,
}

/// Usage of the language model by agent role, such as `select`.
pub type UsageByRole = BTreeMap<String, RoleUsage>;

/// A language model with counts of its usage. All clones of a client share the counts.
#[derive(Clone, Debug)]
pub struct LlmClient {
    llm: Arc<dyn Llm>,
    state: Arc<Mutex<ClientState>>,
}

#[derive(Debug, Default)]
struct ClientState {
    usage: UsageByRole,
    /// The reason why no more requests are sent, once the budget is used up; `None` before.
    exhausted: Option<String>,
}

impl LlmClient {
    /// A client for a language model, with all counts at 0.
    pub fn new(llm: Arc<dyn Llm>) -> Self {
        Self { llm, state: Arc::default() }
    }

    /// The language model behind this client.
    pub fn llm(&self) -> Arc<dyn Llm> {
        self.llm.clone()
    }

    /// The name of the language model.
    pub fn name(&self) -> String {
        self.llm.name()
    }

    /// Usage of the language model so far, by agent role.
    pub fn usage(&self) -> UsageByRole {
        self.state().usage.clone()
    }

    /// Counts a decision of an agent role that the builtin agent (fixed rules) took because the language model gave no
    /// usable reply.
    pub fn count_fallback(&self, role: &str) {
        self.state().usage.entry(role.to_owned()).or_default().fallbacks += 1;
    }

    /// Sends a request and parses the reply. A reply that `parse` rejects is sent back to the model with the reason, at
    /// most twice, so that the model can repair it.
    ///
    /// # Errors
    ///
    /// [`LlmFailure::Unavailable`] when the model does not answer; [`LlmFailure::Unusable`] when `parse` rejects every
    /// reply.
    pub fn complete<T>(
        &self,
        mut request: LlmRequest,
        parse: impl Fn(&ChatReply) -> Result<T, String>,
    ) -> Result<ParsedReply<T>, LlmFailure> {
        let mut problem = String::new();
        let parsed = repair_loop(&mut request, MAX_REPAIRS, |request, repair| {
            let reply = self.send(request)?;
            request.attempt += 1;
            self.count(request.role, repair > 0, &reply);
            let text = full_text(&reply);
            // What a model thinks before it answers is no part of the answer.
            let answer = ChatReply { text: without_reasoning(&reply.text).to_owned(), ..reply.clone() };
            Ok(match parse(&answer) {
                Ok(value) => Attempt::Accepted(ParsedReply { value, text, attempts: request.attempt }),
                Err(mut why) => {
                    if reply.finish == "length" {
                        let tokens = request.max_tokens;
                        why = format!("{why}; it was cut off after {tokens} tokens, so be shorter");
                    }
                    let feedback =
                        format!("This answer cannot be used: {why}. Answer again, in the form that was asked for.");
                    problem = why;
                    Attempt::Rejected(RepairTurn { reply: clip(&text, QUOTED_CHARS), feedback })
                }
            })
        })?;
        parsed.ok_or(LlmFailure::Unusable(problem))
    }

    /// Sends one request and returns the reply. Once the budget is used up, nothing is sent, and the result is an
    /// error.
    fn send(&self, request: &LlmRequest) -> Result<ChatReply, LlmFailure> {
        if let Some(why) = self.state().exhausted.clone() {
            return Err(LlmFailure::Unavailable(why));
        }
        self.llm.chat(&request.chat()).map_err(|e| {
            if matches!(e, LlmError::Budget(_)) {
                self.state().exhausted = Some(e.to_string());
            }
            LlmFailure::Unavailable(e.to_string())
        })
    }

    fn count(&self, role: &str, is_repair: bool, reply: &ChatReply) {
        let mut state = self.state();
        let usage = state.usage.entry(role.to_owned()).or_default();
        usage.requests += 1;
        usage.repairs += u64::from(is_repair);
        usage.tokens += reply.prompt_tokens + reply.completion_tokens;
    }

    fn state(&self) -> std::sync::MutexGuard<'_, ClientState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The text of a reply, followed by its function calls, one call a line.
fn full_text(reply: &ChatReply) -> String {
    let calls = reply.calls.iter().map(|c| format!("{}({})", c.name, c.arguments));
    std::iter::once(reply.text.clone()).filter(|t| !t.is_empty()).chain(calls).collect::<Vec<_>>().join("\n")
}
