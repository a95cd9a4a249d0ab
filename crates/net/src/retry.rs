//! Retries of requests: how often to try, how long to wait between tries, and a deadline for all tries together.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};

/// Upper bound of the random pause before the second try; the bound doubles with every further try.
const FIRST_PAUSE: Duration = Duration::from_millis(500);

/// Largest upper bound of the random pause before a try. A server may ask for a longer pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// The limits of one request together with its retries.
pub(crate) struct RetryPolicy {
    /// Maximum number of tries; zero counts as one.
    pub tries: u32,
    /// Maximum time for all tries together with the pauses between them.
    pub deadline: Duration,
    /// Maximum time for one try.
    pub per_try: Duration,
}

/// Why one try of a request failed, and whether another try makes sense.
pub(crate) enum AttemptError<E> {
    /// A failure after which another try would fail in the same way.
    Fatal(E),
    /// A failure after which another try may succeed.
    Retry {
        /// What went wrong.
        message: String,
        /// The minimum pause before the next try, if the server named one (`Retry-After`); `None` otherwise.
        after: Option<Duration>,
    },
}

impl<E> AttemptError<E> {
    /// A failure after which another try may succeed, and for which the server named no pause.
    pub fn retry(message: String) -> Self {
        Self::Retry { message, after: None }
    }
}

/// Why a request failed in the end, with all its retries.
pub(crate) enum RetryError<E> {
    /// A try failed in such a way that a further one would fail too.
    Fatal(E),
    /// Every try failed. The text says what went wrong in the last try, with the number of tries.
    Exhausted(String),
    /// The deadline passed, or would pass before the next try. The text says what went wrong last, with the number of
    /// tries.
    Deadline(String),
}

impl RetryError<String> {
    /// The text of the error, whatever its variant.
    pub fn into_message(self) -> String {
        match self {
            Self::Fatal(message) | Self::Exhausted(message) | Self::Deadline(message) => message,
        }
    }
}

/// Calls `attempt` until it succeeds, gives a fatal error, or the tries or the time are used up. `attempt` receives the
/// number of the try, from 1. Its future is dropped when the time for one try is over.
pub(crate) async fn with_retries<T, E>(
    policy: &RetryPolicy,
    mut attempt: impl AsyncFnMut(u32) -> Result<T, AttemptError<E>>,
) -> Result<T, RetryError<E>> {
    let began = Instant::now();
    let time_left = || policy.deadline.saturating_sub(began.elapsed());
    let mut previous: Option<String> = None;
    let mut number = 1;
    loop {
        let limit = policy.per_try.min(time_left());
        let (message, after) = match tokio::time::timeout(limit, attempt(number)).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(AttemptError::Fatal(error))) => return Err(RetryError::Fatal(error)),
            Ok(Err(AttemptError::Retry { message, after })) => (message, after),
            Err(_) if time_left().is_zero() => {
                return Err(RetryError::Deadline(deadline_message(policy, number, previous.as_deref())));
            }
            Err(_) => (format!("no complete answer within {}", seconds(limit)), None),
        };
        if number >= policy.tries {
            return Err(RetryError::Exhausted(format!("{message} ({})", tried(number))));
        }
        let (pause, left) = (random_pause(number), time_left());
        if let Some(after) = after.filter(|after| *after >= left) {
            let (after, deadline) = (seconds(after), seconds(policy.deadline));
            let why = format!("the server asks to wait {after}, which is past the deadline of {deadline}");
            return Err(RetryError::Deadline(format!("{message}; {why} ({})", tried(number))));
        }
        // The random pause is added to `Retry-After`, so that clients that were given the same time do not come back
        // together.
        let after = after.unwrap_or_default();
        tokio::time::sleep(after + pause.min(left.saturating_sub(after) / 2)).await;
        previous = Some(message);
        number += 1;
    }
}

/// The message for a deadline that passed during try number `number`. `previous` is the failure of the try before.
fn deadline_message(policy: &RetryPolicy, number: u32, previous: Option<&str>) -> String {
    let before = previous.map(|cause| format!("; before that: {cause}")).unwrap_or_default();
    format!("no complete answer within {} ({}{before})", seconds(policy.deadline), tried(number))
}

/// The number of tries in words: `tried once` or `tried 3 times`.
pub(crate) fn tried(number: u32) -> String {
    if number == 1 { "tried once".into() } else { format!("tried {number} times") }
}

/// A duration as a text in seconds, rounded to a millisecond.
pub(crate) fn seconds(time: Duration) -> String {
    format!("{} s", (time.as_secs_f64() * 1000.0).round() / 1000.0)
}

/// A random pause after try number `number`, uniform between 0 and a bound that doubles with every try. The randomness
/// keeps clients that failed at the same time from coming back at the same time.
fn random_pause(number: u32) -> Duration {
    let bound = FIRST_PAUSE.saturating_mul(2u32.saturating_pow(number - 1)).min(LONGEST_PAUSE);
    // The standard library's hash keys are random, so that no random number generator is needed.
    let random = RandomState::new().build_hasher().finish() >> 11;
    bound.mul_f64(random as f64 / (1u64 << 53) as f64)
}

/// The pause that a `Retry-After` header asks for, as seconds or as a date. A date in the past gives no pause. `None`
/// if the header is neither a number nor a date.
pub(crate) fn retry_after(header: &str) -> Option<Duration> {
    let header = header.trim();
    if let Ok(seconds) = header.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = DateTime::parse_from_rfc2822(header).ok()?;
    Some((date.with_timezone(&Utc) - Utc::now()).to_std().unwrap_or_default())
}
