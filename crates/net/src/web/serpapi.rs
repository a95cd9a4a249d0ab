//! Google's results through `SerpApi` (<https://serpapi.com/search-api>).

use std::time::Duration;

use crate::web::service::{HitFields, SearchService};
use crate::web::{Hit, WebError, WebSearch};

/// Names of the fields of a result.
const FIELDS: HitFields = HitFields { title: "title", url: "link", snippet: "snippet" };

/// A client of `SerpApi`, which gives Google's results. The key is in `SERPAPI_API_KEY`.
#[derive(Debug)]
pub struct SerpApi(SearchService);

impl SerpApi {
    /// A client whose key is looked up with `env`, such as `|name| std::env::var(name).ok()`. Sends nothing yet.
    /// [`WebError::Key`] if there is no key.
    pub fn from_env(env: impl Fn(&str) -> Option<String>) -> Result<Self, WebError> {
        SearchService::new("SerpApi", "SERPAPI_API_KEY", "https://serpapi.com", env).map(Self)
    }

    /// Replaces the service's base address, and the deadline of a search with its retries.
    pub fn with_server(mut self, base: &str, deadline: Duration) -> Self {
        (self.0.base, self.0.deadline) = (base.trim_end_matches('/').into(), deadline);
        self
    }
}

impl WebSearch for SerpApi {
    fn search(&self, query: &str, limit: usize) -> Result<Vec<Hit>, WebError> {
        let count = limit.clamp(1, 100).to_string();
        // This service takes its key only in the query, which is why no error message contains a query.
        let query = [("engine", "google"), ("q", query), ("num", &count), ("api_key", self.0.key.reveal())];
        let response = self.0.get("/search.json", &query, |request| request)?;
        self.0.hits(response.get("organic_results"), FIELDS, limit)
    }
}
