//! Searching the web.
//!
//! A [`WebSearch`] answers a query with addresses: [`SerpApi`] and [`Brave`] are services that do.

mod brave;
mod serpapi;
mod service;

pub use brave::Brave;
pub use serpapi::SerpApi;

/// A page that was found. Its texts are those of strangers, without markup and control characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hit {
    /// Its title.
    pub title: String,
    /// Its address, `http` or `https`.
    pub url: String,
    /// Some of its text.
    pub snippet: String,
}

/// What can go wrong with a search. No message holds a key.
#[derive(Debug, thiserror::Error)]
pub enum WebError {
    /// No key is set.
    #[error("{service} needs a key; set {variable}")]
    Key {
        /// The service.
        service: &'static str,
        /// The variable that holds its key.
        variable: &'static str,
    },
    /// The service does not accept the key.
    #[error("{service}: the server answered {status}; check {variable} and the account behind it")]
    Refused {
        /// The service.
        service: &'static str,
        /// The variable that holds its key.
        variable: &'static str,
        /// The answer's status.
        status: u16,
    },
    /// The search failed for good.
    #[error("{service}: {message}")]
    Request {
        /// The service.
        service: &'static str,
        /// What happened, after how many tries.
        message: String,
    },
    /// The answer is not what the service's protocol says.
    #[error("{service}: the answer is not what its protocol says: {message}")]
    Reply {
        /// The service.
        service: &'static str,
        /// What is wrong with it.
        message: String,
    },
}

/// Something that searches the web.
pub trait WebSearch: Send + Sync + std::fmt::Debug {
    /// Finds pages, at most so many and the best first; blocks until then. In asynchronous code that is an error.
    fn search(&self, query: &str, limit: usize) -> Result<Vec<Hit>, WebError>;
}
