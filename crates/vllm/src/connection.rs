//! Requests to one server: deadlines, statuses as errors.

use std::time::Duration;

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE};
use reqwest::{Client, Url};
use rlar_net::http::{builder, error_chain, read_body, redacted};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::{sleep, timeout};

use crate::VllmError;
use crate::address::parse;
use crate::settings::VllmSettings;

/// Largest answer that is read, in bytes.
const MAX_ANSWER: u64 = 1 << 28;

/// How much of a server's reason is quoted in an error, in characters.
const MAX_REASON: usize = 500;

/// How long a connection without a request is kept. vLLM closes it after 5 s, and a request that is sent at that moment
/// would be lost.
const KEPT: Duration = Duration::from_secs(2);

/// The pause before a request is sent again; it doubles with every further one.
const PAUSE: Duration = Duration::from_millis(100);

/// One request of the API.
#[derive(Debug)]
pub(crate) struct ServerCall<'a> {
    /// The path of the call, by which errors name it, without `/` at its beginning.
    pub path: &'static str,
    /// The part after `?`; empty for none.
    pub query: &'static str,
    /// What is sent as JSON, nothing for `null`; `None` makes a GET request.
    pub body: Option<&'a Value>,
    /// Longest time until the whole answer is there.
    pub limit: Duration,
    /// How often the request is sent again if the connection breaks before the whole answer is there. More than 0 only where
    /// doing the call twice is the same as doing it once.
    pub repeats: u32,
    /// How vLLM is started so that it has the call.
    pub how: &'static str,
}

/// Requests to one server.
#[derive(Debug)]
pub(crate) struct ServerConnection {
    client: Client,
    pub settings: VllmSettings,
    /// The address in errors, without secrets.
    pub url: String,
    base: Url,
}

impl ServerConnection {
    /// Prepares requests; sends none.
    pub fn new(settings: VllmSettings) -> Result<Self, VllmError> {
        let url = redacted(&settings.url).trim_end_matches('/').to_owned();
        let wrong = |message: String| VllmError::Settings { url: url.clone(), message };
        let base = parse(&settings.url).map_err(wrong)?;
        let client = builder().redirect(reqwest::redirect::Policy::none()).pool_idle_timeout(KEPT).build();
        let client = client.map_err(|e| wrong(error_chain(e)))?;
        Ok(Self { client, settings, url, base })
    }

    /// Sends a request, and reads its JSON answer of status 200.
    pub async fn json<T: DeserializeOwned>(&self, call: &ServerCall<'_>) -> Result<T, VllmError> {
        self.repeated(call, |body| {
            serde_json::from_slice(&body).map_err(|e| {
                let (url, call) = (self.url.clone(), call.path);
                if e.is_eof() {
                    return VllmError::Lost { url, call, message: "the answer ends too early".into() };
                }
                let has_nan = body.windows(3).any(|part| part == b"NaN");
                let message = if has_nan { "it contains NaN".to_owned() } else { e.to_string() };
                VllmError::Malformed { url, call, message }
            })
        })
        .await
    }

    /// Sends a request, and returns the body of an answer of status 200.
    pub async fn send(&self, call: &ServerCall<'_>) -> Result<Vec<u8>, VllmError> {
        self.repeated(call, Ok).await
    }

    /// Sends a request and reads its answer, as often as the call allows while connections break.
    async fn repeated<T>(
        &self,
        call: &ServerCall<'_>,
        read: impl Fn(Vec<u8>) -> Result<T, VllmError>,
    ) -> Result<T, VllmError> {
        let mut repeats = 0;
        loop {
            match self.send_once(call).await.and_then(&read) {
                Err(VllmError::Lost { .. }) if repeats < call.repeats => sleep(PAUSE * 2_u32.pow(repeats)).await,
                other => return other,
            }
            repeats += 1;
        }
    }

    async fn send_once(&self, call: &ServerCall<'_>) -> Result<Vec<u8>, VllmError> {
        let lost = |message: String| VllmError::Lost { url: self.url.clone(), call: call.path, message };
        let work = async {
            let mut response = self.request(call)?.send().await.map_err(|e| {
                if e.is_connect() || e.is_builder() {
                    let (url, message) = (self.url.clone(), error_chain(e));
                    return VllmError::Unreachable { url, call: call.path, message };
                }
                lost(error_chain(e))
            })?;
            let status = response.status().as_u16();
            let body = read_body(&mut response, MAX_ANSWER).await.map_err(|e| lost(error_chain(e)))?;
            let body = body.ok_or_else(|| lost(format!("the answer is longer than {MAX_ANSWER} bytes")))?;
            if status == 200 { Ok(body) } else { Err(self.refused(call, status, &body)) }
        };
        let late = || VllmError::Late { url: self.url.clone(), call: call.path, seconds: call.limit.as_secs_f64() };
        timeout(call.limit, work).await.unwrap_or_else(|_| Err(late()))
    }

    fn request(&self, call: &ServerCall<'_>) -> Result<reqwest::RequestBuilder, VllmError> {
        let mut url = self.base.join(call.path).map_err(|e| VllmError::Settings {
            url: self.url.clone(),
            message: format!("`{}` cannot be joined to the address: {e}", call.path),
        })?;
        url.set_query((!call.query.is_empty()).then_some(call.query));
        let request = match call.body {
            Some(Value::Null) => self.client.post(url),
            Some(body) => self.client.post(url).header(CONTENT_TYPE, "application/json").body(body.to_string()),
            None => self.client.get(url),
        };
        Ok(match &self.settings.key {
            Some(key) => request.header(AUTHORIZATION, format!("Bearer {}", key.reveal())),
            None => request,
        })
    }

    /// The error for a status other than 200.
    fn refused(&self, call: &ServerCall<'_>, status: u16, body: &[u8]) -> VllmError {
        let (url, message) = (self.url.clone(), self.reason(body));
        let call_path = call.path;
        match status {
            401 | 403 => {
                let key = self.settings.key.as_ref().map_or("a request without a key".to_owned(), |key| {
                    key.variable().map_or("the key".to_owned(), |variable| format!("the key in {variable}"))
                });
                VllmError::KeyRefused { url, call: call_path, status, key }
            }
            // Of a model or an adapter that it does not know, vLLM says so in `error`.
            404 | 405 if !serde_json::from_slice::<Value>(body).is_ok_and(|v| !v["error"]["message"].is_null()) => {
                VllmError::NoSuchCall { url, call: call_path, how: call.how }
            }
            500.. => VllmError::Failed { url, call: call_path, status, message },
            _ => VllmError::Refused { url, call: call_path, status, message },
        }
    }

    /// The server's reason in an answer that is an error, shortened, without the key.
    fn reason(&self, body: &[u8]) -> String {
        let text = match serde_json::from_slice::<Value>(body) {
            Ok(value) => {
                let places = [&value["error"]["message"], &value["error"], &value["detail"], &value];
                let said = places.into_iter().find(|place| !place.is_null());
                said.map_or_else(String::new, |said| said.as_str().map_or_else(|| said.to_string(), str::to_owned))
            }
            Err(_) => String::from_utf8_lossy(body).into_owned(),
        };
        let text = self.settings.key.as_ref().map_or(text.clone(), |key| key.redact(&text));
        let text = text.trim();
        if text.is_empty() { "no reason given".into() } else { text.chars().take(MAX_REASON).collect() }
    }
}
