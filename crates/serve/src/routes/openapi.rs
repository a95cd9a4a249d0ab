//! `GET /v1/openapi.json`.

use axum::response::Response;

use crate::http_error::json_response;
use crate::openapi::document;

pub async fn answer() -> Response {
    json_response(&document())
}
