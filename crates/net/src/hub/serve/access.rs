//! Reads access tokens from requests, and builds error responses.

use crate::hub::serve::http1::{HttpRequest, HttpResponse};

/// An error response with the Hub's headers for errors: `x-error-code` is `code`, and `x-error-message` is the message.
pub(crate) fn error(status: u16, code: &str, message: &str) -> HttpResponse {
    HttpResponse::text(status, message).with("x-error-code", code).with("x-error-message", message)
}

/// The access token that a request sends as a bearer token; `None` if there is none.
pub(crate) fn token(request: &HttpRequest) -> Option<&str> {
    request.header("authorization").and_then(|a| a.strip_prefix("Bearer ")).filter(|t| !t.is_empty())
}
