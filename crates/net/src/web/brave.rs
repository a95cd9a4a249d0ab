//! Brave's results (<https://api-dashboard.search.brave.com/app/documentation/web-search/get-started>).

use std::time::Duration;

use crate::web::service::Service;
use crate::web::{Hit, WebError, WebSearch};

/// Brave's results, 20 at most. Its key is `BRAVE_API_KEY`.
#[derive(Debug)]
pub struct Brave(Service);

impl Brave {
    /// A client whose key `env` looks up; nothing is sent yet.
    pub fn from(env: impl Fn(&str) -> Option<String>) -> Result<Self, WebError> {
        Service::new("Brave", "BRAVE_API_KEY", "https://api.search.brave.com", env).map(Self)
    }

    /// The same at another address, and with another deadline for a search.
    pub fn at(mut self, base: &str, deadline: Duration) -> Self {
        (self.0.base, self.0.deadline) = (base.trim_end_matches('/').into(), deadline);
        self
    }
}

impl WebSearch for Brave {
    fn search(&self, query: &str, limit: usize) -> Result<Vec<Hit>, WebError> {
        let number = limit.clamp(1, 20).to_string();
        let key = |request: reqwest::RequestBuilder| request.header("x-subscription-token", self.0.header.clone());
        let answer = self.0.ask("/res/v1/web/search", &[("q", query), ("count", &number)], key)?;
        self.0.hits(answer.pointer("/web/results"), ["title", "url", "description"], limit)
    }
}
