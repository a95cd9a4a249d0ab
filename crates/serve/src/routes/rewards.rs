//! `POST /v1/rewards`: the server's own format, in which "not scored" has words.

use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use rlar_run::sha256;

use super::reward_call::RewardCall;
use crate::body::parse;
use crate::http_error::HttpError;
use crate::idempotency::{KeyUse, key_of};
use crate::intake::read_items;
use crate::scoring::{check_count, check_wait, deadline, library_of, score};
use crate::wire::{RewardAnswer, RewardRequest};

pub async fn answer(headers: HeaderMap, call: RewardCall) -> Result<Response, HttpError> {
    let Some(key) = key_of(&headers)? else {
        return Ok(json_body(make(&call).await?));
    };
    let asked = sha256(&[call.pinned.as_deref().unwrap_or_default().as_bytes(), b"\0", call.bytes()].concat());
    loop {
        match call.state.keys.take(&key, &asked) {
            KeyUse::New(lease) => {
                // A task of its own, which goes on if this client goes away: its next attempt then finds the answer.
                let making = tokio::spawn(async move {
                    let made = make(&call).await?;
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

/// Scores the items of a request, and writes the answer as JSON.
async fn make(call: &RewardCall) -> Result<Bytes, HttpError> {
    let RewardCall { state, id, .. } = call;
    let library = library_of(state, call.pinned.as_deref())?;
    let (time, items) = call.read(|body| {
        let request: RewardRequest = parse(body)?;
        check_count(request.items.len())?;
        let time = deadline(request.deadline_s)?;
        check_wait(state, request.items.len(), time)?;
        Ok((time, read_items(request.items, &state.options.scored)))
    })?;
    let results = score(state, &library, items, time, id).await?;
    let answer = RewardAnswer { library: library.hash.clone(), results };
    let text = serde_json::to_vec(&answer).map_err(|error| {
        let why = format!("the answer cannot be written as JSON: {error}");
        HttpError::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", why)
    })?;
    Ok(text.into())
}
