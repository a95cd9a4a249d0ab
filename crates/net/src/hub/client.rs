//! The client for a server with the Hub's protocol: searches for models, and reads model information and small texts.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use reqwest::{Method, Url};
use serde_json::Value;

use crate::http::redacted;
use crate::hub::cache::Cache;
use crate::hub::connection::{HubConnection, RequestContext};
use crate::hub::{HubError, HubSettings, ModelInfo, ModelSummary, Search, names};
use crate::retry::AttemptError;

/// Largest size of a JSON response, in bytes.
const MAX_BYTES: u64 = 32 << 20;

/// Maximum number of pages that one search requests.
const MAX_PAGES: usize = 100;

/// Maximum number of models on one page of a search.
const PAGE_SIZE: usize = 1000;

/// Names of the model fields that a search requests (`expand`).
const EXPANDED_FIELDS: [&str; 8] =
    ["downloads", "gated", "lastModified", "library_name", "likes", "pipeline_tag", "sha", "tags"];

/// A client of a Hugging Face Hub, with a cache of downloads. Clones share the connections.
///
/// Every call blocks until its end; inside asynchronous code a call is an error. Status 429, 5xx, timeouts and broken
/// connections are retried after a random pause, whose upper bound doubles with every try, and not before the time in
/// `Retry-After`. The token is sent to the endpoint only, never to another host that a redirect points to.
#[derive(Clone)]
pub struct Hub(pub(crate) Arc<HubConnection>);

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Hub").field(&self.0.settings).finish()
    }
}

impl Hub {
    /// Creates a client without sending a request. [`HubError::Settings`] if the settings are invalid.
    pub fn new(settings: HubSettings) -> Result<Self, HubError> {
        Ok(Self(Arc::new(HubConnection::new(settings)?)))
    }

    /// The settings of the client.
    pub fn settings(&self) -> &HubSettings {
        &self.0.settings
    }

    /// Finds models with `GET /api/models`, in the order of [`Search::sort`].
    pub fn search(&self, search: &Search) -> Result<Vec<ModelSummary>, HubError> {
        self.require_online(|| "a search".into())?;
        let mut next = Some(self.search_address(search));
        let (context, mut found) = (RequestContext::new("", "", None), Vec::new());
        let work = async {
            for _ in 0..MAX_PAGES {
                let Some(address) = next.take().filter(|_| found.len() < search.limit) else { break };
                let page = self.0.json(&address, MAX_BYTES, &context, self.0.settings.deadline).await?;
                let list = page.json.as_array().ok_or_else(|| self.0.invalid(&address, "it is not a list"))?;
                // An empty page ends the search even if it links to a next one.
                next = page.next.filter(|_| !list.is_empty());
                // A model without a valid id is left out: no request could name that model.
                let usable = list.iter().filter_map(|model| ModelSummary::read(model).ok());
                found.extend(usable.take(search.limit - found.len()));
            }
            Ok(())
        };
        self.wait(work)?;
        Ok(found)
    }

    fn search_address(&self, search: &Search) -> Url {
        let mut address = self.0.address(["api", "models"]);
        let mut query = address.query_pairs_mut();
        let texts = [
            ("search", Some(&search.query)),
            ("pipeline_tag", search.pipeline_tag.as_ref()),
            ("author", search.author.as_ref()),
        ];
        for (key, value) in texts {
            if let Some(value) = value.filter(|v| !v.is_empty()) {
                query.append_pair(key, value);
            }
        }
        for tag in &search.filter {
            query.append_pair("filter", tag);
        }
        query.append_pair("sort", search.sort.parameter());
        query.append_pair("limit", &search.limit.min(PAGE_SIZE).to_string());
        for field in EXPANDED_FIELDS {
            query.append_pair("expand", field);
        }
        drop(query);
        address
    }

    /// Requests the metadata and the list of files of a model at a branch, tag or commit (`GET
    /// /api/models/{id}/revision/{revision}`).
    pub fn info(&self, id: &str, revision: &str) -> Result<ModelInfo, HubError> {
        names::id(id)?;
        names::revision(revision)?;
        self.require_online(|| format!("the information on {id}"))?;
        self.wait(self.request_info(id, revision, self.0.settings.deadline))
    }

