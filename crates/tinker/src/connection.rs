//! Requests to one server: deadlines, repetition where that is safe, statuses as errors, counts of the traffic.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use reqwest::header::{ACCEPT, CONTENT_TYPE, LOCATION};
use reqwest::{Client, Url};
use rlar_net::http::{builder, error_chain, read_body, redacted};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::{sleep, timeout};

use crate::TinkerError;
use crate::codec::{Body, CodecError};
use crate::settings::TinkerSettings;

/// Largest answer that is read, in bytes.
const MAX_ANSWER: u64 = 1 << 30;

/// How much of a server's reason is quoted in an error, in characters.
const MAX_REASON: usize = 500;

/// Whether a request may be sent again after it may have reached the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// It changes nothing, or the server recognises it.
    Safe,
    /// The server would do the work twice. Only a request that was certainly not taken is sent again.
    Unsafe,
}

/// One request of the API.
#[derive(Debug)]
pub(crate) struct ApiCall<'a> {
    /// The call's name in errors.
    pub name: &'static str,
    /// The path below `/api/v1/`.
    pub path: &'a str,
    /// What is sent; `None` makes a GET request.
    pub body: Option<&'a Body>,
    /// The media types that may come back.
    pub accept: &'static str,
    /// Whether it may be sent again.
    pub repeat: Repeat,
}

/// An answer of the server, whatever its status.
#[derive(Debug)]
pub(crate) struct Answer {
    pub status: u16,
    pub body: Body,
    /// Where a redirect points to.
    pub location: Option<String>,
    /// Whether an earlier try of the same request may have been taken.
    pub may_be_repeated: bool,
}

impl Answer {
    /// Whether the server says that it did not take the request, and may later.
    pub fn is_busy(&self) -> bool {
        matches!(self.status, 429 | 503)
    }

    /// Whether the server says that it does not know the path. A Tinker server gives its reasons with `detail`; a 404 without
    /// is one of another server.
    fn is_unknown_call(&self) -> bool {
        let detail = || self.body.json::<Value>().ok().map(|value| value["detail"].clone());
        matches!(self.status, 404 | 405) && detail().is_none_or(|text| text.is_null() || text == "Not Found")
    }

    /// Whether the server says that it takes requests in another form: SkyRL 0.4 has no `forward`, and answers 415 to JSON at
    /// `forward_backward`.
    pub fn is_wrong_form(&self) -> bool {
        self.status == 415 || self.is_unknown_call()
    }
}

/// Why one try brought no answer.
#[derive(Debug)]
pub(crate) enum TryError {
    /// The request did not reach the server.
    NotTaken(String),
    /// The request may have reached the server.
    Lost(String),
    /// No answer in time; the request may have reached the server.
    Late(Duration),
}

/// Bytes and time of the protocol since the client was made.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Traffic {
    /// Number of requests, repeated ones and heartbeats included.
    pub requests: u64,
    /// Number of requests that were sent again.
    pub repeated: u64,
    /// Bytes of request bodies.
    pub sent_bytes: u64,
    /// Bytes of answers' bodies.
    pub received_bytes: u64,
    /// Seconds from sending a request to the end of its answer, over all requests. Waiting for results is included.
    pub seconds: f64,
}

/// The counts of [`Traffic`].
#[derive(Debug, Default)]
struct Counts {
    requests: AtomicU64,
    repeated: AtomicU64,
    sent_bytes: AtomicU64,
    received_bytes: AtomicU64,
    microseconds: AtomicU64,
}

/// Requests to one server.
#[derive(Debug)]
pub(crate) struct Connection {
    client: Client,
    pub settings: TinkerSettings,
    /// The address in errors, without secrets.
    pub url: String,
    base: Url,
    counts: Counts,
}

impl Connection {
    /// Prepares requests; sends none. The error says what is wrong with the settings.
    pub fn new(settings: TinkerSettings) -> Result<Self, TinkerError> {
        let url = redacted(&settings.url);
        let url = url.trim_end_matches('/').to_owned();
        let wrong = |message: String| TinkerError::Settings { url: url.clone(), message };
        let mut base =
            Url::parse(&settings.url).map_err(|e| wrong(format!("{e}. Write an address such as http://HOST:8000")))?;
        if !matches!(base.scheme(), "http" | "https") || base.query().is_some() || base.fragment().is_some() {
            return Err(wrong("not the address of a server. Write an address such as http://HOST:8000".into()));
        }
        if !base.username().is_empty() || base.password().is_some() {
            return Err(wrong(
                "the address contains a user or a password. Write http://HOST:8000, and give the key apart".into(),
            ));
        }
        let path = base.path().trim_end_matches('/').trim_end_matches("/api/v1").to_owned();
        base.set_path(&format!("{path}/api/v1/"));
        // The key is a header of its own, which redirects would take to other hosts.
        let client = builder().redirect(reqwest::redirect::Policy::none()).build();
        let client = client.map_err(|e| wrong(error_chain(e)))?;
        Ok(Self { client, settings, url, base, counts: Counts::default() })
    }

