//! A server that speaks the `OpenAI` protocol.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderValue, LOCATION, RETRY_AFTER};
use reqwest::{Client, Response, StatusCode, Url};
use serde_json::Value;
use tokio::sync::Semaphore;

use crate::http::{self, redacted};
use crate::llm::request::normalized;
use crate::llm::{Budget, ChatReply, ChatRequest, Llm, LlmError, Secret, wire};
use crate::retry::{Ended, Failure, Plan, persist, retry_after, tried};
use crate::runtime::Background;

/// The longest answer, in bytes.
const LONGEST: u64 = 8 << 20;

/// The longest body of an error, in bytes, and the longest wait for it: the status alone says enough to go on.
const COMPLAINT: (u64, Duration) = (64 << 10, Duration::from_secs(2));

/// Characters of a server's message that an error shows.
const SHOWN: usize = 300;

/// Where a server is and how it is asked.
#[derive(Clone)]
pub struct Settings {
    /// The address below which `chat/completions` is, such as `http://host:8000/v1`.
    pub url: String,
    /// The model's name on the server.
    pub model: String,
    /// What the server knows the caller by.
    pub key: Option<Secret>,
    /// Time for a chat, from its turn on, with all its tries and pauses. With more than one try, none gets more than
    /// half of it.
    pub deadline: Duration,
    /// Tries per chat; zero counts as one.
    pub tries: u32,
    /// Chats under way at once, at most, whoever asks; the others wait for their turn. Zero counts as one.
    pub concurrency: usize,
    /// What may be spent.
    pub budget: Budget,
}

/// The address may hold a password.
impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Settings");
        shown.field("url", &redacted(&self.url)).field("model", &self.model).field("key", &self.key);
        shown.field("deadline", &self.deadline).field("tries", &self.tries).field("concurrency", &self.concurrency);
        shown.field("budget", &self.budget).finish()
    }
}

/// A server that speaks the `OpenAI` protocol: `OpenAI`'s own, vLLM, llama.cpp and many others.
///
/// Busy servers (429 and 5xx), silence and broken connections are tried again after a random pause whose bound grows,
/// and not before `Retry-After`. Redirects are not followed: the key is for one server. What is spent are the tokens
/// that answers count, or a quarter of the bytes where they count none; a try without an answer counts as nothing,
/// though a server may charge for it. Clones share connections, limits and budget.
#[derive(Clone, Debug)]
pub struct OpenAi(Arc<Server>);

struct Server {
    settings: Settings,
    address: Url,
    authorization: Option<HeaderValue>,
    client: Client,
    turns: Semaphore,
    background: Background,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.settings.fmt(f)
    }
}

