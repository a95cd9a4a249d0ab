//! What a web search takes and returns.

use crate::web::WebError;

/// A page that a search found. Its texts are written by third parties; markup and control characters are removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hit {
    /// The page's title.
    pub title: String,
    /// The page's address, `http` or `https`.
    pub url: String,
    /// An excerpt of the page, or its description.
    pub snippet: String,
}

/// A web search service.
pub trait WebSearch: Send + Sync + std::fmt::Debug {
    /// Returns at most `limit` pages for a query, the most relevant first. Blocks until then; inside asynchronous code
    /// that is an error.
    fn search(&self, query: &str, limit: usize) -> Result<Vec<Hit>, WebError>;
}
