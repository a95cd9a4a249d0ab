//! `GET /healthz` and `GET /readyz`.

use axum::extract::State;
use axum::response::Response;
use serde_json::json;

use crate::http_error::{HttpError, json_response};
use crate::server::ServeState;

/// The process lives: always 200.
pub async fn alive() -> Response {
    json_response(&json!({ "status": "ok" }))
}

/// Whether replies can be scored: 503 while the server stops, when its queue is full, or when no tool is in use.
pub async fn ready(State(state): State<ServeState>) -> Result<Response, HttpError> {
    if state.is_draining() {
        return Err(HttpError::unavailable("stopping", "the server is stopping"));
    }
    if state.queue.load().waiting >= state.queue.capacity() {
        return Err(HttpError::unavailable("queue_full", "too many items wait to be scored"));
    }
    let library = state.libraries.current();
    if !library.can_score() {
        let why = "no tool of the library may score: none is admitted, or all are suspended; `/v1/tools` lists them";
        return Err(HttpError::unavailable("no_tools", why));
    }
    Ok(json_response(&json!({ "status": "ok", "library": library.hash })))
}
