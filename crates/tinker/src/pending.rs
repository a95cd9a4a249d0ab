//! A request that the server has acknowledged, and its result by long polling.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::sleep;

use crate::TinkerError;
use crate::codec::Body;
use crate::connection::{Answer, ApiCall, Connection, ReadError, Repeat, TryError, json_body};

/// An answer "not yet" that comes sooner than this is followed by a pause, so that the client does not ask without end.
const QUICK: Duration = Duration::from_secs(1);

/// Reads the result of a request.
type Read<T> = Box<dyn Fn(&Body) -> Result<T, ReadError> + Send + Sync>;

/// A request that the server has acknowledged. Its work goes on whether or not anybody waits for [`Pending::result`].
#[must_use = "the work may fail: wait for the result"]
pub struct Pending<T> {
    connection: Arc<Connection>,
    call: &'static str,
    request_id: String,
    accept: &'static str,
    read: Read<T>,
}

/// What a server says of its queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ServerQueue {
    /// Nothing.
    #[default]
    Unknown,
    /// It works on requests.
    Active,
    /// It has no capacity at the moment.
    PausedCapacity,
    /// The account has used up its rate.
    PausedRateLimit,
}

impl fmt::Display for ServerQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unknown => "the server says nothing of its queue",
            Self::Active => "the queue is active",
            Self::PausedCapacity => "the queue is paused: the server has no capacity",
            Self::PausedRateLimit => "the queue is paused: the account's rate limit is used up",
        })
    }
}

impl ServerQueue {
    fn parse(text: Option<&str>) -> Self {
        match text {
            Some("active") => Self::Active,
            Some("paused_capacity") => Self::PausedCapacity,
            Some("paused_rate_limit") => Self::PausedRateLimit,
            _ => Self::Unknown,
        }
    }
}

/// The server's names for work that it has taken.
#[derive(Debug, Deserialize)]
pub(crate) struct Ticket {
    pub request_id: String,
    /// The model that `create_model` makes.
    pub model_id: Option<String>,
}

#[derive(Serialize)]
struct FutureQuestion<'a> {
    request_id: &'a str,
}

/// What tells a result from a "not yet" and from a failure.
#[derive(Deserialize)]
struct Peek {
    #[serde(rename = "type")]
    kind: Option<String>,
    queue_state: Option<String>,
    error: Option<Value>,
}

/// What a question after a result brought.
enum PolledResult<T> {
    Result(T),
    NotYet(ServerQueue),
}

impl<T> Pending<T> {
    pub(crate) fn new(
        connection: Arc<Connection>,
        call: &'static str,
        request_id: String,
        accept: &'static str,
        read: Read<T>,
    ) -> Self {
        Self { connection, call, request_id, accept, read }
    }

    /// The server's name of the request.
    pub fn request_id(&self) -> &str {
        &self.request_id
    }

    /// Waits for the result. After an error that says so it may be called again: asking changes nothing.
    pub async fn result(&self) -> Result<T, TinkerError> {
        let settings = &self.connection.settings;
        let began = Instant::now();
        let body = json_body(&FutureQuestion { request_id: &self.request_id });
        let (path, repeat) = ("retrieve_future", Repeat::Safe);
        let call = ApiCall { name: self.call, path, body: Some(&body), accept: self.accept, repeat };
        let (mut failures, mut quick, mut queue) = (0, 0, ServerQueue::Unknown);
        loop {
            let left = settings.deadlines.result.saturating_sub(began.elapsed());
            if left.is_zero() {
                return Err(self.timed_out(queue));
            }
            let asked = Instant::now();
            let (message, is_status) = match self.connection.once(&call, settings.deadlines.poll.min(left)).await {
                Ok(answer) if answer.status == 429 || answer.status >= 500 => {
                    (self.connection.status_message(&answer), true)
                }
                Ok(answer) => match self.reply(&answer) {
                    Ok(PolledResult::Result(value)) => return Ok(value),
                    Ok(PolledResult::NotYet(state)) => {
                        self.report(queue, state);
                        (failures, queue) = (0, state);
                        quick = if asked.elapsed() < QUICK { quick + 1 } else { 0 };
                        if quick > 0 {
                            sleep(settings.retries.pause(quick).min(QUICK).min(left)).await;
                        }
                        continue;
                    }
                    Err(ReadError::Final(error)) => return Err(error),
                    Err(ReadError::Cut(message)) => (message, false),
                },
                // The server is still at work, or what lies between is silent: the deadline decides.
                Err(TryError::Late(_)) => continue,
                Err(TryError::NotTaken(message) | TryError::Lost(message)) => (message, false),
            };
            failures += 1;
            if failures >= settings.retries.tries {
                return Err(if is_status {
                    self.broken(&message)
                } else {
                    self.connection.unreachable(self.call, &message, failures)
                });
            }
            tracing::debug!("{}: {}: {message}; asking again", self.connection.url, self.call);
            self.connection.pause(failures).await;
        }
    }