    pub(crate) async fn request_info(&self, id: &str, revision: &str, time: Duration) -> Result<ModelInfo, HubError> {
        let parts = ["api", "models"].into_iter().chain(id.split('/')).chain(["revision", revision]);
        let mut address = self.0.address(parts);
        address.query_pairs_mut().append_pair("blobs", "true");
        let context = RequestContext::new(id, revision, None);
        let page = self.0.json(&address, MAX_BYTES, &context, time).await?;
        let info = ModelInfo::read(&page.json).map_err(|why| self.0.invalid(&address, why))?;
        if names::is_hash(revision, 40) && info.commit != revision {
            return Err(self.0.invalid(&address, format!("it is about the commit {}", info.commit)));
        }
        Ok(info)
    }

    /// The first `max_bytes` bytes of a text file of a model, such as the model's `README.md`. The rest of the file is
    /// not transferred, and invalid UTF-8 is replaced. If `revision` is a commit, or in offline mode, a file that is in
    /// the cache is read from the cache.
    pub fn text(&self, id: &str, revision: &str, name: &str, max_bytes: u64) -> Result<String, HubError> {
        names::id(id)?;
        names::revision(revision)?;
        names::file(name)?;
        let cache = Cache::new(&self.0.settings.cache, id);
        let is_fixed = self.0.settings.offline || names::is_hash(revision, 40);
        if is_fixed && let Some(commit) = cache.commit(revision)?.filter(|c| cache.has(c, name)) {
            let path = cache.snapshot(&commit).join(name);
            let mut bytes = Vec::new();
            let read = File::open(&path).and_then(|file| file.take(max_bytes).read_to_end(&mut bytes));
            read.map_err(HubError::io(&path))?;
            return Ok(lossy_text(bytes));
        }
        self.require_online(|| format!("{name} of {id}"))?;
        let address = self.file_address(id, revision, name);
        let context = RequestContext::new(id, revision, Some(name));
        let attempt = async || {
            let mut response = self.0.send(&Method::GET, &address, None, &context).await?.response;
            let mut bytes = Vec::new();
            while (bytes.len() as u64) < max_bytes {
                let Some(chunk) = response.chunk().await.map_err(|e| self.0.connection_error(e))? else { break };
                bytes.extend_from_slice(&chunk);
            }
            bytes.truncate(usize::try_from(max_bytes).unwrap_or(usize::MAX));
            Ok::<_, AttemptError<HubError>>(bytes)
        };
        self.wait(self.0.request(&address, &context, self.0.settings.deadline, attempt)).map(lossy_text)
    }

    /// The URL at which a file of a model can be downloaded.
    pub(crate) fn file_address(&self, id: &str, revision: &str, name: &str) -> Url {
        self.0.address(id.split('/').chain(["resolve", revision]).chain(name.split('/')))
    }

    /// The user name of the token's owner (`GET /api/whoami-v2`); [`HubError::Token`] if the token is invalid.
    pub fn whoami(&self) -> Result<String, HubError> {
        self.require_online(|| "the token's owner".into())?;
        let address = self.0.address(["api", "whoami-v2"]);
        let context = RequestContext::new("", "", None);
        let page = self.wait(self.0.json(&address, MAX_BYTES, &context, self.0.settings.deadline))?;
        let name = page.json.get("name").and_then(Value::as_str).map(names::shown);
        name.ok_or_else(|| self.0.invalid(&address, "it has no `name`"))
    }

    /// Gives [`HubError::Offline`] in offline mode; `what` names the thing that cannot be requested.
    fn require_online(&self, what: impl FnOnce() -> String) -> Result<(), HubError> {
        if self.0.settings.offline { Err(self.not_cached(what())) } else { Ok(()) }
    }

    pub(crate) fn not_cached(&self, what: String) -> HubError {
        HubError::Offline { what, path: self.0.settings.cache.clone() }
    }

    /// Runs `work` and blocks until it is done. Inside asynchronous code this is an error.
    pub(crate) fn wait<T>(&self, work: impl Future<Output = Result<T, HubError>>) -> Result<T, HubError> {
        let address = || redacted(self.0.endpoint.as_str());
        self.0.background.wait(work).map_err(|message| HubError::Request { address: address(), message })?
    }
}

/// Decodes bytes as UTF-8 and replaces invalid bytes. A character that the end of the bytes cuts is left out.
fn lossy_text(mut bytes: Vec<u8>) -> String {
    if let Err(e) = std::str::from_utf8(&bytes)
        && e.error_len().is_none()
    {
        bytes.truncate(e.valid_up_to());
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
