//! A client of the Brave Search API
//! (<https://api-dashboard.search.brave.com/app/documentation/web-search/get-started>).

use std::time::Duration;

use crate::web::service::{HitFields, SearchService};
use crate::web::{Hit, WebError, WebSearch};

/// The names of a result's fields in the JSON of this service.
const FIELDS: HitFields = HitFields { title: "title", url: "url", snippet: "description" };

/// Searches the web with the Brave Search API, which gives at most 20 results. The key is in `BRAVE_API_KEY`.
#[derive(Debug)]
pub struct Brave(SearchService);

impl Brave {
    /// Creates a client without sending a request. The API key is the value of `BRAVE_API_KEY`, which `env` looks up,
    /// such as `|name| std::env::var(name).ok()`. [`WebError::Key`] if there is no key.
    pub fn from_env(env: impl Fn(&str) -> Option<String>) -> Result<Self, WebError> {
        SearchService::new("Brave", "BRAVE_API_KEY", "https://api.search.brave.com", env).map(Self)
    }

    /// Replaces the base URL of the service, and the maximum time for a search with its retries.
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
