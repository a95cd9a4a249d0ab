//! Tokens of requests, and error responses.

use crate::hub::serve::http1::{HttpRequest, HttpResponse};

/// An error response with the Hub's headers for its code and message.
pub(crate) fn error(status: u16, code: &str, message: &str) -> HttpResponse {
    HttpResponse::text(status, message).with("x-error-code", code).with("x-error-message", message)
}

/// The bearer token of a request.
pub(crate) fn token(request: &HttpRequest) -> Option<&str> {
    request.header("authorization").and_then(|a| a.strip_prefix("Bearer ")).filter(|t| !t.is_empty())
}
