//! Requests to the Hub: who is told the token, which redirects are followed, and what refusals mean.

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
use crate::hub::{HubError, Settings};
use crate::retry::{Ended, Failure, Plan, persist, retry_after, tried};
use crate::runtime::Background;

/// Redirects per request.
const REDIRECTS: usize = 5;

/// A connection to a Hub.
pub(crate) struct Link {
    pub settings: Settings,
    pub endpoint: Url,
    authorization: Option<HeaderValue>,
    client: Client,
    pub background: Background,
}

/// What a request is about, for the words of an error.
pub(crate) struct About<'a> {
    pub id: &'a str,
    pub revision: &'a str,
    pub file: Option<&'a str>,
    /// Whether the last answer was that there are too many requests.
    busy: Cell<bool>,
}

impl<'a> About<'a> {
    pub fn new(id: &'a str, revision: &'a str, file: Option<&'a str>) -> Self {
        Self { id, revision, file, busy: Cell::new(false) }
    }
}

/// An answer, and what the Hub said of a file on the way to it.
pub(crate) struct Answer {
    pub response: Response,
    pub file: FileHeaders,
}

/// What the Hub's headers say of a file.
#[derive(Default)]
pub(crate) struct FileHeaders {
    pub commit: Option<String>,
    pub etag: Option<String>,
    pub size: Option<u64>,
}

impl FileHeaders {
    /// Takes what an answer of the Hub says: what it says of a linked file counts more, and first words count.
    fn note(&mut self, headers: &HeaderMap, is_last: bool) {
        let commit = || text(headers, "x-repo-commit");
        let number = |name: &str| text(headers, name).and_then(|n| n.parse().ok());
        let etag = || {
            let linked = text(headers, "x-linked-etag");
            linked.or_else(|| text(headers, ETAG.as_str()).filter(|_| is_last))
        };
        let length = || number(CONTENT_LENGTH.as_str()).filter(|_| is_last);
        self.commit = self.commit.take().or_else(commit);
        self.etag = self.etag.take().or_else(|| etag().map(|e| bare(&e).to_owned()));
        self.size = self.size.or_else(|| number("x-linked-size").or_else(length));
    }
}

/// An entity tag without its quotes and its mark of weakness.
fn bare(etag: &str) -> &str {
    etag.trim_start_matches("W/").trim_matches('"')
}

pub(crate) fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name).and_then(|v| v.to_str().ok()).map(str::to_owned)
}

/// Whether two addresses have the same scheme, host and port.
fn same_origin(a: &Url, b: &Url) -> bool {
    (a.scheme(), a.host_str(), a.port_or_known_default()) == (b.scheme(), b.host_str(), b.port_or_known_default())
}

impl Link {
    pub fn new(mut settings: Settings) -> Result<Self, HubError> {
        let failed =
            |message: String| HubError::Settings(format!("HF_ENDPOINT {}: {message}", redacted(&settings.endpoint)));
        let endpoint = Url::parse(&settings.endpoint).map_err(|e| failed(e.to_string()))?;
        if !matches!(endpoint.scheme(), "http" | "https") || endpoint.cannot_be_a_base() {
            return Err(failed("the address must begin with http:// or https://".into()));
        }
        let token = settings.token.as_ref().map(Secret::reveal).filter(|t| !t.is_empty());
        let authorization = token.map(|t| HeaderValue::from_str(&format!("Bearer {t}"))).transpose();
        let mut authorization = authorization
            .map_err(|_| HubError::Settings("HF_TOKEN has characters that no header can carry; set it anew".into()))?;
        if let Some(value) = &mut authorization {
            value.set_sensitive(true);
        }
        let client = http::builder().redirect(reqwest::redirect::Policy::none());
        let client = client.user_agent(concat!("rlar/", env!("CARGO_PKG_VERSION"))).build();
        let client = client.map_err(|e| failed(http::cause(e)))?;
        // Links in the cache and paths that are given back must not depend on the working folder.
        settings.cache = std::path::absolute(&settings.cache).map_err(HubError::io(&settings.cache))?;
        let background = Background::start().map_err(HubError::Settings)?;
        Ok(Self { settings, endpoint, authorization, client, background })
    }

