//! The code that all search services share: the API key, a request with its retries, and the clean-up of texts.

use std::time::Duration;

use reqwest::header::{HeaderValue, RETRY_AFTER};
use reqwest::{Client, RequestBuilder, Url};
use serde_json::Value;

use crate::Secret;
use crate::http;
use crate::retry::{AttemptError, RetryError, RetryPolicy, retry_after, tried, with_retries};
use crate::runtime::BackgroundRuntime;
use crate::web::{Hit, WebError};

/// Maximum size of a response, in bytes.
const MAX_BYTES: u64 = 4 << 20;

/// Maximum time for a search, with all its tries and the pauses between them.
const DEADLINE: Duration = Duration::from_secs(30);

/// Maximum number of tries per search.
const TRIES: u32 = 3;

/// Maximum length of a title or snippet, in characters, and of an address, in bytes. Longer titles and snippets are
/// cut; a page with a longer address is left out.
const MAX_LENGTH: usize = 2000;

/// A web search service and its API key.
#[derive(Debug)]
pub(crate) struct SearchService {
    name: &'static str,
    /// The environment variable that contains the API key.
    variable: &'static str,
    pub key: Secret,
    /// The API key in the form of a header's value.
    pub header: HeaderValue,
    /// The base URL of the service, without a slash at its end.
    pub base: String,
    pub deadline: Duration,
    client: Client,
    background: BackgroundRuntime,
}

/// The names that a service gives to the fields of a result in its JSON.
#[derive(Clone, Copy)]
pub(crate) struct HitFields {
    pub title: &'static str,
    pub url: &'static str,
    pub snippet: &'static str,
}

impl SearchService {
    /// Creates a client of the service `name`. `env` looks up the environment variable `variable`, which contains the
    /// API key.
    pub fn new(
        name: &'static str,
        variable: &'static str,
        base: &str,
        env: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, WebError> {
        let key = env(variable).map(|k| Secret::new(&k)).filter(|k| !k.reveal().is_empty());
        let key = key.ok_or(WebError::Key { service: name, variable })?;
        let failed = |message| WebError::Request { service: name, message };
        let header = HeaderValue::from_str(key.reveal());
        let mut header = header.map_err(|_| {
            failed(format!("{variable} has characters that no header can carry; set it to a valid key"))
        })?;
        header.set_sensitive(true);
        let client = http::builder().redirect(reqwest::redirect::Policy::none()).build();
        let client = client.map_err(|e| failed(http::error_chain(e)))?;
        let background = BackgroundRuntime::start().map_err(failed)?;
        Ok(Self { name, variable, key, header, base: base.into(), deadline: DEADLINE, client, background })
    }

    /// Sends a GET request for a path below the base URL and returns the response as JSON. `add_key` adds the API key
    /// to the headers of the request, if the service expects the key there.
    pub fn get(
        &self,
        path: &str,
        query: &[(&str, &str)],
        add_key: impl Fn(RequestBuilder) -> RequestBuilder,
    ) -> Result<Value, WebError> {
        let failed = |message: String| WebError::Request { service: self.name, message: self.clean(&message) };
        let mut address = Url::parse(&format!("{}{path}", self.base)).map_err(|e| failed(e.to_string()))?;
        address.query_pairs_mut().extend_pairs(query);
        let policy = RetryPolicy { tries: TRIES, deadline: self.deadline, per_try: self.deadline / 2 };
        let search = with_retries(&policy, async |number| {
            let attempt = self.get_once(add_key(self.client.get(address.clone()))).await;
            if let Err(AttemptError::Retry { message, .. }) = &attempt {
                tracing::warn!("{}: {message} ({})", self.name, tried(number));
            }
            attempt
        });
        self.background.wait(search).map_err(failed)?.map_err(|e| match e {
            RetryError::Fatal(error) => error,
            RetryError::Exhausted(message) | RetryError::Deadline(message) => failed(message),
        })
    }

    /// Sends the request once.
    async fn get_once(&self, request: RequestBuilder) -> Result<Value, AttemptError<WebError>> {
        let (service, variable) = (self.name, self.variable);
        let connection_error = |e: reqwest::Error| AttemptError::retry(self.clean(&http::error_chain(e)));
        let mut response = request.send().await.map_err(connection_error)?;
        let status = response.status();
        if http::is_retryable(status) {
            let after = response.headers().get(RETRY_AFTER).and_then(|v| v.to_str().ok()).and_then(retry_after);
            return Err(AttemptError::Retry { message: format!("the server answered {status}"), after });
        }
        if matches!(status.as_u16(), 401 | 403 | 422) {
            return Err(AttemptError::Fatal(WebError::Refused { service, variable, status: status.as_u16() }));
        }
        if !status.is_success() {
            let message = format!("the server answered {status}");
            return Err(AttemptError::Fatal(WebError::Request { service, message }));
        }
        let invalid = |message: String| AttemptError::Fatal(WebError::Reply { service, message: self.clean(&message) });
        let body = http::read_body(&mut response, MAX_BYTES).await.map_err(connection_error)?;
        let body = body.ok_or_else(|| invalid(format!("it is longer than {} MiB", MAX_BYTES >> 20)))?;
        serde_json::from_slice(&body).map_err(|e| invalid(format!("it is not JSON: {e}")))
    }

    /// Removes the API key from a text.
    fn clean(&self, text: &str) -> String {
        self.key.redact(text)
    }

    /// Reads at most `limit` results from the list in a response. If `list` is `None`, the response has no list, and no
    /// page was found. Results without a usable address are left out. [`WebError::Reply`] if `list` is a JSON value of
    /// another type.
    pub fn hits(&self, list: Option<&Value>, fields: HitFields, limit: usize) -> Result<Vec<Hit>, WebError> {
        let Some(list) = list else { return Ok(Vec::new()) };
        let list = list
            .as_array()
            .ok_or_else(|| WebError::Reply { service: self.name, message: "its results are not a list".into() })?;
        let hits = list.iter().filter_map(|item| {
            let text = |name: &str| item.get(name).and_then(Value::as_str).unwrap_or_default();
            let url = Url::parse(text(fields.url)).ok();
            let url = url.filter(|u| matches!(u.scheme(), "http" | "https"))?.to_string();
            let (title, snippet) = (plain(text(fields.title)), plain(text(fields.snippet)));
            (url.len() <= MAX_LENGTH).then_some(Hit { title, url, snippet })
        });
        Ok(hits.take(limit).collect())
    }
}

/// Removes tags and control characters from a text, decodes common HTML escapes, and cuts the text after [`MAX_LENGTH`]
/// characters.
fn plain(text: &str) -> String {
    let mut kept = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('<') {
        kept.push_str(before);
        // A `<` that does not begin a tag is an ordinary character.
        let is_tag = after.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/');
        if let Some((_, behind)) = after.split_once('>').filter(|_| is_tag) {
            rest = behind;
        } else {
            kept.push('<');
            rest = after;
        }
    }
    kept.push_str(rest);
    for (escape, character) in
        [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#39;", "'"), ("&#x27;", "'"), ("&amp;", "&")]
    {
        kept = kept.replace(escape, character);
    }
    kept.chars().map(|c| if c.is_whitespace() { ' ' } else { c }).filter(|c| !c.is_control()).take(MAX_LENGTH).collect()
}