    /// Sends a request until an answer comes that `read` accepts, or another try would be useless or unsafe.
    ///
    /// Statuses 429 and 503 say that a request was not taken. After other statuses of 500 and above, broken connections and
    /// answers that end early, only a request that is safe to repeat is sent again.
    pub async fn send<T>(
        &self,
        call: &ApiCall<'_>,
        read: impl Fn(&Answer) -> Result<T, ReadError>,
    ) -> Result<T, TinkerError> {
        let (mut tries, mut may_be_repeated) = (1, false);
        loop {
            let failure = match self.once(call, self.settings.deadlines.answer).await {
                Ok(answer) if answer.is_busy() => TryError::NotTaken(self.status_message(&answer)),
                Ok(answer) if answer.status >= 500 => TryError::Lost(self.status_message(&answer)),
                Ok(answer) => match read(&Answer { may_be_repeated, ..answer }) {
                    Ok(value) => return Ok(value),
                    Err(ReadError::Cut(message)) => TryError::Lost(message),
                    Err(ReadError::Final(error)) => return Err(error),
                },
                Err(failure) => failure,
            };
            let (message, may_be_taken) = match failure {
                TryError::NotTaken(message) => (message, false),
                TryError::Lost(message) => (message, true),
                TryError::Late(limit) => (format!("no answer within {} s", limit.as_secs_f64()), true),
            };
            if may_be_taken && call.repeat == Repeat::Unsafe {
                return Err(TinkerError::Unacknowledged { url: self.url.clone(), call: call.name, message });
            }
            if tries >= self.settings.retries.tries {
                return Err(self.unreachable(call.name, &message, tries));
            }
            tracing::debug!("{}: {}: {message}; sending it again", self.url, call.name);
            self.pause(tries).await;
            tries += 1;
            may_be_repeated |= may_be_taken;
        }
    }

    /// Waits before the next try, after `failures` failures in a row.
    pub async fn pause(&self, failures: u32) {
        self.counts.repeated.fetch_add(1, Ordering::Relaxed);
        sleep(self.settings.retries.pause(failures)).await;
    }

    /// The error after the last try.
    pub fn unreachable(&self, call: &'static str, message: &str, tries: u32) -> TinkerError {
        let tries = if tries == 1 { "once".to_owned() } else { format!("{tries} times") };
        TinkerError::Unreachable { url: self.url.clone(), call, message: format!("{message} (tried {tries})") }
    }

    /// Sends a request once, and reads the whole answer within `limit`.
    pub async fn once(&self, call: &ApiCall<'_>, limit: Duration) -> Result<Answer, TryError> {
        let Ok(url) = self.base.join(call.path) else {
            return Err(TryError::NotTaken(format!("`{}` is not a path", call.path)));
        };
        let mut request = match call.body {
            Some(body) => self.client.post(url).header(CONTENT_TYPE, &body.content_type).body(body.bytes.clone()),
            None => self.client.get(url),
        };
        request = request.header(ACCEPT, call.accept);
        if let Some(key) = &self.settings.key {
            request = request.header("X-API-Key", key.reveal());
        }
        let sent = call.body.map_or(0, |body| body.bytes.len());
        self.exchange(request, sent, limit).await
    }

    /// Downloads what a redirect points to. The key goes only to the server itself.
    pub async fn follow(&self, location: &str) -> Result<Answer, TryError> {
        let url =
            self.base.join(location).map_err(|e| TryError::NotTaken(format!("the redirect is no address: {e}")))?;
        let mut request = self.client.get(url.clone());
        if let Some(key) = self.settings.key.as_ref().filter(|_| url.origin() == self.base.origin()) {
            request = request.header("X-API-Key", key.reveal());
        }
        self.exchange(request, 0, self.settings.deadlines.download).await
    }

    /// One request and the whole answer, counted.
    async fn exchange(
        &self,
        request: reqwest::RequestBuilder,
        sent: usize,
        limit: Duration,
    ) -> Result<Answer, TryError> {
        let began = Instant::now();
        self.counts.requests.fetch_add(1, Ordering::Relaxed);
        self.counts.sent_bytes.fetch_add(sent as u64, Ordering::Relaxed);
        let work = async {
            let mut response = request.send().await.map_err(|e| {
                if e.is_connect() || e.is_builder() {
                    return TryError::NotTaken(error_chain(e));
                }
                TryError::Lost(error_chain(e))
            })?;
            let status = response.status().as_u16();
            let header = |name| response.headers().get(name).and_then(|v| v.to_str().ok()).map(str::to_owned);
            let (content_type, location) = (header(CONTENT_TYPE).unwrap_or_default(), header(LOCATION));
            let bytes = read_body(&mut response, MAX_ANSWER).await.map_err(|e| TryError::Lost(error_chain(e)))?;
            let bytes = bytes.ok_or_else(|| TryError::Lost(format!("the answer is longer than {MAX_ANSWER} bytes")))?;
            self.counts.received_bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
            Ok(Answer { status, body: Body { content_type, bytes }, location, may_be_repeated: false })
        };
        let answer = timeout(limit, work).await.unwrap_or(Err(TryError::Late(limit)));
        self.counts.microseconds.fetch_add(began.elapsed().as_micros() as u64, Ordering::Relaxed);
        answer
    }

