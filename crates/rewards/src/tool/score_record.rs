//! The record of scoring one reply with one tool: the outcome, its reason, and what it cost.

use std::time::Instant;

use crate::Outcome;
use crate::tool::reason::Reason;

/// The outcome of scoring one reply, why it is so, and what it cost.
#[derive(Clone, Debug, PartialEq)]
pub struct ScoreRecord {
    /// The score, or why there is none.
    pub outcome: Outcome,
    /// Why the tool gave the score; for a reply without a score, what the tool's Python code printed. `None` if there
    /// is no such text.
    pub reason: Option<Reason>,
    /// Seconds that scoring took. A tool that scores many replies in one call gives each of them the mean.
    pub seconds: f64,
    /// Number of tokens of a language model that scoring used, in prompts and answers; 0 for tools that ask none.
    pub tokens: u64,
    /// Whether the score, if there is one, may be cached, because a second call would give the same. False when a limit
    /// of time or memory decided, or when the score stands for a failure that the reply caused. Without a score it has
    /// no effect: the cache only keeps scores.
    pub cacheable: bool,
    /// Whether the score came from the score cache, or from an equal reply in the same batch.
    pub cached: bool,
}

impl ScoreRecord {
    /// The record of an outcome without a reason that took no time and no tokens.
    pub(crate) fn free(outcome: Outcome) -> Self {
        Self { outcome, reason: None, seconds: 0.0, tokens: 0, cacheable: true, cached: false }
    }

    /// The record of a reply whose example lacks the reference that the tool needs.
    pub(crate) fn without_reference() -> Self {
        Self::free(Outcome::Abstained("the example has no reference".into()))
    }

    /// Turns the record of a failure that the reply caused into the record of a score: the lowest one, `lowest`. The
    /// failure, followed by what the tool printed, becomes the reason. The score is not cached. A record that is no
    /// failure stays as it is.
    pub(crate) fn blame_reply(&mut self, lowest: f64) {
        let Outcome::Failed(failure) = &self.outcome else { return };
        let printed = self.reason.as_ref().map_or("", Reason::as_str);
        self.reason = Reason::new(&format!("the reply made it fail: it {failure}\n{printed}"));
        self.outcome = Outcome::Scored(lowest);
        self.cacheable = false;
    }
}

/// Sets the seconds of records that were computed in one call since `start`: each gets the mean time.
pub fn with_mean_seconds(mut records: Vec<ScoreRecord>, start: Instant) -> Vec<ScoreRecord> {
    let seconds = start.elapsed().as_secs_f64() / records.len().max(1) as f64;
    for record in &mut records {
        record.seconds = seconds;
    }
    records
}
