//! Retries: how many tries, how long to wait between them, and the deadline for all of them.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};

/// The longest pause before the second try; the bound doubles with every further try.
const FIRST_PAUSE: Duration = Duration::from_millis(500);

/// The longest pause before any try, unless a server asks for a longer one.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// The limits of one request with its retries.
pub(crate) struct RetryPolicy {
    /// The most tries; zero counts as one.
    pub tries: u32,
    /// Time for all tries and the pauses between them.
    pub deadline: Duration,
    /// Time for one try.
    pub per_try: Duration,
}

/// Why one try failed.
pub(crate) enum AttemptError<E> {
    /// Another try would fail in the same way.
    Fatal(E),
    /// Another try may succeed.
    Retry {
        /// The cause.
        message: String,
        /// The shortest pause before the next try, if the server named one (`Retry-After`).
        after: Option<Duration>,
    },
}

impl<E> AttemptError<E> {
    /// A failure after which the server named no pause.
    pub fn retry(message: String) -> Self {
        Self::Retry { message, after: None }
    }
}

/// Why a request failed, after its retries.
pub(crate) enum RetryError<E> {
    /// A try failed with an error that no retry can help.
    Fatal(E),
    /// Every try failed: the last cause and the number of tries.
    Exhausted(String),
    /// The deadline passed, or would pass before the next try: the cause and the number of tries.
    Deadline(String),
}

impl RetryError<String> {
    /// The message, whichever the case.
    pub fn into_message(self) -> String {
        match self {
            Self::Fatal(message) | Self::Exhausted(message) | Self::Deadline(message) => message,
        }
    }
}

/// Repeats `attempt` until it succeeds, fails for good, or the tries or the time are used up. `attempt` receives the
/// number of the try, from 1; its future is dropped when the time for one try is over.
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
        // The random part keeps clients that were given the same `Retry-After` from coming back together.
        let after = after.unwrap_or_default();
        tokio::time::sleep(after + pause.min(left.saturating_sub(after) / 2)).await;
        previous = Some(message);
        number += 1;
    }
}

/// The message for a deadline that passed during a try.
fn deadline_message(policy: &RetryPolicy, number: u32, previous: Option<&str>) -> String {
    let before = previous.map(|cause| format!("; before that: {cause}")).unwrap_or_default();
    format!("no complete answer within {} ({}{before})", seconds(policy.deadline), tried(number))
}

/// The number of tries in words: `tried once`, `tried 3 times`.
pub(crate) fn tried(number: u32) -> String {
    if number == 1 { "tried once".into() } else { format!("tried {number} times") }
}

/// A duration in seconds, rounded to a millisecond.
fn seconds(time: Duration) -> String {
    format!("{} s", (time.as_secs_f64() * 1000.0).round() / 1000.0)
}

/// A random pause after try number `number`, uniform below a bound that doubles with every try. The randomness keeps
/// clients that failed together from coming back together.
fn random_pause(number: u32) -> Duration {
    let bound = FIRST_PAUSE.saturating_mul(2u32.saturating_pow(number - 1)).min(LONGEST_PAUSE);
    // The standard library's hash keys are random, so no generator is needed.
    let random = RandomState::new().build_hasher().finish() >> 11;
    bound.mul_f64(random as f64 / (1u64 << 53) as f64)
}

/// The pause that a `Retry-After` header asks for, in seconds or as a date; a date in the past is no pause. `None` if
/// the header is neither.
pub(crate) fn retry_after(header: &str) -> Option<Duration> {
    let header = header.trim();
    if let Ok(seconds) = header.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = DateTime::parse_from_rfc2822(header).ok()?;
    Some((date.with_timezone(&Utc) - Utc::now()).to_std().unwrap_or_default())
}
