//! What formats do with replies that have no reward, when they have no word for that: an error, a later answer, or the
//! number that the user chose.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::access::RequestId;
use crate::http_error::HttpError;
use crate::intake::IntakeItem;
use crate::metrics::{Label, labels};
use crate::options::OnFailure;
use crate::scoring::{library_of, score};
use crate::served_library::ServedLibrary;
use crate::server::ServeState;
use crate::wire::{ItemAnswer, ItemStatus};

/// Wait before the first new attempt of `hold`; it doubles with every attempt.
const FIRST_WAIT: Duration = Duration::from_millis(250);

/// Longest wait between attempts of `hold`.
const MAX_WAIT: Duration = Duration::from_secs(10);

/// A reward in a format that has no word for "not scored".
#[derive(Clone, Debug, PartialEq)]
pub struct ForcedReward {
    /// The reward, or the number that the user chose for replies without one.
    pub value: f64,
    /// Whether the number is the chosen one.
    pub is_chosen: bool,
    /// The answer to the item.
    pub answer: ItemAnswer,
}

/// A request in the format of another engine.
#[derive(Clone, Copy, Debug)]
pub struct FormatRequest<'a> {
    /// Path of the route, for metrics.
    pub route: &'static str,
    /// The library that the client pinned; `None` for the present one.
    pub pinned: Option<&'a str>,
    /// The id of the request.
    pub id: &'a RequestId,
    /// The longest time that the client waits, less what an answer takes.
    pub time: Duration,
}

/// Scores items, and does with those that have no reward what the server's options say.
///
/// # Errors
///
/// 503 with the reason, when an item has no reward and the user chose no number for it; 429 when the queue is full.
pub async fn force(
    state: &ServeState,
    items: Vec<IntakeItem>,
    request: FormatRequest<'_>,
) -> Result<Vec<ForcedReward>, HttpError> {
    let library = library_of(state, request.pinned)?;
    let answers = match state.options.on_failure {
        OnFailure::Hold => hold(state, &library, items, request).await?,
        OnFailure::Error | OnFailure::Value(_) => score(state, &library, items, request.time, request.id).await?,
    };
    let mut rewards = Vec::with_capacity(answers.len());
    for answer in answers {
        let (value, is_chosen) = match (answer.reward, state.options.on_failure) {
            (Some(reward), _) => (reward, false),
            (None, OnFailure::Value(chosen)) => (chosen, true),
            (None, OnFailure::Error | OnFailure::Hold) => return Err(not_scored(&answer)),
        };
        rewards.push(ForcedReward { value, is_chosen, answer });
    }
    let chosen = rewards.iter().filter(|reward| reward.is_chosen).count();
    if chosen > 0 {
        let route = labels(&[Label { name: "route", value: request.route }]);
        let help = "Answers whose number the user chose, because there was no reward.";
        state.metrics.count("rlar_chosen_values_total", help, route, chosen as f64);
    }
    Ok(rewards)
}

fn not_scored(answer: &ItemAnswer) -> HttpError {
    let why = answer.reason.as_deref().unwrap_or("no reason is known");
    let message = format!(
        "the reply was not scored ({}): {why}; `rlar serve --on-failure` says what such an answer should be instead of an error",
        answer.status.as_str()
    );
    HttpError::unavailable("not_scored", message)
}

/// Scores items, and those that failed again and again until the time is over. An abstention does not change, so it is not
/// tried again.
async fn hold(
    state: &ServeState,
    library: &Arc<ServedLibrary>,
    items: Vec<IntakeItem>,
    request: FormatRequest<'_>,
) -> Result<Vec<ItemAnswer>, HttpError> {
    let end = Instant::now() + request.time;
    let mut wait = FIRST_WAIT;
    let mut answers = score(state, library, items.clone(), request.time, request.id).await?;
    loop {
        let again: Vec<usize> = (0..answers.len())
            .filter(|i| matches!(items[*i], IntakeItem::Ready(_)))
            .filter(|i| matches!(answers[*i].status, ItemStatus::Failed | ItemStatus::Suspended))
            .collect();
        let left = end.saturating_duration_since(Instant::now());
        if again.is_empty() || left <= wait || state.is_draining() {
            return Ok(answers);
        }
        tokio::time::sleep(wait).await;
        wait = (2 * wait).min(MAX_WAIT);
        let retried = again.iter().map(|i| items[*i].clone()).collect();
        // An earlier answer stands when the queue is full.
        let Ok(scored) = score(state, library, retried, left, request.id).await else { continue };
        for (i, answer) in again.into_iter().zip(scored) {
            answers[i] = answer;
        }
    }
}
