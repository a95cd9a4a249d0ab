//! `POST /v1/rewards`: the server's own format, in which "not scored" has words.

use axum::extract::{Extension, Query, Request, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use rlar_run::sha256;
use serde::Deserialize;

use crate::access::RequestId;
use crate::body::{in_place, parse, read};
use crate::http_error::HttpError;
use crate::idempotency::{KeyUse, key_of};
use crate::intake::read_items;
use crate::scoring::{check_count, deadline, library_of, score};
use crate::server::ServeState;
use crate::wire::{RewardAnswer, RewardRequest};

/// The query of a request for rewards.
#[derive(Clone, Debug, Deserialize)]
pub struct LibraryPin {
    /// Hash of the library that is to score; `None` for the present one.
    pub library: Option<String>,
}

pub async fn answer(
    State(state): State<ServeState>,
    Extension(id): Extension<RequestId>,
    Query(pin): Query<LibraryPin>,
    request: Request,
) -> Result<Response, HttpError> {
    let key = key_of(request.headers())?;
    let body = read(request, &state.bodies, &state.options).await?;
    let Some(key) = key else {
        return Ok(json_body(make(&state, &id, &pin, &body.bytes).await?));
    };
    let asked = sha256(&[pin.library.as_deref().unwrap_or_default().as_bytes(), b"\0", &body.bytes].concat());
    loop {
        match state.keys.take(&key, &asked) {
            KeyUse::New(lease) => {
                // A task of its own, which goes on if this client goes away: its next attempt then finds the answer.
                let making = tokio::spawn(async move {
                    let made = make(&state, &id, &pin, &body.bytes).await?;
                    lease.answer(made.clone());
                    Ok(made)
                });
                let panicked = |_| {
                    let why = "making the answer panicked; the log of the server says more";
                    HttpError::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", why)
                };
                return making.await.map_err(panicked)?.map(json_body);
            }
            KeyUse::Known(mut answer) => {
                // If the first request was refused, its sender is gone, and this one takes its place.
                if let Ok(made) = answer.wait_for(Option::is_some).await
                    && let Some(made) = made.clone()
                {
                    let mut response = json_body(made);
                    response.headers_mut().insert("idempotent-replayed", "true".parse().map_err(|_| internal())?);
                    return Ok(response);
                }
            }
            KeyUse::OtherRequest => {
                let why = "the `Idempotency-Key` was used for a request with another body; use a new key";
                return Err(HttpError::new(StatusCode::UNPROCESSABLE_ENTITY, "key_reused", why));
            }
        }
    }
}

fn internal() -> HttpError {
    HttpError::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the answer has a header that cannot be sent")
}

fn json_body(body: Bytes) -> Response {
    ([(CONTENT_TYPE, "application/json")], body).into_response()
}

/// Scores the items of a body, and writes the answer as JSON.
async fn make(state: &ServeState, id: &RequestId, pin: &LibraryPin, body: &[u8]) -> Result<Bytes, HttpError> {
    let library = library_of(state, pin.library.as_deref())?;
    let (time, items) = in_place(body.len(), || {
        let request: RewardRequest = parse(body)?;
        check_count(request.items.len())?;
        Ok((deadline(request.deadline_s)?, read_items(request.items, &state.options.scored)))
    })?;
    let results = score(state, &library, items, time, id).await?;
    let answer = RewardAnswer { library: library.hash.clone(), results };
    let text = serde_json::to_vec(&answer).map_err(|error| {
        let why = format!("the answer cannot be written as JSON: {error}");
        HttpError::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", why)
    })?;
    Ok(text.into())
}
