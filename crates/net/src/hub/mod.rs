//! Models of the Hugging Face Hub: found, read about, downloaded, and served to others.
//!
//! A [`Hub`] asks a server that speaks the Hub's protocol and keeps what it downloads in the official client's cache:
//! each finds what the other has. [`serve::Server`] is such a server for a folder of models.

mod cache;
pub(crate) mod digest;
mod download;
mod error;
mod fetch;
mod link;
mod lock;
mod model;
mod names;
pub mod serve;
mod settings;

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use reqwest::{Method, Url};
use serde_json::Value;

use crate::http::redacted;
use crate::hub::cache::Cache;
use crate::hub::link::{About, Link};
use crate::retry::Failure;

pub use download::{Limits, Progress};
pub use error::HubError;
pub use model::{Found, Gated, Info, Search, Sibling, Sort};
pub use settings::Settings;

/// The longest answer about models, in bytes.
const LONGEST: u64 = 32 << 20;

/// Pages of a search.
const PAGES: usize = 100;

/// Models per page of a search.
const PAGE: usize = 1000;

/// A Hub and the cache of what it gave. Clones share connections.
///
/// Every call blocks until its end; in asynchronous code that is an error. Busy servers (429 and 5xx), silence and
/// broken connections are tried again after a random pause whose bound grows, and not before `Retry-After`. The token
/// goes to the endpoint alone, wherever that redirects to.
#[derive(Clone)]
pub struct Hub(Arc<Link>);

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Hub").field(&self.0.settings).finish()
    }
}

impl Hub {
    /// A client; nothing is sent yet. [`HubError::Settings`] if the settings cannot work.
    pub fn new(settings: Settings) -> Result<Self, HubError> {
        Ok(Self(Arc::new(Link::new(settings)?)))
    }

    /// Its settings.
    pub fn settings(&self) -> &Settings {
        &self.0.settings
    }

    /// Finds models (`GET /api/models`), in the Hub's order.
    pub fn search(&self, search: &Search) -> Result<Vec<Found>, HubError> {
        self.online(|| "a search".into())?;
        let mut next = Some(self.search_address(search));
        let (about, mut found) = (About::new("", "", None), Vec::new());
        let work = async {
            for _ in 0..PAGES {
                let Some(address) = next.take().filter(|_| found.len() < search.limit) else { break };
                let (json, more) = self.0.json(&address, LONGEST, &about, self.0.settings.deadline).await?;
                let list = json.as_array().ok_or_else(|| self.0.unclear(&address, "it is not a list"))?;
                // A list that is empty ends a search, whatever it says of more.
                next = more.filter(|_| !list.is_empty());
                // A model without a usable id could not be asked for anyway.
                let usable = list.iter().filter_map(|model| Found::read(model).ok());
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
        query.append_pair("sort", search.sort.word()).append_pair("limit", &search.limit.min(PAGE).to_string());
        for wanted in ["downloads", "gated", "lastModified", "library_name", "likes", "pipeline_tag", "sha", "tags"] {
            query.append_pair("expand", wanted);
        }
        drop(query);
        address
    }

    /// What there is of a model at a branch, a tag or a commit (`GET /api/models/{id}/revision/{revision}`).
    pub fn info(&self, id: &str, revision: &str) -> Result<Info, HubError> {
        names::id(id)?;
        names::revision(revision)?;
        self.online(|| format!("what is known of {id}"))?;
        self.wait(self.ask_info(id, revision, self.0.settings.deadline))
    }

    async fn ask_info(&self, id: &str, revision: &str, time: Duration) -> Result<Info, HubError> {
        let parts = ["api", "models"].into_iter().chain(id.split('/')).chain(["revision", revision]);
        let mut address = self.0.address(parts);
        address.query_pairs_mut().append_pair("blobs", "true");
        let about = About::new(id, revision, None);
        let (json, _) = self.0.json(&address, LONGEST, &about, time).await?;
        let info = Info::read(&json).map_err(|why| self.0.unclear(&address, why))?;
        if names::is_hash(revision, 40) && info.commit != revision {
            return Err(self.0.unclear(&address, format!("it is about the commit {}", info.commit)));
        }
        Ok(info)
    }

    /// The first `longest` bytes of a text of a model, such as its `README.md`; the rest is not transferred, and what
    /// is not UTF-8 is replaced. What the cache has is read there.
    pub fn text(&self, id: &str, revision: &str, name: &str, longest: u64) -> Result<String, HubError> {
        names::id(id)?;
        names::revision(revision)?;
        names::file(name)?;
        let cache = Cache::of(&self.0.settings.cache, id);
        let is_fixed = self.0.settings.offline || names::is_hash(revision, 40);
        if is_fixed && let Some(commit) = cache.commit(revision)?.filter(|c| cache.has(c, name)) {
            let path = cache.snapshot(&commit).join(name);
            let mut bytes = Vec::new();
            let read = File::open(&path).and_then(|file| file.take(longest).read_to_end(&mut bytes));
            read.map_err(HubError::io(&path))?;
            return Ok(readable(bytes));
        }
        self.online(|| format!("{name} of {id}"))?;
        let address = self.file_address(id, revision, name);
        let about = About::new(id, revision, Some(name));
        let once = async || {
            let mut response = self.0.send(&Method::GET, &address, None, &about).await?.response;
            let mut bytes = Vec::new();
            while (bytes.len() as u64) < longest {
                let Some(chunk) = response.chunk().await.map_err(|e| self.0.broken(e))? else { break };
                bytes.extend_from_slice(&chunk);
            }
            bytes.truncate(usize::try_from(longest).unwrap_or(usize::MAX));
            Ok::<_, Failure<HubError>>(bytes)
        };
        self.wait(self.0.ask(&address, &about, self.0.settings.deadline, once)).map(readable)
    }

    /// Where a file's bytes are.
    fn file_address(&self, id: &str, revision: &str, name: &str) -> Url {
        self.0.address(id.split('/').chain(["resolve", revision]).chain(name.split('/')))
    }

    /// Who the token belongs to (`GET /api/whoami-v2`); [`HubError::Token`] if it is not valid.
    pub fn whoami(&self) -> Result<String, HubError> {
        self.online(|| "the token's owner".into())?;
        let address = self.0.address(["api", "whoami-v2"]);
        let about = About::new("", "", None);
        let (json, _) = self.wait(self.0.json(&address, LONGEST, &about, self.0.settings.deadline))?;
        let name = json.get("name").and_then(Value::as_str).map(names::shown);
        name.ok_or_else(|| self.0.unclear(&address, "it has no `name`"))
    }

    /// An error if the Hub may not be asked.
    fn online(&self, what: impl FnOnce() -> String) -> Result<(), HubError> {
        if self.0.settings.offline { Err(self.missing(what())) } else { Ok(()) }
    }

    fn missing(&self, what: String) -> HubError {
        HubError::Offline { what, path: self.0.settings.cache.clone() }
    }

    /// Blocks until some work is done.
    fn wait<T>(&self, work: impl Future<Output = Result<T, HubError>>) -> Result<T, HubError> {
        let address = || redacted(self.0.endpoint.as_str());
        self.0.background.wait(work).map_err(|message| HubError::Request { address: address(), message })?
    }
}

/// Text of bytes that may end within a character.
fn readable(mut bytes: Vec<u8>) -> String {
    if let Err(e) = std::str::from_utf8(&bytes)
        && e.error_len().is_none()
    {
        bytes.truncate(e.valid_up_to());
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
