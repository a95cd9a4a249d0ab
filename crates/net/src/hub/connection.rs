//! Requests to the Hub: adds the token, follows redirects, retries, and interprets error responses.

use std::cell::Cell;
use std::time::{Duration, Instant};

use reqwest::header::{
    ACCEPT_ENCODING, AUTHORIZATION, CONTENT_LENGTH, ETAG, HeaderMap, HeaderValue, LINK, LOCATION, RANGE, RETRY_AFTER,
};
use reqwest::{Client, Method, Response, StatusCode, Url};
use serde_json::Value;

use crate::Secret;
use crate::http::{self, redacted};
use crate::hub::names::shown;
use crate::hub::{HubError, HubSettings};
use crate::retry::{AttemptError, RetryError, RetryPolicy, retry_after, tried, with_retries};
use crate::runtime::BackgroundRuntime;

/// Maximum number of redirects that one request follows.
const MAX_REDIRECTS: usize = 5;

/// An HTTP client for a server with the Hub's protocol, with its settings.
pub(crate) struct HubConnection {
    pub settings: HubSettings,
    pub endpoint: Url,
    authorization: Option<HeaderValue>,
    client: Client,
    pub background: BackgroundRuntime,
}

/// The model, the revision and the file that a request is about, for error messages.
pub(crate) struct RequestContext<'a> {
    /// The id of the requested model; empty if the request is not about a model.
    pub id: &'a str,
    pub revision: &'a str,
    /// The path of the requested file in the model; `None` if the request is not about a file.
    pub file: Option<&'a str>,
    /// Whether the last response had status 429 (too many requests).
    is_rate_limited: Cell<bool>,
}

impl<'a> RequestContext<'a> {
    pub fn new(id: &'a str, revision: &'a str, file: Option<&'a str>) -> Self {
        Self { id, revision, file, is_rate_limited: Cell::new(false) }
    }
}

/// A response, together with the headers about a file that the Hub sent in this response or in the redirects before.
pub(crate) struct HubResponse {
    pub response: Response,
    pub file: FileHeaders,
}

/// One page of a JSON response, which may be a part of a longer list.
pub(crate) struct JsonPage {
    pub json: Value,
    /// The address of the next page; `None` if there is none or it is on another server.
    pub next: Option<Url>,
}

/// The commit, hash and size of a file, from the Hub's headers; `None` for a value that no header gives.
#[derive(Default)]
pub(crate) struct FileHeaders {
    pub commit: Option<String>,
    /// The hash of the file's bytes (the ETag), without quotes.
    pub etag: Option<String>,
    /// The size of the file, in bytes.
    pub size: Option<u64>,
}

impl FileHeaders {
    /// Fills in the values that are still `None` from the headers of a response. Headers about a linked file
    /// (`x-linked-…`) are preferred. Headers about the response itself count only if `is_last`: if the response is not
    /// a redirect.
    fn add(&mut self, headers: &HeaderMap, is_last: bool) {
        let commit = || header_text(headers, "x-repo-commit");
        let number = |name: &str| header_text(headers, name).and_then(|n| n.parse().ok());
        let etag = || {
            let linked = header_text(headers, "x-linked-etag");
            linked.or_else(|| header_text(headers, ETAG.as_str()).filter(|_| is_last))
        };
        let length = || number(CONTENT_LENGTH.as_str()).filter(|_| is_last);
        self.commit = self.commit.take().or_else(commit);
        self.etag = self.etag.take().or_else(|| etag().map(|e| unquoted(&e).to_owned()));
        self.size = self.size.or_else(|| number("x-linked-size").or_else(length));
    }
}

/// Removes the quotes and the prefix `W/` from an entity tag (ETag).
fn unquoted(etag: &str) -> &str {
    etag.trim_start_matches("W/").trim_matches('"')
}

/// The value of a header; `None` if the header is missing or not ASCII.
pub(crate) fn header_text(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name).and_then(|v| v.to_str().ok()).map(str::to_owned)
}

/// Whether two URLs have the same scheme, host and port.
fn same_origin(a: &Url, b: &Url) -> bool {
    (a.scheme(), a.host_str(), a.port_or_known_default()) == (b.scheme(), b.host_str(), b.port_or_known_default())
}

