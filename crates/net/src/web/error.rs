//! Errors of a web search.

/// An error of a web search. No message contains the API key.
#[derive(Debug, thiserror::Error)]
pub enum WebError {
    /// No API key is set.
    #[error("{service} needs a key; set {variable}")]
    Key {
        /// The service's name.
        service: &'static str,
        /// The environment variable that should hold the key.
        variable: &'static str,
    },
    /// The service rejected the key (status 401, 403 or 422).
    #[error("{service}: the server answered {status}; check {variable} and the account behind it")]
    Refused {
        /// The service's name.
        service: &'static str,
        /// The environment variable that holds the key.
        variable: &'static str,
        /// The response's status.
        status: u16,
    },
    /// The search failed, after all retries.
    #[error("{service}: {message}")]
    Request {
        /// The service's name.
        service: &'static str,
        /// The last error and the number of tries.
        message: String,
    },
    /// The response does not follow the service's protocol.
    #[error("{service}: the response does not follow the service's protocol: {message}")]
    Reply {
        /// The service's name.
        service: &'static str,
        /// What is wrong with the response.
        message: String,
    },
}
