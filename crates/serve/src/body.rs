//! Reads the bodies of requests: JSON of limited size, in limited time, and in limited memory for all requests together.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use http_body_util::BodyExt;
use serde::de::DeserializeOwned;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::http_error::HttpError;
use crate::options::ServeOptions;

/// Maximum size of all bodies that are in memory at the same time, in KiB.
const MAX_BODIES_KIB: usize = 256 << 10;

/// Bodies of at least this size are parsed while another thread takes over the connections.
const LONG: usize = 64 << 10;

/// The memory that is left for bodies.
#[derive(Clone, Debug)]
pub struct BodyMemory(Arc<Semaphore>);

impl Default for BodyMemory {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MAX_BODIES_KIB)))
    }
}

/// A body, with its share of the memory for bodies, which dropping gives back.
#[derive(Debug)]
pub struct ReadBody {
    /// The bytes of the body.
    pub bytes: Vec<u8>,
    held: Option<OwnedSemaphorePermit>,
}

impl ReadBody {
    /// Adds bytes to the body; the error says which limit they exceed.
    fn extend(&mut self, bytes: &[u8], memory: &BodyMemory, max: usize) -> Result<(), HttpError> {
        let length = self.bytes.len() + bytes.len();
        if length > max {
            return Err(too_large(max));
        }
        let held = self.held.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let needed = length.div_ceil(1024);
        if needed > held {
            // Half as much again, so that a body that comes in small pieces does not ask for every piece.
            let more = (needed + needed / 2).min(max.div_ceil(1024)).max(needed) - held;
            let permit = Arc::clone(&memory.0).try_acquire_many_owned(more as u32).map_err(|_| {
                let why = "the server has no memory for this body now; send it again later, or in smaller parts";
                HttpError::new(StatusCode::TOO_MANY_REQUESTS, "out_of_memory", why)
                    .retry_after(std::time::Duration::from_secs(2))
            })?;
            match &mut self.held {
                Some(held) => held.merge(permit),
                None => self.held = Some(permit),
            }
        }
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }
}

/// Reads the body of a request that says that it is JSON.
pub async fn read(request: Request, memory: &BodyMemory, options: &ServeOptions) -> Result<ReadBody, HttpError> {
    let (head, body) = request.into_parts();
    if !is_json(&head.headers) {
        let why = "the body must be JSON, with the header `Content-Type: application/json`";
        return Err(HttpError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not_json", why));
    }
    let declared = head.headers.get(CONTENT_LENGTH).and_then(|v| v.to_str().ok()).and_then(|v| v.parse::<u64>().ok());
    if declared.is_some_and(|length| length > options.max_body as u64) {
        return Err(too_large(options.max_body));
    }
    let reading = collect(body, memory, options.max_body);
    timeout(options.body_timeout, reading).await.unwrap_or_else(|_| {
        let why = format!("the body did not arrive within {:?}", options.body_timeout);
        Err(HttpError::new(StatusCode::REQUEST_TIMEOUT, "slow_body", why).with_header("connection", "close"))
    })
}

async fn collect(mut body: Body, memory: &BodyMemory, max: usize) -> Result<ReadBody, HttpError> {
    let mut read = ReadBody { bytes: Vec::new(), held: None };
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            HttpError::bad_request("broken_body", format!("the body ended before it was complete: {error}"))
        })?;
        if let Ok(data) = frame.into_data() {
            read.extend(&data, memory, max)?;
        }
    }
    Ok(read)
}

/// Parses JSON. Numbers that are not finite (`NaN`, `Infinity`, `1e999`) and more than 128 levels of nesting are refused.
pub fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, HttpError> {
    serde_json::from_slice(bytes).map_err(|error| {
        let code = if error.is_data() { "wrong_fields" } else { "malformed_json" };
        let hint = match error.to_string() {
            text if text.contains("recursion limit") => " (at most 128 levels of nesting are read)",
            text if text.contains("out of range") || text.contains("expected value") => {
                " (JSON has no NaN and no infinity: send null, or leave the key out)"
            }
            _ => "",
        };
        HttpError::bad_request(code, format!("the body cannot be read: {error}{hint}"))
    })
}

/// Runs work on a body on this thread; if the body is long, other threads serve the connections meanwhile.
pub fn in_place<T>(length: usize, work: impl FnOnce() -> T) -> T {
    if length < LONG { work() } else { tokio::task::block_in_place(work) }
}

fn too_large(max: usize) -> HttpError {
    let why = format!("the body is longer than {max} bytes, which is the limit; send fewer items in a request");
    HttpError::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", why).with_header("connection", "close")
}

fn is_json(headers: &HeaderMap) -> bool {
    let given = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = given.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    kind == "application/json" || (kind.starts_with("application/") && kind.ends_with("+json"))
}
