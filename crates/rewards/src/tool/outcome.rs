//! What a tool says of a reply. A failure is never a number.

use serde::{Deserialize, Serialize};

/// One score, or why there is none.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// A finite score inside the card's range.
    Scored(f64),
    /// The tool does not apply to this example, whatever the reply.
    Abstained(String),
    /// The tool broke.
    Failed(Failure),
}

/// How a tool broke.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Failure {
    /// It raised an exception.
    Exception(String),
    /// It broke a limit of the sandbox.
    Limit(String),
    /// It answered with something that is not a score in its range.
    Reply(String),
    /// Its process ended.
    Crash(String),
    /// The language model that it asks gave no answer.
    Unanswered(String),
    /// It was not asked: the time for scoring was over. The tool itself did not fail.
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
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        match self {
            Self::Exception(what) => write!(f, "raised {what}"),
            Self::Limit(what) => write!(f, "broke a limit: {what}"),
            Self::Reply(what) => write!(f, "gave no score: {what}"),
            Self::Crash(what) => write!(f, "crashed: {what}"),
            Self::Unanswered(why) => write!(f, "got no answer: {why}"),
            Self::Late => f.write_str("was not asked before the time for scoring was over"),
        }
    }
}