impl HubConnection {
    /// Creates the client without sending a request. [`HubError::Settings`] if the settings are invalid.
    pub fn new(mut settings: HubSettings) -> Result<Self, HubError> {
        let failed =
            |message: String| HubError::Settings(format!("HF_ENDPOINT {}: {message}", redacted(&settings.endpoint)));
        let endpoint = Url::parse(&settings.endpoint).map_err(|e| failed(e.to_string()))?;
        if !matches!(endpoint.scheme(), "http" | "https") || endpoint.cannot_be_a_base() {
            return Err(failed("the address must begin with http:// or https://".into()));
        }
        let token = settings.token.as_ref().map(Secret::reveal).filter(|t| !t.is_empty());
        let authorization = token.map(|t| HeaderValue::from_str(&format!("Bearer {t}"))).transpose();
        let mut authorization = authorization.map_err(|_| {
            HubError::Settings("HF_TOKEN has characters that no header can carry; set it to a valid token".into())
        })?;
        if let Some(value) = &mut authorization {
            value.set_sensitive(true);
        }
        let client = http::builder().redirect(reqwest::redirect::Policy::none());
        let client = client.user_agent(concat!("rlar/", env!("CARGO_PKG_VERSION"))).build();
        let client = client.map_err(|e| failed(http::error_chain(e)))?;
        // The path of the cache becomes absolute, so that links in the cache and returned paths do not depend on the
        // working folder.
        settings.cache = std::path::absolute(&settings.cache).map_err(HubError::io(&settings.cache))?;
        let background = BackgroundRuntime::start().map_err(HubError::Settings)?;
        Ok(Self { settings, endpoint, authorization, client, background })
    }

