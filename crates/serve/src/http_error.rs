//! Answers that are errors: a status, and a JSON body with a code and a message.

use std::borrow::Cow;
use std::time::Duration;

use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, HeaderValue};
use axum::response::{IntoResponse, Response};

use crate::wire::{ErrorAnswer, ErrorDetail};

/// An error that answers a request as a whole.
#[derive(Clone, Debug)]
pub struct HttpError {
    status: StatusCode,
    code: &'static str,
    message: Cow<'static, str>,
    headers: Vec<ErrorHeader>,
}

/// A header of an error.
#[derive(Clone, Debug)]
struct ErrorHeader {
    name: &'static str,
    value: HeaderValue,
}

impl HttpError {
    /// An error with a short name for programs and a message for people.
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self { status, code, message: message.into(), headers: Vec::new() }
    }

    /// A request that is not what the route takes.
    pub fn bad_request(code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    /// The server is stopping, or the answer could not be made in time.
    pub fn unavailable(code: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, code, message).retry_after(Duration::from_secs(1))
    }

    /// Adds a header; one with characters that a header cannot have is left out.
    pub fn with_header(mut self, name: &'static str, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.push(ErrorHeader { name, value });
        }
        self
    }

    /// Says after which time the request may be sent again; whole seconds, rounded up.
    pub fn retry_after(self, wait: Duration) -> Self {
        let seconds = wait.as_secs_f64().ceil().max(1.0) as u64;
        self.with_header("retry-after", &seconds.to_string())
    }
}

impl IntoResponse for HttpError {
    fn into_response(self) -> Response {
        let detail = ErrorDetail { code: self.code.to_owned(), message: self.message.into_owned() };
        let body = serde_json::to_string(&ErrorAnswer { error: detail }).unwrap_or_default();
        let mut response = (self.status, [(CONTENT_TYPE, "application/json")], body).into_response();
        for header in self.headers {
            response.headers_mut().insert(header.name, header.value);
        }
        response
    }
}

/// An answer with status 200 whose body is JSON.
pub fn json_response(value: &impl serde::Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(body) => ([(CONTENT_TYPE, "application/json")], body).into_response(),
        Err(error) => {
            let message = format!("the answer cannot be written as JSON: {error}");
            HttpError::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", message).into_response()
        }
    }
}
