//! A client of `SerpApi`, which gives the results of Google (<https://serpapi.com/search-api>).

use std::time::Duration;

use crate::web::service::{HitFields, SearchService};
use crate::web::{Hit, WebError, WebSearch};

/// The names of a result's fields in the JSON of this service.
const FIELDS: HitFields = HitFields { title: "title", url: "link", snippet: "snippet" };

/// Searches the web with Google, through the service `SerpApi`. The key is in `SERPAPI_API_KEY`.
#[derive(Debug)]
pub struct SerpApi(SearchService);

impl SerpApi {
    /// Creates a client without sending a request. The API key is the value of `SERPAPI_API_KEY`, which `env` looks up,
    /// such as `|name| std::env::var(name).ok()`. [`WebError::Key`] if there is no key.
    pub fn from_env(env: impl Fn(&str) -> Option<String>) -> Result<Self, WebError> {
        SearchService::new("SerpApi", "SERPAPI_API_KEY", "https://serpapi.com", env).map(Self)
    }

    /// Replaces the base URL of the service, and the maximum time for a search with its retries.
    pub fn with_server(mut self, base: &str, deadline: Duration) -> Self {
        (self.0.base, self.0.deadline) = (base.trim_end_matches('/').into(), deadline);
        self
    }
}

impl WebSearch for SerpApi {
    fn search(&self, query: &str, limit: usize) -> Result<Vec<Hit>, WebError> {
        let count = limit.clamp(1, 100).to_string();
        // This service accepts its key only in the query. For this reason, no error message contains a query.
        let query = [("engine", "google"), ("q", query), ("num", &count), ("api_key", self.0.key.reveal())];
        let response = self.0.get("/search.json", &query, |request| request)?;
        self.0.hits(response.get("organic_results"), FIELDS, limit)
    }
}
