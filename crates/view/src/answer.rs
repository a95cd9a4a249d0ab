//! Answers: JSON, or an error with a status, a code for programs and a message for people.

use std::path::Path;

use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// Why a question about a run has no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoAnswer {
    status: StatusCode,
    code: &'static str,
    /// Why, for people.
    pub message: String,
}

/// The JSON of a [`NoAnswer`].
#[derive(Serialize)]
struct NoAnswerBody<'a> {
    error: NoAnswerDetail<'a>,
}

#[derive(Serialize)]
struct NoAnswerDetail<'a> {
    code: &'a str,
    message: &'a str,
}

impl NoAnswer {
    /// An answer with this status, code and message.
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into() }
    }

    /// What is asked for does not exist.
    pub fn not_found(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, code, message)
    }

    /// The request is not what the route takes.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", message)
    }

    /// A file of the run is not what rlar writes.
    pub fn unreadable(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "unreadable", message)
    }

    /// A file of the run cannot be read, or does not exist.
    pub fn of_file(path: &Path, error: &std::io::Error) -> Self {
        let message = format!("{}: {error}", path.display());
        match error.kind() {
            std::io::ErrorKind::NotFound => Self::not_found("no_file", message),
            _ => Self::unreadable(message),
        }
    }

    /// Reading the answer failed inside of this server.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", message)
    }

    /// What is wrong, for people.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Whether the status is 404.
    pub fn is_not_found(&self) -> bool {
        self.status == StatusCode::NOT_FOUND
    }
}

impl IntoResponse for NoAnswer {
    fn into_response(self) -> Response {
        let body = NoAnswerBody { error: NoAnswerDetail { code: self.code, message: &self.message } };
        json(self.status, &body)
    }
}

/// An answer with status 200 whose body is JSON.
pub fn found(value: &impl Serialize) -> Response {
    json(StatusCode::OK, value)
}

fn json(status: StatusCode, value: &impl Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(body) => (status, [(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-store")], body).into_response(),
        // A float that is not finite becomes `null`, so only a map with odd keys could end here.
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
