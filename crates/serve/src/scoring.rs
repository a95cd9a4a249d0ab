//! Has the items of a request scored: puts them into the queue and waits for their answers, at most until the deadline.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use serde_json::Value;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::access::RequestId;
use crate::answer::unscored;
use crate::http_error::HttpError;
use crate::intake::{IntakeItem, ReadyItem};
use crate::metrics::{Label, labels};
use crate::queue::{PutOff, ScoringJob};
use crate::served_library::ServedLibrary;
use crate::server::ServeState;
use crate::wire::{ItemAnswer, ItemStatus};

/// Seconds that scoring may take when a request does not say.
const DEFAULT_DEADLINE: f64 = 120.0;

/// Largest number of seconds that a request may give scoring.
const MAX_DEADLINE: f64 = 3600.0;

/// Largest number of items of a request.
pub const MAX_ITEMS: usize = 4096;

/// Time after the deadline in which scores that are being computed may still arrive.
const GRACE: Duration = Duration::from_secs(2);

/// The time that a request gives scoring.
pub fn deadline(seconds: Option<f64>) -> Result<Duration, HttpError> {
    let seconds = seconds.unwrap_or(DEFAULT_DEADLINE);
    if seconds > 0.0 && seconds <= MAX_DEADLINE {
        return Ok(Duration::from_secs_f64(seconds));
    }
    let why = format!("`deadline_s` is {seconds}; it must be more than 0 and at most {MAX_DEADLINE} seconds");
    Err(HttpError::bad_request("wrong_deadline", why))
}

/// Refuses a request with too many items.
pub fn check_count(items: usize) -> Result<(), HttpError> {
    if items <= MAX_ITEMS {
        return Ok(());
    }
    let why = format!("the request has {items} items; send at most {MAX_ITEMS} at a time");
    Err(HttpError::new(StatusCode::PAYLOAD_TOO_LARGE, "too_many_items", why))
}

/// The library that a request asks for: the pinned one, or the present one.
pub fn library_of(state: &ServeState, pinned: Option<&str>) -> Result<Arc<ServedLibrary>, HttpError> {
    let Some(hash) = pinned else { return Ok(state.libraries.current()) };
    state.libraries.pinned(hash).ok_or_else(|| {
        let known = state.libraries.hashes().join(", ");
        let why = format!("the library `{hash}` is not served; `?library=` may name {known} (the newest first)");
        HttpError::new(StatusCode::CONFLICT, "other_library", why)
    })
}

/// Refuses a request that would probably not be scored in its time, before work is done for it.
pub fn check_wait(state: &ServeState, items: usize, time: Duration) -> Result<(), HttpError> {
    let delay = state.serving_delay.get();
    let checked = state.queue.check(items, time.saturating_sub(delay));
    checked.map_err(|reason| put_off(state, reason, time, delay))
}

/// Scores items. There is one answer for each, in order.
///
/// # Errors
///
/// When the queue is full or the items would probably wait in it beyond their deadline (429), or the server is stopping
/// (503). No item has been scored then.
pub async fn score(
    state: &ServeState,
    library: &Arc<ServedLibrary>,
    items: Vec<IntakeItem>,
    time: Duration,
    request: &RequestId,
) -> Result<Vec<ItemAnswer>, HttpError> {
    let mut answers: Vec<Option<ItemAnswer>> = Vec::with_capacity(items.len());
    let mut ready: Vec<ReadyItem> = Vec::with_capacity(items.len());
    for item in items {
        answers.push(match item {
            IntakeItem::Ready(item) => {
                ready.push(item);
                None
            }
            IntakeItem::Refused { id, why } => Some(unscored(id, ItemStatus::Failed, why)),
        });
    }
    let mut scored =
        if ready.is_empty() { Vec::new() } else { run(state, library, ready, time, request).await? }.into_iter();
    let missing = || unscored(Value::Null, ItemStatus::Failed, "the answer got lost");
    let answers: Vec<ItemAnswer> =
        answers.into_iter().map(|answer| answer.or_else(|| scored.next()).unwrap_or_else(missing)).collect();
    let mut counts: BTreeMap<&str, f64> = BTreeMap::new();
    for answer in &answers {
        *counts.entry(answer.status.as_str()).or_default() += 1.0;
    }
    for (status, count) in counts {
        let status = labels(&[Label { name: "status", value: status }]);
        state.metrics.count("rlar_items_total", "Answered items by status.", status, count);
    }
    Ok(answers)
}

/// Scores items that could be read.
async fn run(
    state: &ServeState,
    library: &Arc<ServedLibrary>,
    items: Vec<ReadyItem>,
    time: Duration,
    request: &RequestId,
) -> Result<Vec<ItemAnswer>, HttpError> {
    if state.is_draining() {
        return Err(HttpError::unavailable("stopping", "the server is stopping; send the request to another one"));
    }
    let ids: Vec<Value> = items.iter().map(|item| item.id.clone()).collect();
    let (reply, answers) = oneshot::channel();
    // The time of the request began when it could have been read.
    let (queued, delay) = (Instant::now(), state.serving_delay.get());
    let deadline = queued + time.saturating_sub(delay);
    let library = Arc::clone(library);
    let job = ScoringJob { library, items, queued, deadline, reply, request: request.0.clone() };
    state.queue.push(job).map_err(|reason| put_off(state, reason, time, delay))?;
    let why = match timeout(time + GRACE, answers).await {
        Ok(Ok(answers)) => return Ok(answers),
        Ok(Err(_)) => {
            tracing::error!(
                request = request.0,
                items = ids.len(),
                "scoring ended without an answer: the items have failed"
            );
            "scoring ended without an answer; the log of the server says more".to_owned()
        }
        Err(_) => format!("not scored within {} s", time.as_secs_f64()),
    };
    Ok(ids.into_iter().map(|id| unscored(id, ItemStatus::Failed, why.clone())).collect())
}

/// The answer to a request that the queue does not take now. The request has `time`, of which it waited `delay` before it was
/// read.
fn put_off(state: &ServeState, reason: PutOff, time: Duration, delay: Duration) -> HttpError {
    let (code, retry_after, why) = match reason {
        PutOff::Full { retry_after } => {
            let why = "too many items wait to be scored; send the request again after the time in `Retry-After`";
            ("queue_full", retry_after, why.to_owned())
        }
        PutOff::TooLate { wait, retry_after } => {
            let (wait, time) = (wait.saturating_add(delay).as_secs_f64(), time.as_secs_f64());
            let why = format!(
                "scoring would begin after about {wait:.3} s, and the request has {time} s; send it again after the time in \
                 `Retry-After`, or with a longer `deadline_s`"
            );
            ("wait_too_long", retry_after, why)
        }
    };
    let reason = labels(&[Label { name: "reason", value: code }]);
    state.metrics.count("rlar_put_off_total", "Requests that the queue did not take, by reason.", reason, 1.0);
    HttpError::new(StatusCode::TOO_MANY_REQUESTS, code, why).retry_after(retry_after)
}
