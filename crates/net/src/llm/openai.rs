//! A client of servers with the `OpenAI` protocol for chat completions.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::http::redacted;
use crate::llm::chat_servers::ChatServers;
use crate::llm::{Budget, ChatProgress, ChatReply, ChatRequest, Llm, LlmError, Secret};

/// The address of a server and of a model on it, and the limits of each chat.
#[derive(Clone)]
pub struct OpenAiSettings {
    /// The base URL of the server, below which `chat/completions` is, such as `http://host:8000/v1`.
    pub url: String,
    /// The base URLs of further servers with the same model under the same name and key. A chat goes to the server with
    /// the fewest under way, and a try after a failed one to another server.
    pub others: Vec<String>,
    /// The name of the model on the server.
    pub model: String,
    /// The API key, which is sent as a bearer token; with `None`, no key is sent.
    pub key: Option<Secret>,
    /// Maximum time for a chat, with all its tries and the pauses between them. The time in which a chat waits for
    /// others of this client to end does not count.
    pub deadline: Duration,
    /// Maximum wait for the first token of a reply, the server's queue and its reading of the prompt included. A server
    /// that does not stream must give its whole reply within this time.
    pub first_token: Duration,
    /// Maximum wait for every further token.
    pub next_token: Duration,
    /// Maximum number of tries per chat; zero counts as one.
    pub tries: u32,
    /// Maximum number of chats that are under way with each server at the same time, over all clones of the client;
    /// further chats wait. Zero counts as one. The client sends fewer if the server says that it takes fewer, or is
    /// overloaded.
    pub concurrency: usize,
    /// Number of tokens that prompt and reply of one chat share; with `None`, the server is asked for it.
    pub context: Option<u64>,
    /// The budget of tokens and money, which is checked before every try.
    pub budget: Budget,
}

impl OpenAiSettings {
    /// The default limits for this model on the server with this base URL: no key, no budget, 10 minutes per chat, 120 s
    /// until its first token, 30 s between tokens, 4 tries, 8 chats at a time.
    pub fn new(url: impl Into<String>, model: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            others: Vec::new(),
            model: model.into(),
            key: None,
            deadline: Duration::from_mins(10),
            first_token: Duration::from_mins(2),
            next_token: Duration::from_secs(30),
            tries: 4,
            concurrency: 8,
            context: None,
            budget: Budget::default(),
        }
    }
}

// `Debug` is not derived, because the address may contain a password.
impl fmt::Debug for OpenAiSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("OpenAiSettings");
        let others: Vec<String> = self.others.iter().map(|url| redacted(url)).collect();
        shown
            .field("url", &redacted(&self.url))
            .field("others", &others)
            .field("model", &self.model)
            .field("key", &self.key);
        shown.field("deadline", &self.deadline).field("first_token", &self.first_token);
        shown.field("next_token", &self.next_token).field("tries", &self.tries);
        shown.field("concurrency", &self.concurrency).field("context", &self.context);
        shown.field("budget", &self.budget).finish()
    }
}

/// A client of an `OpenAI`-compatible server, such as `OpenAI`'s own, vLLM or llama.cpp.
///
/// Replies are streamed. A request that is given up, because a token did not come in time or the reply repeats itself
/// without end, is closed, so that the server stops.
///
/// A server that refuses a parameter, such as `stream` or `temperature`, is asked again without it or with its newer
/// name, and the client remembers that. Status 429, 5xx, timeouts and broken connections are retried after a random
/// pause, whose upper bound doubles with every try, and not before the time in `Retry-After`. Redirects are not followed,
/// because the API key belongs to one server.
///
/// Of several servers, one that has failed three times in a row gets no chats for 30 s, while others answer. An answer
/// that says that the request or the key is wrong is an error at once.
///
/// Before the first chat the server is asked for its context and for the number of chats that it works on at a time. The
/// limit on a reply's tokens is lowered to what the context has room for.
///
/// Each response is charged to the budget with its token counts, or with an estimate if it has no counts; a reply that
/// was given up, with an estimate of what has arrived. A try without a response is not charged, although the server may
/// bill it. Clones share connections, limits and budget.
#[derive(Clone, Debug)]
pub struct OpenAi(Arc<ChatServers>);

impl OpenAi {
    /// Creates a client without sending a request. [`LlmError::Request`] if the settings are invalid.
    pub fn new(settings: OpenAiSettings) -> Result<Self, LlmError> {
        Ok(Self(Arc::new(ChatServers::new(settings)?)))
    }
}

impl Llm for OpenAi {
    fn chat(&self, request: &ChatRequest) -> Result<ChatReply, LlmError> {
        self.chat_with_progress(request, &mut |_| {})
    }

    fn chat_with_progress(
        &self,
        request: &ChatRequest,
        on_progress: &mut dyn FnMut(ChatProgress),
    ) -> Result<ChatReply, LlmError> {
        let chat = self.0.chat(request, on_progress);
        self.0.background.wait(chat).map_err(|message| self.0.failed(message))?
    }

    fn context(&self) -> Option<u64> {
        if self.0.context().is_none() {
            // Within asynchronous code, which must not block, nothing is asked.
            let _ = self.0.background.wait(self.0.ask_limits());
        }
        self.0.context()
    }

    fn concurrency(&self) -> usize {
        self.0.concurrency()
    }

    /// The model at the first address: with further servers it is the same model.
    fn name(&self) -> String {
        format!("{} at {}", self.0.settings.model, redacted(&self.0.settings.url))
    }
}
