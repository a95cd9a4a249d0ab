//! The outcome of scoring one reply with one tool. A failure is never a number.
//!
//! What happens when a tool fails, in order:
//!
//! 1. **Vocabulary.** An [`Outcome`] is a finite score in the tool's range, an abstention (the tool does not apply), or
//!    a [`Failure`]. An abstention depends on the example alone, never on the reply.
//! 2. **Classification.** `rlar_sandbox::Verdict` says how a call of a verifier (a Python function) ended
//!    (`sandbox/src/verdict.rs`), and `Tool::classify` in `scoring.rs` translates it: an exception, a limit, a crash,
//!    or a value that is not a score in the range. Tools of other kinds decide on the outcome in the file that scores:
//!    `judge.rs`, `reward_model.rs`, `code_tests.rs`.
//! 3. **Whose fault.** When an admitted verifier (one that passed the admission checks) fails on a reply,
//!    `Tool::attribute_failures` in `scoring.rs` calls it again with the example's reference as the reply. If that
//!    gives a score, the reply caused the failure and gets the lowest score of the range; otherwise the failure is the
//!    verifier's. While a verifier is in its admission checks, every failure is its own.
//! 4. **Cache and log.** Scores are cached, but not those that step 3 or a limit decided. All calls are logged, those
//!    that failed with the text of the failure (`cache/cached_score.rs`, `cache/store.rs`).
//!    [`Scores::total`](crate::Scores::total) is `None` when any tool of the reply gave no score.
//! 5. **Baseline.** A reply without a total has no advantage, and does not count in the mean and deviation of its group
//!    (`grpo/src/algorithm/advantage.rs`).
//! 6. **Suspension.** `grpo/src/rollouts/tool_health.rs` counts the failures of each tool over recent steps. A tool
//!    that fails too often is suspended (`Orchestrator::suspend`), and the replies that it would score are scored by
//!    other tools (`grpo/src/rollouts/collect.rs`). When no other tool is left, the run stops with the tool's name and
//!    its last failure.

use serde::{Deserialize, Serialize};

/// The result of scoring one reply with one tool: a score, or why there is none.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The score of the reply: finite, and in the range of the tool's card.
    Scored(f64),
    /// The tool gives no score because it does not apply to this example, whatever the reply. The text says why.
    Abstained(String),
    /// The tool gives no score because it failed on this reply.
    Failed(Failure),
}

/// How a tool failed to score a reply.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Failure {
    /// The tool raised an exception or reported an error; the text is the message.
    Exception(String),
    /// The tool broke a limit of the sandbox, such as time or memory; the text names the limit.
    Limit(String),
    /// The tool returned something that is not a score in its range; the text describes the value.
    Reply(String),
    /// The tool's process ended before it gave a score; the text says how.
    Crash(String),
    /// The language model that the tool asks gave no answer; the text says why.
    Unanswered(String),
    /// The tool was not called, because the time for scoring was over. This is no fault of the tool.
    Late,
}

impl Outcome {
    /// The score; `None` for an abstention or a failure.
    pub fn score(&self) -> Option<f64> {
        match self {
            Self::Scored(score) => Some(*score),
            Self::Abstained(_) | Self::Failed(_) => None,
        }
    }
}

impl std::fmt::Display for Failure {
    /// Writes the failure as the predicate of a sentence about the tool: "raised `ValueError`".
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
