//! The id of a request, its line in the log, and its place in the metrics.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use axum::extract::{MatchedPath, Request, State};
use axum::http::HeaderValue;
use axum::http::header::HeaderName;
use axum::middleware::Next;
use axum::response::Response;
use rlar_run::sha256;

use crate::server::ServeState;

/// The header with the id of a request: the client's, or one that the server makes. The answer repeats it.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Maximum number of characters of an id that a client chooses.
const MAX_ID: usize = 128;

/// The id of a request, for log lines.
#[derive(Clone, Debug, Default)]
pub struct RequestId(pub String);

/// Gives a request its id, answers it, logs it at the level `info`, and counts it.
pub async fn observe(State(state): State<ServeState>, mut request: Request, next: Next) -> Response {
    let began = Instant::now();
    let id = request.headers().get(REQUEST_ID).and_then(|v| v.to_str().ok()).filter(|id| is_usable(id));
    let id = id.map_or_else(new_id, str::to_owned);
    // Paths without a route have one name together: a client must not be able to make metrics without end.
    let route = request.extensions().get::<MatchedPath>().map_or("other", MatchedPath::as_str).to_owned();
    let method = request.method().clone();
    request.extensions_mut().insert(RequestId(id.clone()));
    let mut response = next.run(request).await;
    let (status, seconds) = (response.status().as_u16(), began.elapsed().as_secs_f64());
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    state.metrics.request(&route, status, seconds);
    tracing::info!(request = id, method = %method, route, status, seconds, "answered");
    response
}

/// Whether a client's id can stand in a log line and in a header.
fn is_usable(id: &str) -> bool {
    (1..=MAX_ID).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic())
}

/// An id that no other request of this process has, and that of another process has hardly.
fn new_id() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos());
    let mut id = sha256(format!("{now} {} {number}", std::process::id()).as_bytes());
    id.truncate(16);
    id
}