    /// The URL of a path below the endpoint, from the path's segments.
    pub fn address<'p>(&self, parts: impl IntoIterator<Item = &'p str>) -> Url {
        let mut url = self.endpoint.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(parts);
        }
        url
    }

    /// The error for a response that does not follow the Hub's protocol.
    pub fn invalid(&self, address: &Url, message: impl Into<String>) -> HubError {
        HubError::Reply { address: redacted(address.as_str()), message: self.clean(&message.into()) }
    }

    /// Prepares a server's text for display: shortens the text, and removes control characters and the token.
    pub fn clean(&self, text: &str) -> String {
        let text = shown(text);
        self.settings.token.as_ref().map_or(text.clone(), |token| token.redact(&text))
    }

    /// Calls `attempt` until it succeeds, within `deadline` and the number of tries of the settings. This is for
    /// requests with short responses: one of several tries may take at most half of `deadline`.
    pub async fn request<T>(
        &self,
        address: &Url,
        context: &RequestContext<'_>,
        deadline: Duration,
        attempt: impl AsyncFnMut() -> Result<T, AttemptError<HubError>>,
    ) -> Result<T, HubError> {
        let tries = self.settings.tries.max(1);
        // With several tries, one that hangs must leave time for another.
        let per_try = if tries > 1 { deadline / 2 } else { deadline };
        self.request_with(address, context, &RetryPolicy { tries, deadline, per_try }, attempt).await
    }

    /// Calls `attempt` until it succeeds, within the limits of `policy`.
    pub async fn request_with<T>(
        &self,
        address: &Url,
        context: &RequestContext<'_>,
        policy: &RetryPolicy,
        mut attempt: impl AsyncFnMut() -> Result<T, AttemptError<HubError>>,
    ) -> Result<T, HubError> {
        let result = with_retries(policy, async |number| {
            context.is_rate_limited.set(false);
            let result = attempt().await;
            if let Err(AttemptError::Retry { message, .. }) = &result {
                tracing::warn!("{}: {message} ({})", redacted(address.as_str()), tried(number));
            }
            result
        })
        .await;
        let address = redacted(address.as_str());
        result.map_err(|e| match e {
            RetryError::Fatal(error) => error,
            RetryError::Exhausted(message) | RetryError::Deadline(message) if context.is_rate_limited.get() => {
                HubError::Busy { address, message }
            }
            RetryError::Exhausted(message) => HubError::Request { address, message },
            RetryError::Deadline(message) => HubError::Deadline { address, message },
        })
    }

    /// Requests an address and parses the response, of at most `max_bytes` bytes, as JSON.
    pub async fn json(
        &self,
        address: &Url,
        max_bytes: u64,
        context: &RequestContext<'_>,
        deadline: Duration,
    ) -> Result<JsonPage, HubError> {
        let attempt = async || {
            let mut response = self.send(&Method::GET, address, None, context).await?.response;
            let next = header_text(response.headers(), LINK.as_str()).and_then(|l| next_page(&l, address));
            let body = http::read_body(&mut response, max_bytes).await.map_err(|e| self.connection_error(e))?;
            let body = body.ok_or_else(|| self.invalid(address, format!("it is longer than {max_bytes} bytes")));
            let json = serde_json::from_slice(&body.map_err(AttemptError::Fatal)?);
            let json = json.map_err(|e| AttemptError::Fatal(self.invalid(address, format!("it is not JSON: {e}"))))?;
            Ok(JsonPage { json, next: next.filter(|n| same_origin(n, address)) })
        };
        self.request(address, context, deadline, attempt).await
    }

    /// Converts the error of a broken connection to one that is retried.
    pub fn connection_error(&self, error: reqwest::Error) -> AttemptError<HubError> {
        AttemptError::retry(self.clean(&http::error_chain(error)))
    }

    /// Sends one request and follows its redirects. With `from`, only the bytes from this position on are requested
    /// (`Range`). Only the endpoint receives the token. A HEAD request is not redirected to another server: the
    /// endpoint's own response has all headers about a file, wherever the file is stored.
    pub async fn send(
        &self,
        method: &Method,
        address: &Url,
        from: Option<u64>,
        context: &RequestContext<'_>,
    ) -> Result<HubResponse, AttemptError<HubError>> {
        let mut url = address.clone();
        let mut file = FileHeaders::default();
        for _ in 0..=MAX_REDIRECTS {
            let at_endpoint = same_origin(&url, &self.endpoint);
            let mut request = self.client.request(method.clone(), url.clone()).header(ACCEPT_ENCODING, "identity");
            if let Some(value) = self.authorization.as_ref().filter(|_| at_endpoint) {
                request = request.header(AUTHORIZATION, value);
            }
            if let Some(from) = from {
                request = request.header(RANGE, format!("bytes={from}-"));
            }
            let response = request.send().await.map_err(|e| self.connection_error(e))?;
            let target = redirect_target(&response, &url);
            if at_endpoint {
                file.add(response.headers(), target.is_none());
            }
            let Some(target) = target else {
                let status = response.status();
                let is_success = status.is_success() || (from.is_some() && status == StatusCode::RANGE_NOT_SATISFIABLE);
                return if is_success {
                    Ok(HubResponse { response, file })
                } else {
                    Err(self.status_error(&response, at_endpoint, context))
                };
            };
            if method == Method::HEAD && !same_origin(&target, &self.endpoint) {
                return Ok(HubResponse { response, file });
            }
            let is_downgrade = url.scheme() == "https" && target.scheme() == "http";
            if !matches!(target.scheme(), "http" | "https") || is_downgrade {
                let message = format!("it redirects to {}, which is not an https address", redacted(target.as_str()));
                return Err(AttemptError::Fatal(self.invalid(&url, message)));
            }
            url = target;
        }
        Err(AttemptError::Fatal(self.invalid(address, format!("it is redirected more than {MAX_REDIRECTS} times"))))
    }

    /// The error for a response whose status is not success, by the rules of `huggingface_hub`'s `hf_raise_for_status`.
    /// `at_endpoint` is false if a redirect led to another host, which sent the response.
    fn status_error(
        &self,
        response: &Response,
        at_endpoint: bool,
        context: &RequestContext<'_>,
    ) -> AttemptError<HubError> {
        let (status, headers) = (response.status(), response.headers());
        let (code, message) = (header_text(headers, "x-error-code"), header_text(headers, "x-error-message"));
        let message = self.clean(&message.unwrap_or_default());
        let reason = if message.is_empty() { String::new() } else { format!(": {message}") };
        let (id, address) = (context.id.to_owned(), redacted(response.url().as_str()));
        if !at_endpoint || http::is_retryable(status) {
            // An error of a storage host is retried, because its address may have expired: the next try gets a new
            // address from the endpoint.
            context.is_rate_limited.set(status == StatusCode::TOO_MANY_REQUESTS);
            let after = header_text(headers, RETRY_AFTER.as_str()).and_then(|a| retry_after(&a));
            return AttemptError::Retry { message: format!("the server answered {status}{reason}"), after };
        }
        let page = self.address(id.split('/')).to_string();
        let endpoint = redacted(self.endpoint.as_str());
        AttemptError::Fatal(match (code.as_deref(), status.as_u16()) {
            (Some("RevisionNotFound"), _) => HubError::Revision { id, revision: context.revision.into() },
            (Some("GatedRepo"), _) => HubError::Gated { id, address: redacted(&page) },
            _ if message == "Access to this resource is disabled." => HubError::Disabled { id },
            (Some("RepoNotFound"), _) => HubError::NotFound { id, address: endpoint },
            (_, 401) if id.is_empty() || message.starts_with("Invalid credentials") => {
                HubError::Token { address: endpoint }
            }
            (_, 403) => HubError::Forbidden { address, reason },
            (Some("EntryNotFound"), _) | (_, 404) if context.file.is_some() => {
                HubError::File { id, name: context.file.unwrap_or_default().into() }
            }
            (_, 401 | 404) if !id.is_empty() => HubError::NotFound { id, address: endpoint },
            _ => HubError::Request {
                address,
                message: format!("the server answered {status}{reason}; check HF_ENDPOINT"),
            },
        })
    }
}

/// The URL that a redirect points to; `None` if the response is not a redirect.
fn redirect_target(response: &Response, from: &Url) -> Option<Url> {
    let moved = matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308);
    header_text(response.headers(), LOCATION.as_str()).filter(|_| moved).and_then(|to| from.join(&to).ok())
}

/// The URL that is marked `rel="next"` in a `Link` header (RFC 8288); `None` if there is none.
fn next_page(header: &str, from: &Url) -> Option<Url> {
    let mut links = header.split(',').filter_map(|link| link.trim().strip_prefix('<')?.split_once('>'));
    let (to, _) = links.find(|(_, rest)| rest.contains(r#"rel="next""#) || rest.contains("rel=next"))?;
    from.join(to).ok()
}

/// The time until a deadline; zero once it has passed.
pub(crate) fn time_left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now())
}
