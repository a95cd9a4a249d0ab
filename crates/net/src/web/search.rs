//! The trait of web search services, and the pages that they find.

use crate::web::WebError;

/// A page that a search found. Its texts were written by others; markup and control characters are removed from them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hit {
    /// The title of the page.
    pub title: String,
    /// The address of the page, which begins with `http` or `https`.
    pub url: String,
    /// An excerpt from the page, or a description of it.
    pub snippet: String,
}

/// A service that searches the web.
pub trait WebSearch: Send + Sync + std::fmt::Debug {
    /// Returns at most `limit` pages for a query, the most relevant first. Blocks until the service has answered;
    /// inside asynchronous code a call is an error.
    fn search(&self, query: &str, limit: usize) -> Result<Vec<Hit>, WebError>;
}
