//! The connection to a chat server: what is known of the server, and one try of a chat.

use std::fmt;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use reqwest::header::HeaderValue;
use reqwest::{Client, Url};
use tokio::sync::OnceCell;

use crate::http::{self, redacted};
use crate::llm::attempt::{ChatAttempt, ChatError};
use crate::llm::chat::normalized;
use crate::llm::parameters::Refused;
use crate::llm::server_limits::{self, ServerLimits};
use crate::llm::{
    AdaptiveLimit, ChatPermit, ChatProgress, ChatReply, ChatRequest, LlmError, OpenAiSettings, Secret, wire,
};
use crate::retry::AttemptError;

/// Maximum number of characters of a server's message that an error shows.
const MAX_SHOWN_CHARS: usize = 300;

/// Minimum number of tokens that a reply may have, even if the prompt seems to fill the model's context: the length of
/// the prompt is only estimated.
const LEAST_REPLY: u64 = 64;

/// Maximum number of times that a server is asked for its limits while it cannot answer yet.
const MAX_QUESTIONS: u32 = 3;

/// A connection to a chat server.
pub(crate) struct OpenAiConnection {
    pub settings: OpenAiSettings,
    /// The base URL.
    base: Url,
    /// The URL to which chats are sent: `chat/completions` below the base URL.
    pub address: Url,
    pub authorization: Option<HeaderValue>,
    pub client: Client,
    /// Limits the number of chats under way.
    concurrency: AdaptiveLimit,
    /// The parameters that the server has refused so far, which are no longer sent.
    refused: Mutex<Refused>,
    /// The limits that the server has told; unset until it has answered.
    limits: OnceCell<ServerLimits>,
    /// Number of times that the server was asked for its limits.
    questions: AtomicU32,
    /// The context that the server named when it refused a request, in tokens; 0 before.
    learned_context: AtomicU64,
    /// The model that the server named in its last reply.
    model: Mutex<Option<String>>,
}

impl fmt::Debug for OpenAiConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.settings.fmt(f)
    }
}

/// What llama.cpp's server says, with status 503, while it loads its model.
const LOADING: &str = "Loading model";

/// Pause until a server that loads its model is asked again.
const LOADING_PAUSE: Duration = Duration::from_millis(500);

impl OpenAiConnection {
    /// Creates a connection without sending a request. [`LlmError::Request`] if the settings are invalid.
    pub fn new(settings: OpenAiSettings) -> Result<Self, LlmError> {
        let failed = |message: String| LlmError::Request { address: redacted(&settings.url), message };
        let base = Url::parse(&settings.url).map_err(|e| failed(e.to_string()))?;
        if !matches!(base.scheme(), "http" | "https") {
            return Err(failed("the address must begin with http:// or https://".into()));
        }
        let mut address = base.clone();
        if let Ok(mut path) = address.path_segments_mut() {
            path.pop_if_empty().extend(["chat", "completions"]);
        }
        let key = settings.key.as_ref().map(Secret::reveal).filter(|k| !k.is_empty());
        let authorization = key.map(|k| HeaderValue::from_str(&format!("Bearer {k}"))).transpose();
        let mut authorization =
            authorization.map_err(|_| failed("the key has characters that no header can carry".into()))?;
        if let Some(value) = &mut authorization {
            value.set_sensitive(true);
        }
        let client = http::builder().redirect(reqwest::redirect::Policy::none()).build();
        let client = client.map_err(|e| failed(http::error_chain(e)))?;
        Ok(Self {
            concurrency: AdaptiveLimit::new(settings.concurrency),
            settings,
            base,
            address,
            authorization,
            client,
            refused: Mutex::default(),
            limits: OnceCell::new(),
            questions: AtomicU32::new(0),
            learned_context: AtomicU64::new(0),
            model: Mutex::default(),
        })
    }

    pub fn failed(&self, message: String) -> LlmError {
        LlmError::Request { address: redacted(self.address.as_str()), message }
    }

    /// The context of the model in tokens, as far as it is known: as it is set, as the server named it when it refused a
    /// request, or as the server told.
    pub fn context(&self) -> Option<u64> {
        let learned = Some(self.learned_context.load(Ordering::Relaxed)).filter(|context| *context > 0);
        let told = || self.limits.get().and_then(|limits| limits.context);
        self.settings.context.or(learned).or_else(told)
    }

    /// Asks the server for its limits, unless it has answered before.
    pub async fn ask_limits(&self) {
        let ask = || async {
            if self.questions.fetch_add(1, Ordering::Relaxed) >= MAX_QUESTIONS {
                return Ok(ServerLimits::default());
            }
            let OpenAiConnection { client, base, authorization, .. } = self;
            let told = server_limits::ask(client, base, &self.settings.model, authorization.as_ref()).await.ok_or(())?;
            if let Some(slots) = told.slots {
                self.concurrency.cap(slots);
            }
            Ok(told)
        };
        // A server that cannot answer yet is asked again before the next chat.
        let _: Result<_, ()> = self.limits.get_or_try_init(ask).await;
    }

