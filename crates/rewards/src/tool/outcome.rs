//! The outcome of scoring one reply with one tool. A failure is never a number.
//!
//! The story of a failure, in the order in which it happens:
//!
//! 1. **Vocabulary.** An [`Outcome`] is a finite score in the tool's range, an abstention, or a [`Failure`]. An abstention
//!    depends on the example alone, never on the reply.
//! 2. **Classification.** `rlar_sandbox::Verdict` says how a call of a verifier ended (`sandbox/src/verdict.rs`), and
//!    `Tool::classify` in `scoring.rs` translates it: an exception, a limit, a crash, or a value that is not a score in the
//!    range. The other kinds of tools classify where they score: `judge.rs`, `reward_model.rs`, `code_tests.rs`.
//! 3. **Whose fault.** When a verifier that is admitted fails on a reply, `Tool::attribute_failures` in `scoring.rs` calls it
//!    again with the example's reference as the reply. If that gives a score, the reply caused the failure and gets the lowest
//!    score of the range; otherwise the failure is the tool's. A verifier that is being examined is always at fault itself.
//! 4. **Surfacing.** Only scores enter the cache, except those that step 3 or a limit decided; all calls are logged with the
//!    failure's text (`cache/cached_score.rs`, `cache/store.rs`). [`Scores::total`](crate::Scores::total) is `None` when any
//!    tool of the reply gave no score.
//! 5. **Baseline.** A reply without a total has no advantage and does not count in its group's mean and deviation
//!    (`grpo/src/algorithm/advantage.rs`).
//! 6. **Suspension.** `grpo/src/rollouts/tool_health.rs` counts failures per tool over recent steps. A tool that fails too often
//!    is suspended (`Orchestrator::suspend`), and its replies are scored by other tools (`grpo/src/rollouts/collect.rs`); when
//!    none is left, the run stops with the tool's name and its last failure.

use serde::{Deserialize, Serialize};

/// One score, or why there is none.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// A finite score in the range of the tool's card.
    Scored(f64),
    /// The tool does not apply to this example, whatever the reply. The text says why.
    Abstained(String),
    /// The tool failed.
    Failed(Failure),
}

/// How a tool failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Failure {
    /// It raised an exception; the text is the exception.
    Exception(String),
    /// It broke a limit of the sandbox; the text names the limit.
    Limit(String),
    /// It returned something that is not a score in its range; the text describes the value.
    Reply(String),
    /// Its process ended; the text says how.
    Crash(String),
    /// The language model that it asks gave no answer; the text says why.
    Unanswered(String),
    /// It was not called, because the time for scoring was over. This is no fault of the tool.
    Late,
}

impl Outcome {
    /// The score, if there is one.
    pub fn score(&self) -> Option<f64> {
        match self {
            Self::Scored(score) => Some(*score),
            Self::Abstained(_) | Self::Failed(_) => None,
        }
    }
}

impl std::fmt::Display for Failure {
    /// The predicate of a sentence about the tool: "raised `ValueError`".
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        match self {
            Self::Exception(what) => write!(f, "raised {what}"),
            Self::Limit(what) => write!(f, "broke a limit: {what}"),
            Self::Reply(what) => write!(f, "gave no score: {what}"),
            Self::Crash(what) => write!(f, "crashed: {what}"),
            Self::Unanswered(why) => write!(f, "got no answer: {why}"),
            Self::Late => f.write_str("was not called before the time for scoring was over"),
        }
    }
}