    /// Reads a JSON answer of status 200, and makes errors of all others.
    pub fn json<T: DeserializeOwned>(&self, call: &'static str, answer: &Answer) -> Result<T, ReadError> {
        if answer.status != 200 {
            return Err(ReadError::Final(self.refused(call, answer)));
        }
        if !answer.body.is_json() {
            let message = format!("the answer is `{}`, not JSON", answer.body.content_type);
            return Err(ReadError::Final(TinkerError::WrongVersion { url: self.url.clone(), call, message }));
        }
        answer.body.json().map_err(|error| self.read_error(call, error))
    }

    /// The error for an answer that a codec cannot read.
    pub fn read_error(&self, call: &'static str, error: CodecError) -> ReadError {
        let url = self.url.clone();
        match error {
            CodecError::Cut => ReadError::Cut("the answer ends too early".into()),
            CodecError::NotFinite(what) => ReadError::Final(TinkerError::NotFinite { url, call, what }),
            CodecError::Wrong(message) => ReadError::Final(TinkerError::Malformed { url, call, message }),
        }
    }

    /// The error for a result in a form that no codec reads.
    pub fn unknown_type(&self, call: &'static str, body: &Body) -> ReadError {
        let kind = match body.content_type.as_str() {
            "" => "has no media type".to_owned(),
            kind => format!("is `{kind}`"),
        };
        let message = format!("the result {kind}, which this client does not read");
        ReadError::Final(TinkerError::WrongVersion { url: self.url.clone(), call, message })
    }

    /// The error for a status that says no.
    pub fn refused(&self, call: &'static str, answer: &Answer) -> TinkerError {
        let (url, status, message) = (self.url.clone(), answer.status, self.reason(answer));
        match status {
            401 | 403 => {
                let key = self.settings.key.as_ref().map_or("a request without a key".to_owned(), |key| {
                    key.variable().map_or("the key".to_owned(), |variable| format!("the key in {variable}"))
                });
                TinkerError::KeyRefused { url, call, status, key }
            }
            415 => {
                let message = format!("the server does not take this form of the request ({message})");
                TinkerError::WrongVersion { url, call, message }
            }
            _ if answer.is_unknown_call() => {
                let message = format!("the server does not know this call (status {status})");
                TinkerError::WrongVersion { url, call, message }
            }
            _ => TinkerError::Refused { url, call, status, message },
        }
    }

    /// A status with the server's reason.
    pub fn status_message(&self, answer: &Answer) -> String {
        format!("the server answered {}: {}", answer.status, self.reason(answer))
    }

    /// The server's reason in an answer that is an error, shortened, without the key.
    pub fn reason(&self, answer: &Answer) -> String {
        let text = match answer.body.json::<Value>() {
            Ok(value) => match value.get("detail").or_else(|| value.get("error")) {
                Some(Value::String(text)) => text.clone(),
                Some(Value::Array(problems)) => problems.iter().map(problem).collect::<Vec<_>>().join("; "),
                Some(other) => other.to_string(),
                None => value.to_string(),
            },
            Err(_) => String::from_utf8_lossy(&answer.body.bytes).into_owned(),
        };
        let text = self.settings.key.as_ref().map_or(text.clone(), |key| key.redact(&text));
        let text = text.trim();
        if text.is_empty() { "no reason given".into() } else { text.chars().take(MAX_REASON).collect() }
    }

    /// Bytes and time of the protocol so far.
    pub fn traffic(&self) -> Traffic {
        let count = |n: &AtomicU64| n.load(Ordering::Relaxed);
        Traffic {
            requests: count(&self.counts.requests),
            repeated: count(&self.counts.repeated),
            sent_bytes: count(&self.counts.sent_bytes),
            received_bytes: count(&self.counts.received_bytes),
            seconds: count(&self.counts.microseconds) as f64 / 1e6,
        }
    }
}

/// Why an answer that arrived was not accepted.
#[derive(Debug)]
pub(crate) enum ReadError {
    /// It ends too early, so another try may bring all of it.
    Cut(String),
    /// Another try would bring the same.
    Final(TinkerError),
}

impl From<TinkerError> for ReadError {
    fn from(error: TinkerError) -> Self {
        Self::Final(error)
    }
}

/// One problem in the list that FastAPI gives for a request that it cannot read (status 422).
fn problem(value: &Value) -> String {
    let place = value["loc"].as_array().into_iter().flatten();
    let place: Vec<String> = place.map(|part| part.as_str().map_or_else(|| part.to_string(), str::to_owned)).collect();
    format!("{}: {}", place.join("."), value["msg"].as_str().unwrap_or("wrong"))
}

/// A value as a JSON body.
pub(crate) fn json_body<T: Serialize>(value: &T) -> Body {
    // The crate's requests are structs of texts and numbers, which always have a JSON form.
    Body { content_type: "application/json".into(), bytes: serde_json::to_vec(value).unwrap_or_default() }
}
