//! The error type of web searches.

/// An error of a web search. No message contains the API key.
#[derive(Debug, thiserror::Error)]
pub enum WebError {
    /// No API key is set for the search service.
    #[error("{service} needs a key; set {variable}")]
    Key {
        /// The name of the search service.
        service: &'static str,
        /// The environment variable that should hold the key.
        variable: &'static str,
    },
    /// The search service rejected the API key (status 401, 403 or 422).
    #[error("{service}: the server answered {status}; check {variable} and the account behind it")]
    Refused {
        /// The name of the search service.
        service: &'static str,
        /// The environment variable that holds the key.
        variable: &'static str,
        /// The status code of the response.
        status: u16,
    },
    /// The search failed, after all retries, or its settings are invalid.
    #[error("{service}: {message}")]
    Request {
        /// The name of the search service.
        service: &'static str,
        /// What went wrong in the last try, with the number of tries.
        message: String,
    },
    /// The response does not follow the protocol of the search service.
    #[error("{service}: the response does not follow the service's protocol: {message}")]
    Reply {
        /// The name of the search service.
        service: &'static str,
        /// What is wrong with the response.
        message: String,
    },
}