    /// Tells a result from a "not yet" and from a failure.
    fn reply(&self, answer: &Answer) -> Result<PolledResult<T>, ReadError> {
        let url = self.connection.url.clone();
        let (call, request_id) = (self.call, self.request_id.clone());
        let peek = || answer.body.json::<Peek>();
        match answer.status {
            200 if answer.body.is_json() => {
                let peek = peek().map_err(|error| self.connection.read_error(call, error))?;
                if peek.kind.as_deref() == Some("try_again") {
                    return Ok(PolledResult::NotYet(ServerQueue::parse(peek.queue_state.as_deref())));
                }
                if peek.error.is_some() {
                    let message = self.connection.reason(answer);
                    return Err(TinkerError::Failed { url, call, request_id, message }.into());
                }
                (self.read)(&answer.body).map(PolledResult::Result)
            }
            200 => (self.read)(&answer.body).map(PolledResult::Result),
            408 => Ok(PolledResult::NotYet(ServerQueue::parse(peek().ok().and_then(|p| p.queue_state).as_deref()))),
            404 | 410 => Err(TinkerError::Expired { url, call, request_id, status: answer.status }.into()),
            400 => {
                let message = self.connection.reason(answer);
                Err(TinkerError::Failed { url, call, request_id, message }.into())
            }
            _ => Err(self.connection.refused(call, answer).into()),
        }
    }

    /// Says once when the queue is paused, and when it goes on.
    fn report(&self, before: ServerQueue, now: ServerQueue) {
        if before != now && now != ServerQueue::Unknown {
            tracing::info!("{}: {}: {now}", self.connection.url, self.call);
        }
    }

    /// The error for a result that the server cannot give.
    fn broken(&self, message: &str) -> TinkerError {
        let (url, call, request_id) = (self.connection.url.clone(), self.call, self.request_id.clone());
        let why = "SkyRL answers so for a result with NaN or an infinite value: look for log-probs and advantages that are too \
                   large, or a learning rate that is too high";
        TinkerError::Failed { url, call, request_id, message: format!("{message}. {why}") }
    }

    fn timed_out(&self, queue: ServerQueue) -> TinkerError {
        TinkerError::TimedOut {
            url: self.connection.url.clone(),
            call: self.call,
            request_id: self.request_id.clone(),
            seconds: self.connection.settings.deadlines.result.as_secs(),
            queue,
        }
    }
}

impl<T: DeserializeOwned + 'static> Pending<T> {
    /// A request whose result is JSON.
    pub(crate) fn json(connection: &Arc<Connection>, call: &'static str, request_id: String) -> Self {
        let reader = connection.clone();
        let read = move |body: &Body| body.json().map_err(|error| reader.read_error(call, error));
        Self::new(connection.clone(), call, request_id, "application/json", Box::new(read))
    }
}

impl<T> fmt::Debug for Pending<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pending")
            .field("call", &self.call)
            .field("request_id", &self.request_id)
            .finish_non_exhaustive()
    }
}
