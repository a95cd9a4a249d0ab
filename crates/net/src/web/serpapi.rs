//! Google's results by `SerpApi` (<https://serpapi.com/search-api>).

use std::time::Duration;

use crate::web::service::Service;
use crate::web::{Hit, WebError, WebSearch};

/// Google's results by `SerpApi`. Its key is `SERPAPI_API_KEY`.
#[derive(Debug)]
pub struct SerpApi(Service);

impl SerpApi {
    /// A client whose key `env` looks up; nothing is sent yet.
    pub fn from(env: impl Fn(&str) -> Option<String>) -> Result<Self, WebError> {
        Service::new("SerpApi", "SERPAPI_API_KEY", "https://serpapi.com", env).map(Self)
    }

    /// The same at another address, and with another deadline for a search.
    pub fn at(mut self, base: &str, deadline: Duration) -> Self {
        (self.0.base, self.0.deadline) = (base.trim_end_matches('/').into(), deadline);
        self
    }
}

impl WebSearch for SerpApi {
    fn search(&self, query: &str, limit: usize) -> Result<Vec<Hit>, WebError> {
        let number = limit.clamp(1, 100).to_string();
        // This service takes its key in the query alone: no error shows an address.
        let query = [("engine", "google"), ("q", query), ("num", &number), ("api_key", self.0.key.reveal())];
        let answer = self.0.ask("/search.json", &query, |request| request)?;
        self.0.hits(answer.get("organic_results"), ["title", "link", "snippet"], limit)
    }
}