impl OpenAi {
    /// A client; nothing is sent yet. Settings that cannot work are an [`LlmError::Request`].
    pub fn new(settings: Settings) -> Result<Self, LlmError> {
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
        let client = client.map_err(|e| failed(http::cause(e)))?;
        let background = Background::start().map_err(failed)?;
        let turns = Semaphore::new(settings.concurrency.clamp(1, Semaphore::MAX_PERMITS));
        Ok(Self(Arc::new(Server { settings, address, authorization, client, turns, background })))
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

impl Server {
    fn failed(&self, message: String) -> LlmError {
        LlmError::Request { address: redacted(self.address.as_str()), message }
    }

    /// Waits for its turn, then tries until the end.
    async fn chat(&self, request: &ChatRequest) -> Result<ChatReply, LlmError> {
        let _turn = self.turns.acquire().await.map_err(|e| self.failed(e.to_string()))?;
        let Settings { tries, deadline, .. } = self.settings;
        // One try that hangs must leave room for another.
        let each = if tries > 1 { deadline / 2 } else { deadline };
        let body = wire::body(request, &self.settings.model);
        let plan = Plan { tries, deadline, each };
        let chat = persist(&plan, async |number| {
            self.settings.budget.check().map_err(Failure::Final)?;
            let answer = self.once(request, &body, number).await;
            if let Err(Failure::Again(message, _)) = &answer {
                tracing::warn!("{}: {message} ({})", redacted(self.address.as_str()), tried(number));
            }
            answer
        });
        chat.await.map_err(|ended| match ended {
            Ended::Final(error) => error,
            Ended::Tries(message) => self.failed(message),
            Ended::Deadline(message) => LlmError::Deadline { address: redacted(self.address.as_str()), message },
        })
    }

    /// One try.
    async fn once(&self, request: &ChatRequest, body: &Value, number: u32) -> Result<ChatReply, Failure<LlmError>> {
        let broken = |e: reqwest::Error| Failure::Again(self.clean(&http::cause(e)), None);
        let mut post = self.client.post(self.address.clone()).json(body);
        if let Some(value) = &self.authorization {
            post = post.header(AUTHORIZATION, value);
        }
        let mut answer = post.send().await.map_err(broken)?;
        if !answer.status().is_success() {
            return Err(self.refusal(answer, number).await);
        }
        let bytes = http::body(&mut answer, LONGEST).await.map_err(broken)?;
        let unclear = |why: String| Failure::Final(LlmError::Reply(self.clean(&why)));
        let parsed = match bytes {
            Some(bytes) => serde_json::from_slice(&bytes).map_err(|e| format!("it is not JSON: {e}")),
            None => Err(format!("it is longer than {} MiB", LONGEST >> 20)),
        };
        // The server worked for it, whether or not its answer is of use.
        let usage = wire::usage(request, parsed.as_ref().unwrap_or(&Value::Null));
        self.settings.budget.charge(usage.0, usage.1);
        wire::reply(&parsed.map_err(unclear)?, usage).map_err(unclear)
    }

    /// Why the server did not answer, by an answer's status.
    async fn refusal(&self, mut answer: Response, number: u32) -> Failure<LlmError> {
        let status = answer.status();
        let header = |name| answer.headers().get(name).and_then(|v| v.to_str().ok()).map(str::to_owned);
        let (asked, location) = (header(RETRY_AFTER), header(LOCATION));
        let said = tokio::time::timeout(COMPLAINT.1, http::body(&mut answer, COMPLAINT.0)).await;
        let said = said.ok().and_then(Result::ok).flatten().unwrap_or_default();
        let said = self.clean(&wire::complaint(&said));
        let mut message = format!("the server answered {status}");
        if status.is_redirection() {
            let to = location.and_then(|l| self.address.join(&l).ok()).map(|u| redacted(u.as_str()));
            let to = self.clean(&to.unwrap_or_else(|| "another address".into()));
            message = format!("{message}: it points to {to}, which is not followed; change the address if it is right");
        } else if !said.is_empty() {
            message = format!("{message}: {said}");
        }
        if status == StatusCode::UNAUTHORIZED {
            message = format!("{message}; {}", self.key_advice());
        }
        if http::is_busy(status) {
            return Failure::Again(message, asked.and_then(|a| retry_after(&a)));
        }
        Failure::Final(self.failed(format!("{message} ({})", tried(number))))
    }

    /// What to do about a key that is not accepted: it may be wrong, or have expired since the last request.
    fn key_advice(&self) -> String {
        match &self.settings.key {
            Some(key) if self.authorization.is_some() => match key.variable() {
                Some(variable) => format!("it does not accept the key in {variable}: set a valid one and start again"),
                None => "it does not accept the key: give a valid one and start again".into(),
            },
            _ => "no key was sent: set the environment variable with it, `OPENAI_API_KEY` unless `rewards.llm.key` names another".into(),
        }
    }

    /// What a server said, fit to be shown: without control characters, short, and without the key. The key goes last
    /// but one: taking characters out may have put it together, and a cut would leave its beginning.
    fn clean(&self, text: &str) -> String {
        let visible: String = text.chars().filter(|c| c.is_whitespace() || !c.is_control()).collect();
        let text = normalized(&visible);
        let text = self.settings.key.as_ref().map_or(text.clone(), |key| key.taken_out(&text));
        if text.chars().count() <= SHOWN { text } else { text.chars().take(SHOWN - 1).chain(['…']).collect() }
    }
}
