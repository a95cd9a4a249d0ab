//! Trying again: how often, after which pause, and for how long in all.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};

/// The longest pause before the second try; it doubles from try to try.
const FIRST: Duration = Duration::from_millis(500);

/// The longest pause of all, unless a server asks for a longer one.
const MOST: Duration = Duration::from_secs(30);

/// Bounds of one request with its retries.
pub(crate) struct Plan {
    /// Tries at most; zero counts as one.
    pub tries: u32,
    /// Time for all tries and the pauses between them.
    pub deadline: Duration,
    /// Time for one try.
    pub each: Duration,
}

/// Why one try failed.
pub(crate) enum Failure<E> {
    /// Another try would end the same way.
    Final(E),
    /// Another try may help, after at least this pause if the server asked for one.
    Again(String, Option<Duration>),
}

/// Why a request failed.
pub(crate) enum Ended<E> {
    /// A try failed for good.
    Final(E),
    /// Every try failed; what happened last, and how many tries there were.
    Tries(String),
    /// The deadline passed or would pass before the next try; what happened, and how many tries there were.
    Deadline(String),
}

/// Tries until an answer, a final failure, the last try or the deadline. `attempt` gets the number of its try,
/// from 1; it is dropped where its time ends.
pub(crate) async fn persist<T, E>(
    plan: &Plan,
    mut attempt: impl AsyncFnMut(u32) -> Result<T, Failure<E>>,
) -> Result<T, Ended<E>> {
    let began = Instant::now();
    let left = || plan.deadline.saturating_sub(began.elapsed());
    let late = |number: u32, seen: Option<&str>| {
        let before = seen.map(|s| format!("; before that: {s}")).unwrap_or_default();
        let message = format!("no complete answer within {} ({}{before})", seconds(plan.deadline), tried(number));
        Err(Ended::Deadline(message))
    };
    let mut seen: Option<String> = None;
    let mut number = 1;
    loop {
        let limit = plan.each.min(left());
        let (message, asked) = match tokio::time::timeout(limit, attempt(number)).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(Failure::Final(error))) => return Err(Ended::Final(error)),
            Ok(Err(Failure::Again(message, asked))) => (message, asked),
            Err(_) if left().is_zero() => return late(number, seen.as_deref()),
            Err(_) => (format!("no complete answer within {}", seconds(limit)), None),
        };
        if number >= plan.tries {
            return Err(Ended::Tries(format!("{message} ({})", tried(number))));
        }
        let (pause, left) = (pause(number), left());
        match asked {
            Some(asked) if asked >= left => {
                let (asked, deadline) = (seconds(asked), seconds(plan.deadline));
                let why = format!("the server asks to wait {asked}, which is past the deadline of {deadline}");
                return Err(Ended::Deadline(format!("{message}; {why} ({})", tried(number))));
            }
            asked => {
                // Without the extra, everybody who was told the same time would come back together.
                let asked = asked.unwrap_or_default();
                tokio::time::sleep(asked + pause.min(left.saturating_sub(asked) / 2)).await;
            }
        }
        seen = Some(message);
        number += 1;
    }
}

/// How often was tried, for people.
pub(crate) fn tried(number: u32) -> String {
    if number == 1 { "tried once".into() } else { format!("tried {number} times") }
}

/// A time for people, to a millisecond.
fn seconds(time: Duration) -> String {
    format!("{} s", (time.as_secs_f64() * 1000.0).round() / 1000.0)
}

/// A random pause after so many tries: anything from nothing to a bound that doubles, so that those who failed
/// together do not come back together.
fn pause(tries: u32) -> Duration {
    let bound = FIRST.saturating_mul(2u32.saturating_pow(tries - 1)).min(MOST);
    // The standard library's hash keys are random: no generator is needed for this.
    let random = RandomState::new().build_hasher().finish() >> 11;
    bound.mul_f64(random as f64 / (1u64 << 53) as f64)
}

/// What a `Retry-After` header asks for: seconds, or a date (a past one asks for nothing). Anything else is `None`.
pub(crate) fn retry_after(header: &str) -> Option<Duration> {
    let header = header.trim();
    if let Ok(seconds) = header.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = DateTime::parse_from_rfc2822(header).ok()?;
    Some((date.with_timezone(&Utc) - Utc::now()).to_std().unwrap_or_default())
}
