//! The client through which the agents ask a language model. It sends requests, counts them and parses the replies; a
//! request whose reply is unusable is repeated with the reason, at another temperature.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use rlar_net::llm::{ChatReply, Llm, LlmError};
use serde::{Deserialize, Serialize};

use crate::agents::llm_event::{LlmEvent, LlmEventKind, LlmObserver};
use crate::agents::parse::without_reasoning;
use crate::agents::plain_text::clip;
use crate::agents::request::{LlmRequest, RepairTurn};

/// Largest number of times that the model is asked to repair an unusable reply.
const MAX_REPAIRS: u32 = 2;

/// Largest number of characters of an unusable reply that are shown to the model again when it is asked for a repair.
const QUOTED_CHARS: usize = 4000;

/// Sampling temperature of repairs. At temperature 0 a small model repeats its mistake.
const REPAIR_TEMPERATURE: f64 = 0.7;

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
#[derive(Clone)]
pub struct LlmClient {
    llm: Arc<dyn Llm>,
    state: Arc<Mutex<ClientState>>,
    observer: Option<LlmObserver>,
}

impl fmt::Debug for LlmClient {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.debug_struct("LlmClient").field("llm", &self.llm).field("state", &self.state).finish_non_exhaustive()
    }
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
        Self { llm, state: Arc::default(), observer: None }
    }

    /// A client that tells `observer` what becomes of every request.
    #[must_use]
    pub fn observed_by(self, observer: LlmObserver) -> Self {
        Self { observer: Some(observer), ..self }
    }

    /// A client with the same observer for another language model, with all counts at 0.
    #[must_use]
    pub fn replaced_by(&self, llm: Arc<dyn Llm>) -> Self {
        Self { observer: self.observer.clone(), ..Self::new(llm) }
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

    /// Sends a request and parses the reply. When `parse` rejects a reply, the request is repeated with the reason and
    /// at another temperature, at most twice. The first repair shows the rejected reply; the second begins anew,
    /// because small models copy what they see.
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
        let first = request.clone();
        for repair in 0..=MAX_REPAIRS {
            let reply = self.send(&request)?;
            request.attempt += 1;
            self.count(request.role, repair > 0, &reply);
            let text = full_text(&reply);
            // What a model thinks before it answers is no part of the answer.
            let answer = ChatReply { text: without_reasoning(&reply.text).to_owned(), ..reply.clone() };
            let why = match parse(&answer) {
                Ok(value) => {
                    let ChatReply { prompt_tokens, completion_tokens, .. } = reply;
                    self.report(&request, LlmEventKind::Accepted { prompt_tokens, reply_tokens: completion_tokens });
                    return Ok(ParsedReply { value, text, attempts: request.attempt });
                }
                Err(why) => match reply.finish.as_str() {
                    "length" => format!("{why}; it was cut off after {} tokens, so be shorter", request.max_tokens),
                    "repetition" => format!("{why}; it was cut off because it repeated itself"),
                    _ => why,
                },
            };
            self.report(&request, LlmEventKind::Rejected(&why));
            let feedback = format!("This answer cannot be used: {why}. Answer again, in the form that was asked for.");
            request.temperature = REPAIR_TEMPERATURE;
            if repair == 0 {
                request.repairs.push(RepairTurn { reply: clip(&text, QUOTED_CHARS), feedback });
            } else {
                request.repairs.clone_from(&first.repairs);
                request.user =
                    first.user.clone().words(format!("\nMind: an earlier answer could not be used: {why}.\n"));
            }
            problem = why;
        }
        Err(LlmFailure::Unusable(problem))
    }

    /// Sends one request and returns the reply. Once the budget is used up, nothing is sent, and the result is an
    /// error. A prompt that is too long for the model's context is cut and sent again.
    fn send(&self, request: &LlmRequest) -> Result<ChatReply, LlmFailure> {
        if let Some(why) = self.state().exhausted.clone() {
            return Err(LlmFailure::Unavailable(why));
        }
        self.report(request, LlmEventKind::Sent);
        let mut on_progress = |progress| self.report(request, LlmEventKind::Token(progress));
        let context = self.llm.context();
        let mut reply = self.llm.chat_with_progress(&request.chat(context), &mut on_progress);
        if let Err(LlmError::ContextTooLong { prompt_tokens, context: told, .. }) = &reply
            && let Some(fitting) = fitting_context(context.or(*told), *prompt_tokens)
        {
            reply = self.llm.chat_with_progress(&request.chat(Some(fitting)), &mut on_progress);
        }
        reply.map_err(|e| {
            if matches!(e, LlmError::Budget(_)) {
                self.state().exhausted = Some(e.to_string());
            }
            self.report(request, LlmEventKind::Rejected(&e.to_string()));
            LlmFailure::Unavailable(e.to_string())
        })
    }

    fn report(&self, request: &LlmRequest, kind: LlmEventKind) {
        if let Some(observer) = &self.observer {
            observer(&LlmEvent { role: request.role, task: &request.task, kind });
        }
    }

    fn count(&self, role: &str, is_repair: bool, reply: &ChatReply) {
        let mut state = self.state();
        let usage = state.usage.entry(role.to_owned()).or_default();
        usage.requests += 1;
        usage.repairs += u64::from(is_repair);
        usage.tokens = usage.tokens.saturating_add(reply.prompt_tokens.saturating_add(reply.completion_tokens));
    }

    fn state(&self) -> std::sync::MutexGuard<'_, ClientState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The context length, in tokens, to which a prompt is cut after a server refused it as too long. It is less than
/// `context`, the true length, because the prompt has more tokens than were estimated. `prompt_tokens` is the number
/// that the server counted. `None` if `context` is unknown.
fn fitting_context(context: Option<u64>, prompt_tokens: Option<u64>) -> Option<u64> {
    let context = context?;
    let excess = prompt_tokens.map_or(context / 2, |tokens| tokens.saturating_sub(context / 2));
    Some(context.saturating_sub(excess).max(context / 4))
}

/// The text of a reply, followed by its function calls, one call a line.
fn full_text(reply: &ChatReply) -> String {
    let calls = reply.calls.iter().map(|c| format!("{}({})", c.name, c.arguments));
    std::iter::once(reply.text.clone()).filter(|t| !t.is_empty()).chain(calls).collect::<Vec<_>>().join("\n")
}
