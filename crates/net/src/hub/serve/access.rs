//! Who asks, and how they are refused.

use crate::hub::serve::http::{Request, Response};

/// An answer that refuses, with the Hub's code and words for it.
pub(crate) fn refusal(status: u16, code: &str, words: &str) -> Response {
    Response::text(status, words).with("x-error-code", code).with("x-error-message", words)
}

/// The token of a request.
pub(crate) fn token(request: &Request) -> Option<&str> {
    request.header("authorization").and_then(|a| a.strip_prefix("Bearer ")).filter(|t| !t.is_empty())
}