    /// Waits until fewer chats are under way than the server can take.
    pub async fn acquire(&self) -> ChatPermit<'_> {
        self.concurrency.acquire().await
    }

    /// Sends the request as try number `number` and reads the reply. If the server refuses a parameter, the request is
    /// sent again without the parameter. If the server answers that prompt and reply do not fit into the context, the
    /// request is sent once more, with the token limit that fits by the lengths in the answer.
    pub async fn chat_without_refused(
        &self,
        request: &ChatRequest,
        number: u32,
        on_progress: &mut dyn FnMut(ChatProgress),
    ) -> Result<ChatReply, AttemptError<LlmError>> {
        let refused = || self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let mut left_out = refused().clone();
        let mut max_tokens = self.room(request);
        let mut is_fitted = false;
        let begun = Instant::now();
        loop {
            self.settings.budget.check().map_err(AttemptError::Fatal)?;
            let body = &left_out.without(wire::body(request, &self.settings.model, max_tokens));
            let attempt = ChatAttempt { connection: self, request, body, number, round: self.concurrency.round() };
            match attempt.send(on_progress).await {
                Ok(reply) => {
                    self.concurrency.succeeded();
                    return Ok(reply);
                }
                // A parameter is left out once, so the loop ends.
                Err(ChatError::Refused { parameter, .. }) if left_out.add(parameter) => {
                    if refused().add(parameter) {
                        let (address, key) = (redacted(self.address.as_str()), parameter.key());
                        tracing::warn!("{address}: the server refuses `{key}`; {}", parameter.consequence());
                    }
                }
                Err(ChatError::Refused { error, .. }) => return Err(AttemptError::Fatal(error)),
                Err(ChatError::TooLong { refusal, error }) => {
                    if let Some(context) = refusal.context {
                        self.learned_context.store(context, Ordering::Relaxed);
                    }
                    let room = refusal.context.zip(refusal.prompt_tokens).map(|(all, used)| all.saturating_sub(used));
                    match room.filter(|room| (LEAST_REPLY..max_tokens).contains(room)) {
                        Some(room) if !is_fitted => (max_tokens, is_fitted) = (room, true),
                        _ => return Err(AttemptError::Fatal(error)),
                    }
                }
                // A server that loads its model will answer soon, so this wait is no try.
                Err(ChatError::Failed(AttemptError::Retry { message, .. }))
                    if message.contains(LOADING) && begun.elapsed() < self.settings.first_token =>
                {
                    tokio::time::sleep(LOADING_PAUSE).await;
                }
                Err(ChatError::Failed(error)) => return Err(error),
            }
        }
    }

    /// The largest number of tokens of a reply: what the request allows, or less if the context has less room.
    fn room(&self, request: &ChatRequest) -> u64 {
        let allowed = u64::from(request.max_tokens);
        let room = self.context().map(|context| context.saturating_sub(request.estimate_tokens()).max(LEAST_REPLY));
        room.map_or(allowed, |room| room.min(allowed))
    }

    /// Lowers the limit on chats at a time, because the server could not take a chat. `round` is the value of
    /// [`AdaptiveLimit::round`] when that chat began.
    pub fn overloaded(&self, round: u64) {
        if let Some(limit) = self.concurrency.overloaded(round) {
            let address = redacted(self.address.as_str());
            tracing::info!("{address}: the server is overloaded; at most {limit} chats at a time from now on");
        }
    }

    /// Remembers the model that the server names in a reply, and warns if it is another one than before.
    pub fn note_model(&self, model: &str) {
        let model = self.clean(model);
        let mut last = self.model.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(before) = last.as_ref().filter(|before| **before != model) {
            let address = redacted(self.address.as_str());
            tracing::warn!("{address}: the server has changed its model from {before} to {model}");
        }
        *last = Some(model);
    }

    /// Advice after status 401: the key may be wrong, or may have expired since the last request.
    pub fn key_advice(&self) -> String {
        match &self.settings.key {
            Some(key) if self.authorization.is_some() => match key.variable() {
                Some(variable) => format!("it does not accept the key in {variable}: set a valid one and start again"),
                None => "it does not accept the key: give a valid one and start again".into(),
            },
            _ => "no key was sent: set the environment variable with it, `OPENAI_API_KEY` unless `rewards.llm.key` names another".into(),
        }
    }

    /// Prepares a server's text for display: without control characters, without the API key, and not longer than
    /// [`MAX_SHOWN_CHARS`]. The key is removed after the control characters, because those could hide a key, and before
    /// the text is cut, because a cut could leave the beginning of a key.
    pub fn clean(&self, text: &str) -> String {
        let visible: String = text.chars().filter(|c| c.is_whitespace() || !c.is_control()).collect();
        let text = normalized(&visible);
        let text = self.settings.key.as_ref().map_or(text.clone(), |key| key.redact(&text));
        if text.chars().count() <= MAX_SHOWN_CHARS {
            text
        } else {
            text.chars().take(MAX_SHOWN_CHARS - 1).chain(['…']).collect()
        }
    }
}