    /// An address below the endpoint.
    pub fn address<'p>(&self, parts: impl IntoIterator<Item = &'p str>) -> Url {
        let mut url = self.endpoint.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(parts);
        }
        url
    }

    /// An error of the protocol.
    pub fn unclear(&self, address: &Url, message: impl Into<String>) -> HubError {
        HubError::Reply { address: redacted(address.as_str()), message: self.clean(&message.into()) }
    }

    /// What a server said, fit to be shown, without the token.
    pub fn clean(&self, said: &str) -> String {
        let said = shown(said);
        self.settings.token.as_ref().map_or(said.clone(), |token| token.taken_out(&said))
    }

    /// Tries a short request until the end, as often as the settings say.
    pub async fn ask<T>(
        &self,
        address: &Url,
        about: &About<'_>,
        deadline: Duration,
        once: impl AsyncFnMut() -> Result<T, Failure<HubError>>,
    ) -> Result<T, HubError> {
        let tries = self.settings.tries.max(1);
        // One try that hangs must leave room for another.
        let each = if tries > 1 { deadline / 2 } else { deadline };
        self.insist(address, about, &Plan { tries, deadline, each }, once).await
    }

    /// Tries a request by a plan.
    pub async fn insist<T>(
        &self,
        address: &Url,
        about: &About<'_>,
        plan: &Plan,
        mut once: impl AsyncFnMut() -> Result<T, Failure<HubError>>,
    ) -> Result<T, HubError> {
        let asked = persist(plan, async |number| {
            about.busy.set(false);
            let answer = once().await;
            if let Err(Failure::Again(message, _)) = &answer {
                tracing::warn!("{}: {message} ({})", redacted(address.as_str()), tried(number));
            }
            answer
        });
        let address = redacted(address.as_str());
        asked.await.map_err(|ended| match ended {
            Ended::Final(error) => error,
            Ended::Tries(message) | Ended::Deadline(message) if about.busy.get() => HubError::Busy { address, message },
            Ended::Tries(message) => HubError::Request { address, message },
            Ended::Deadline(message) => HubError::Deadline { address, message },
        })
    }

    /// Asks for JSON; also gives the address of the next page, if there is one on the same server.
    pub async fn json(
        &self,
        address: &Url,
        longest: u64,
        about: &About<'_>,
        deadline: Duration,
    ) -> Result<(Value, Option<Url>), HubError> {
        let once = async || {
            let mut answer = self.send(&Method::GET, address, None, about).await?.response;
            let next = text(answer.headers(), LINK.as_str()).and_then(|l| next_page(&l, address));
            let body = http::body(&mut answer, longest).await.map_err(|e| self.broken(e))?;
            let body = body.ok_or_else(|| self.unclear(address, format!("it is longer than {longest} bytes")));
            let json = serde_json::from_slice(&body.map_err(Failure::Final)?);
            let json = json.map_err(|e| Failure::Final(self.unclear(address, format!("it is not JSON: {e}"))))?;
            Ok((json, next.filter(|n| same_origin(n, address))))
        };
        self.ask(address, about, deadline, once).await
    }

    /// A broken connection; another try may help.
    pub fn broken(&self, error: reqwest::Error) -> Failure<HubError> {
        Failure::Again(self.clean(&http::cause(error)), None)
    }

    /// Sends one request, from a byte on if one is given, and follows its redirects. Only the endpoint gets the token.
    /// What is asked by HEAD stays with the endpoint: it says everything of a file, wherever its bytes are.
    pub async fn send(
        &self,
        method: &Method,
        address: &Url,
        from: Option<u64>,
        about: &About<'_>,
    ) -> Result<Answer, Failure<HubError>> {
        let mut url = address.clone();
        let mut file = FileHeaders::default();
        for _ in 0..=REDIRECTS {
            let ours = same_origin(&url, &self.endpoint);
            let mut request = self.client.request(method.clone(), url.clone()).header(ACCEPT_ENCODING, "identity");
            if let Some(value) = self.authorization.as_ref().filter(|_| ours) {
                request = request.header(AUTHORIZATION, value);
            }
            if let Some(from) = from {
                request = request.header(RANGE, format!("bytes={from}-"));
            }
            let response = request.send().await.map_err(|e| self.broken(e))?;
            let to = target(&response, &url);
            if ours {
                file.note(response.headers(), to.is_none());
            }
            let Some(to) = to else {
                let status = response.status();
                let is_answer = status.is_success() || (from.is_some() && status == StatusCode::RANGE_NOT_SATISFIABLE);
                let answer = Answer { response, file };
                return if is_answer { Ok(answer) } else { Err(self.refusal(&answer.response, ours, about)) };
            };
            if method == Method::HEAD && !same_origin(&to, &self.endpoint) {
                return Ok(Answer { response, file });
            }
            if !matches!(to.scheme(), "http" | "https") || (url.scheme() == "https" && to.scheme() == "http") {
                let message = format!("it points to {}, which is not as safe", redacted(to.as_str()));
                return Err(Failure::Final(self.unclear(&url, message)));
            }
            url = to;
        }
        Err(Failure::Final(self.unclear(address, format!("it is redirected more than {REDIRECTS} times"))))
    }

    /// What a refusal means, by `huggingface_hub`'s `hf_raise_for_status`.
    fn refusal(&self, response: &Response, ours: bool, about: &About<'_>) -> Failure<HubError> {
        let (status, headers) = (response.status(), response.headers());
        let (code, said) = (text(headers, "x-error-code"), text(headers, "x-error-message"));
        let said = self.clean(&said.unwrap_or_default());
        let words = if said.is_empty() { String::new() } else { format!(": {said}") };
        let (id, address) = (about.id.to_owned(), redacted(response.url().as_str()));
        if !ours || http::is_busy(status) {
            // A storage's address is only good for a while: another try gets a new one.
            about.busy.set(status == StatusCode::TOO_MANY_REQUESTS);
            let asked = text(headers, RETRY_AFTER.as_str()).and_then(|a| retry_after(&a));
            return Failure::Again(format!("the server answered {status}{words}"), asked);
        }
        let page = self.address(id.split('/')).to_string();
        let endpoint = redacted(self.endpoint.as_str());
        Failure::Final(match (code.as_deref(), status.as_u16()) {
            (Some("RevisionNotFound"), _) => HubError::Revision { id, revision: about.revision.into() },
            (Some("GatedRepo"), _) => HubError::Gated { id, address: redacted(&page) },
            _ if said == "Access to this resource is disabled." => HubError::Disabled { id },
            (Some("RepoNotFound"), _) => HubError::NotFound { id, address: endpoint },
            (_, 401) if id.is_empty() || said.starts_with("Invalid credentials") => {
                HubError::Token { address: endpoint }
            }
            (_, 403) => HubError::Forbidden { address, said: words },
            (Some("EntryNotFound"), _) | (_, 404) if about.file.is_some() => {
                HubError::File { id, name: about.file.unwrap_or_default().into() }
            }
            (_, 401 | 404) if !id.is_empty() => HubError::NotFound { id, address: endpoint },
            _ => HubError::Request {
                address,
                message: format!("the server answered {status}{words}; check HF_ENDPOINT"),
            },
        })
    }
}

/// Where a redirect leads.
fn target(response: &Response, from: &Url) -> Option<Url> {
    let moved = matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308);
    text(response.headers(), LOCATION.as_str()).filter(|_| moved).and_then(|to| from.join(&to).ok())
}

/// The address marked `rel="next"` in a `Link` header (RFC 8288).
fn next_page(header: &str, from: &Url) -> Option<Url> {
    let mut links = header.split(',').filter_map(|link| link.trim().strip_prefix('<')?.split_once('>'));
    let (to, _) = links.find(|(_, rest)| rest.contains(r#"rel="next""#) || rest.contains("rel=next"))?;
    from.join(to).ok()
}

/// Time until a deadline.
pub(crate) fn left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now())
}
