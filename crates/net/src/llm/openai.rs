//! A client of servers with the `OpenAI` protocol for chat completions.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderValue, LOCATION, RETRY_AFTER};
use reqwest::{Client, Response, StatusCode, Url};
use serde_json::Value;
use tokio::sync::Semaphore;

use crate::http::{self, redacted};
use crate::llm::chat::normalized;
use crate::llm::parameters::{Parameter, Refused, refused_parameter};
use crate::llm::{Budget, ChatReply, ChatRequest, Llm, LlmError, Secret, wire};
use crate::retry::{AttemptError, RetryError, RetryPolicy, retry_after, tried, with_retries};
use crate::runtime::BackgroundRuntime;

/// Maximum size of a response, in bytes.
const MAX_BYTES: u64 = 8 << 20;

/// Maximum size of the body of an error response, in bytes; a longer body is ignored.
const MAX_ERROR_BYTES: u64 = 64 << 10;

/// Maximum wait for the body of an error response. Without the body, the error message has only the status.
const ERROR_BODY_TIMEOUT: Duration = Duration::from_secs(2);

/// Maximum number of characters of a server's message that an error shows.
const MAX_SHOWN_CHARS: usize = 300;

/// The address of a server and of a model on it, and the limits of each chat.
#[derive(Clone)]
pub struct OpenAiSettings {
    /// The base URL of the server, below which `chat/completions` is, such as `http://host:8000/v1`.
    pub url: String,
    /// The name of the model on the server.
    pub model: String,
    /// The API key, which is sent as a bearer token; with `None`, no key is sent.
    pub key: Option<Secret>,
    /// Maximum time for a chat, with all its tries and the pauses between them. The time in which a chat waits for
    /// others to end does not count. If there may be several tries, each gets at most half of the time.
    pub deadline: Duration,
    /// Maximum number of tries per chat; zero counts as one.
    pub tries: u32,
    /// Maximum number of chats that are under way at the same time, over all clones of the client; further chats wait.
    /// Zero counts as one.
    pub concurrency: usize,
    /// The budget of tokens and money, which is checked before every try.
    pub budget: Budget,
}

// `Debug` is not derived, because the address may contain a password.
impl fmt::Debug for OpenAiSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("OpenAiSettings");
        shown.field("url", &redacted(&self.url)).field("model", &self.model).field("key", &self.key);
        shown.field("deadline", &self.deadline).field("tries", &self.tries).field("concurrency", &self.concurrency);
        shown.field("budget", &self.budget).finish()
    }
}

/// A client of an `OpenAI`-compatible server, such as `OpenAI`'s own, vLLM or llama.cpp.
///
/// A server that refuses a parameter, such as `max_tokens` or `temperature`, is asked again without it or with its newer
/// name, and the client remembers that. Status 429, 5xx, timeouts and broken connections are retried after a random pause, whose upper bound doubles with
/// every try, and not before the time in `Retry-After`. Redirects are not followed, because the API key belongs to one
/// server. Each response is charged to the budget with its token counts, or with a quarter of its bytes if it has no
/// counts. A try without a response is not charged, although the server may bill it. Clones share connections, limits
/// and budget.
#[derive(Clone, Debug)]
pub struct OpenAi(Arc<OpenAiConnection>);

struct OpenAiConnection {
    settings: OpenAiSettings,
    address: Url,
    authorization: Option<HeaderValue>,
    client: Client,
    /// Limits the number of chats under way: each chat holds one permit.
    permits: Semaphore,
    /// The parameters that the server has refused so far, which are no longer sent.
    refused: Mutex<Refused>,
    background: BackgroundRuntime,
}

impl fmt::Debug for OpenAiConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.settings.fmt(f)
    }
}

impl OpenAi {
    /// Creates a client without sending a request. [`LlmError::Request`] if the settings are invalid.
    pub fn new(settings: OpenAiSettings) -> Result<Self, LlmError> {
        let failed = |message: String| LlmError::Request { address: redacted(&settings.url), message };
        let mut address = Url::parse(&settings.url).map_err(|e| failed(e.to_string()))?;
        if !matches!(address.scheme(), "http" | "https") {
            return Err(failed("the address must begin with http:// or https://".into()));
        }
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
        let background = BackgroundRuntime::start().map_err(failed)?;
        let permits = Semaphore::new(settings.concurrency.clamp(1, Semaphore::MAX_PERMITS));
        let refused = Mutex::default();
        Ok(Self(Arc::new(OpenAiConnection { settings, address, authorization, client, permits, refused, background })))
    }
}

impl Llm for OpenAi {
    fn chat(&self, request: &ChatRequest) -> Result<ChatReply, LlmError> {
        self.0.background.wait(self.0.chat(request)).map_err(|message| self.0.failed(message))?
    }

    fn concurrency(&self) -> usize {
        self.0.settings.concurrency.max(1)
    }

    fn name(&self) -> String {
        format!("{} at {}", self.0.settings.model, redacted(&self.0.settings.url))
    }
}

/// Why a request that was sent once brought no reply.
enum ChatError {
    /// The server refuses a parameter of the request.
    Refused { parameter: Parameter, error: LlmError },
    /// Anything else.
    Failed(AttemptError<LlmError>),
}

impl OpenAiConnection {
    fn failed(&self, message: String) -> LlmError {
        LlmError::Request { address: redacted(self.address.as_str()), message }
    }

