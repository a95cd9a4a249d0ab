//! The Brave Search API (<https://api-dashboard.search.brave.com/app/documentation/web-search/get-started>).

use std::time::Duration;

use crate::web::service::{HitFields, SearchService};
use crate::web::{Hit, WebError, WebSearch};

/// Names of the fields of a result.
const FIELDS: HitFields = HitFields { title: "title", url: "url", snippet: "description" };

/// A client of the Brave Search API, which gives at most 20 results. The key is in `BRAVE_API_KEY`.
#[derive(Debug)]
pub struct Brave(SearchService);

impl Brave {
    /// A client whose key is looked up with `env`, such as `|name| std::env::var(name).ok()`. Sends nothing yet.
    /// [`WebError::Key`] if there is no key.
    pub fn from_env(env: impl Fn(&str) -> Option<String>) -> Result<Self, WebError> {
        SearchService::new("Brave", "BRAVE_API_KEY", "https://api.search.brave.com", env).map(Self)
    }

    /// Replaces the service's base address, and the deadline of a search with its retries.
    pub fn with_server(mut self, base: &str, deadline: Duration) -> Self {
        (self.0.base, self.0.deadline) = (base.trim_end_matches('/').into(), deadline);
        self
    }
}

impl WebSearch for Brave {
    fn search(&self, query: &str, limit: usize) -> Result<Vec<Hit>, WebError> {
        let count = limit.clamp(1, 20).to_string();
        let add_key = |request: reqwest::RequestBuilder| request.header("x-subscription-token", self.0.header.clone());
        let response = self.0.get("/res/v1/web/search", &[("q", query), ("count", &count)], add_key)?;
        self.0.hits(response.pointer("/web/results"), FIELDS, limit)
    }
}
