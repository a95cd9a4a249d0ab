//! What search services share: a key, a request with its retries, and clean texts.

use std::time::Duration;

use reqwest::header::{HeaderValue, RETRY_AFTER};
use reqwest::{Client, RequestBuilder, Url};
use serde_json::Value;

use crate::Secret;
use crate::http;
use crate::retry::{Ended, Failure, Plan, persist, retry_after, tried};
use crate::runtime::Background;
use crate::web::{Hit, WebError};

/// The longest answer, in bytes.
const LONGEST: u64 = 4 << 20;

/// Time for a search, with all its tries and pauses.
const DEADLINE: Duration = Duration::from_secs(30);

/// Tries per search.
const TRIES: u32 = 3;

/// The longest title, snippet and address, in characters.
const SHOWN: usize = 2000;

/// A service with a key.
#[derive(Debug)]
pub(crate) struct Service {
    name: &'static str,
    variable: &'static str,
    pub key: Secret,
    /// The key as a header carries it.
    pub header: HeaderValue,
    pub base: String,
    pub deadline: Duration,
    client: Client,
    background: Background,
}

impl Service {
    /// A service whose key `env` looks up.
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
        let mut header =
            header.map_err(|_| failed(format!("{variable} has characters that no header can carry; set it anew")))?;
        header.set_sensitive(true);
        let client = http::builder().redirect(reqwest::redirect::Policy::none()).build();
        let client = client.map_err(|e| failed(http::cause(e)))?;
        let background = Background::start().map_err(failed)?;
        Ok(Self { name, variable, key, header, base: base.into(), deadline: DEADLINE, client, background })
    }

    /// Asks at a path below the base; `with` adds the key and the query.
    pub fn ask(
        &self,
        path: &str,
        query: &[(&str, &str)],
        with: impl Fn(RequestBuilder) -> RequestBuilder,
    ) -> Result<Value, WebError> {
        let failed = |message: String| WebError::Request { service: self.name, message: self.clean(&message) };
        let mut address = Url::parse(&format!("{}{path}", self.base)).map_err(|e| failed(e.to_string()))?;
        address.query_pairs_mut().extend_pairs(query);
        let plan = Plan { tries: TRIES, deadline: self.deadline, each: self.deadline / 2 };
        let search = persist(&plan, async |number| {
            let once = self.once(with(self.client.get(address.clone()))).await;
            if let Err(Failure::Again(message, _)) = &once {
                tracing::warn!("{}: {message} ({})", self.name, tried(number));
            }
            once
        });
        self.background.wait(search).map_err(failed)?.map_err(|ended| match ended {
            Ended::Final(error) => error,
            Ended::Tries(message) | Ended::Deadline(message) => failed(message),
        })
    }

    async fn once(&self, request: RequestBuilder) -> Result<Value, Failure<WebError>> {
        let (service, variable) = (self.name, self.variable);
        let broken = |e: reqwest::Error| {
            let message = self.clean(&http::cause(e));
            Failure::Again(message, None)
        };
        let mut answer = request.send().await.map_err(broken)?;
        let status = answer.status();
        if http::is_busy(status) {
            let asked = answer.headers().get(RETRY_AFTER).and_then(|v| v.to_str().ok()).and_then(retry_after);
            return Err(Failure::Again(format!("the server answered {status}"), asked));
        }
        if matches!(status.as_u16(), 401 | 403 | 422) {
            return Err(Failure::Final(WebError::Refused { service, variable, status: status.as_u16() }));
        }
        if !status.is_success() {
            let message = format!("the server answered {status}");
            return Err(Failure::Final(WebError::Request { service, message }));
        }
        let unclear = |message: String| Failure::Final(WebError::Reply { service, message: self.clean(&message) });
        let body = http::body(&mut answer, LONGEST).await.map_err(broken)?;
        let body = body.ok_or_else(|| unclear(format!("it is longer than {} MiB", LONGEST >> 20)))?;
        serde_json::from_slice(&body).map_err(|e| unclear(format!("it is not JSON: {e}")))
    }

    /// A text without the key.
    fn clean(&self, text: &str) -> String {
        self.key.taken_out(text)
    }

    /// Pages in a list, by their names for title, address and text; what has no usable address is left out.
    pub fn hits(&self, list: Option<&Value>, names: [&str; 3], limit: usize) -> Result<Vec<Hit>, WebError> {
        let Some(list) = list else { return Ok(Vec::new()) };
        let list = list
            .as_array()
            .ok_or_else(|| WebError::Reply { service: self.name, message: "its results are not a list".into() })?;
        let hits = list.iter().filter_map(|item| {
            let [title, url, snippet] = names.map(|n| item.get(n).and_then(Value::as_str).unwrap_or_default());
            let url = Url::parse(url).ok().filter(|u| matches!(u.scheme(), "http" | "https"))?.to_string();
            (url.len() <= SHOWN).then(|| Hit { title: plain(title), url, snippet: plain(snippet) })
        });
        Ok(hits.take(limit).collect())
    }
}

/// A text without tags, common escapes of HTML and control characters.
fn plain(text: &str) -> String {
    let mut kept = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('<') {
        kept.push_str(before);
        // A sign that begins no tag is a sign.
        let is_tag = after.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/');
        if let Some((_, behind)) = after.split_once('>').filter(|_| is_tag) {
            rest = behind;
        } else {
            kept.push('<');
            rest = after;
        }
    }
    kept.push_str(rest);
    for (escape, sign) in
        [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#39;", "'"), ("&#x27;", "'"), ("&amp;", "&")]
    {
        kept = kept.replace(escape, sign);
    }
    kept.chars().map(|c| if c.is_whitespace() { ' ' } else { c }).filter(|c| !c.is_control()).take(SHOWN).collect()
}