    /// Waits until fewer than the maximum number of chats are under way, then sends the request with its retries.
    async fn chat(&self, request: &ChatRequest) -> Result<ChatReply, LlmError> {
        let _permit = self.permits.acquire().await.map_err(|e| self.failed(e.to_string()))?;
        let OpenAiSettings { tries, deadline, .. } = self.settings;
        // With several tries, one that hangs must leave time for another.
        let per_try = if tries > 1 { deadline / 2 } else { deadline };
        let policy = RetryPolicy { tries, deadline, per_try };
        let chat = with_retries(&policy, async |number| {
            let attempt = self.chat_without_refused(request, number).await;
            if let Err(AttemptError::Retry { message, .. }) = &attempt {
                tracing::warn!("{}: {message} ({})", redacted(self.address.as_str()), tried(number));
            }
            attempt
        });
        chat.await.map_err(|e| match e {
            RetryError::Fatal(error) => error,
            RetryError::Exhausted(message) => self.failed(message),
            RetryError::Deadline(message) => LlmError::Deadline { address: redacted(self.address.as_str()), message },
        })
    }

    /// Sends the request and reads the reply. When the server refuses a parameter, the request is sent again without it.
    async fn chat_without_refused(
        &self,
        request: &ChatRequest,
        number: u32,
    ) -> Result<ChatReply, AttemptError<LlmError>> {
        let refused = || self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let mut left_out = refused().clone();
        loop {
            self.settings.budget.check().map_err(AttemptError::Fatal)?;
            let body = left_out.without(wire::body(request, &self.settings.model));
            match self.chat_once(request, &body, number).await {
                Ok(reply) => return Ok(reply),
                // A parameter is left out once, so the loop ends.
                Err(ChatError::Refused { parameter, .. }) if left_out.add(parameter) => {
                    if refused().add(parameter) {
                        let (address, key) = (redacted(self.address.as_str()), parameter.key());
                        tracing::warn!("{address}: the server refuses `{key}`; {}", parameter.consequence());
                    }
                }
                Err(ChatError::Refused { error, .. }) => return Err(AttemptError::Fatal(error)),
                Err(ChatError::Failed(error)) => return Err(error),
            }
        }
    }

    /// Sends a request's body once and reads the reply.
    async fn chat_once(&self, request: &ChatRequest, body: &Value, number: u32) -> Result<ChatReply, ChatError> {
        let connection_error =
            |e: reqwest::Error| ChatError::Failed(AttemptError::retry(self.clean(&http::error_chain(e))));
        let mut post = self.client.post(self.address.clone()).json(body);
        if let Some(value) = &self.authorization {
            post = post.header(AUTHORIZATION, value);
        }
        let mut response = post.send().await.map_err(connection_error)?;
        if !response.status().is_success() {
            return Err(self.status_error(response, body, number).await);
        }
        let bytes = http::read_body(&mut response, MAX_BYTES).await.map_err(connection_error)?;
        let invalid = |why: String| ChatError::Failed(AttemptError::Fatal(LlmError::Reply(self.clean(&why))));
        let parsed = match bytes {
            Some(bytes) => serde_json::from_slice(&bytes).map_err(|e| format!("it is not JSON: {e}")),
            None => Err(format!("it is longer than {} MiB", MAX_BYTES >> 20)),
        };
        // The tokens are charged even if the response cannot be used, because the server did the work.
        let usage = wire::usage(request, parsed.as_ref().unwrap_or(&Value::Null));
        self.settings.budget.charge(usage.prompt, usage.completion);
        wire::reply(&parsed.map_err(invalid)?, usage).map_err(invalid)
    }

    /// The error for a response whose status is not success, with the server's message and advice on what to do. `sent`
    /// is the body of the request.
    async fn status_error(&self, mut response: Response, sent: &Value, number: u32) -> ChatError {
        let status = response.status();
        let header = |name| response.headers().get(name).and_then(|v| v.to_str().ok()).map(str::to_owned);
        let (after, location) = (header(RETRY_AFTER), header(LOCATION));
        let body = http::read_body(&mut response, MAX_ERROR_BYTES);
        let body = tokio::time::timeout(ERROR_BODY_TIMEOUT, body).await;
        let body = body.ok().and_then(Result::ok).flatten().unwrap_or_default();
        let server_message = self.clean(&wire::error_message(&body));
        let mut message = format!("the server answered {status}");
        if status.is_redirection() {
            let to = location.and_then(|l| self.address.join(&l).ok()).map(|u| redacted(u.as_str()));
            let to = self.clean(&to.unwrap_or_else(|| "another address".into()));
            message = format!("{message}: it points to {to}, which is not followed; change the address if it is right");
        } else if !server_message.is_empty() {
            message = format!("{message}: {server_message}");
        }
        if status == StatusCode::UNAUTHORIZED {
            message = format!("{message}; {}", self.key_advice());
        }
        if http::is_retryable(status) {
            let after = after.and_then(|header| retry_after(&header));
            return ChatError::Failed(AttemptError::Retry { message, after });
        }
        let error = self.failed(format!("{message} ({})", tried(number)));
        let is_about_request = matches!(status, StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY);
        match refused_parameter(&body, &wire::error_message(&body), sent).filter(|_| is_about_request) {
            Some(parameter) => ChatError::Refused { parameter, error },
            None => ChatError::Failed(AttemptError::Fatal(error)),
        }
    }

    /// Advice after status 401: the key may be wrong, or may have expired since the last request.
    fn key_advice(&self) -> String {
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
    fn clean(&self, text: &str) -> String {
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
