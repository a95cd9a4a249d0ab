//! A builtin's score with the reason for it.

use super::yes;
use crate::tool::reason::Reason;

/// A builtin's score, and why the builtin gave it.
#[derive(Clone, Debug, PartialEq)]
pub struct ExplainedScore {
    /// The score of the reply.
    pub score: f64,
    /// Why the builtin gave the score; `None` if it says nothing.
    pub reason: Option<Reason>,
}

impl ExplainedScore {
    /// The score of a builtin that compares answers: 1 if `is_right`, else 0. The reason quotes `found`, the answer in
    /// the reply (`None` if there is none), and `wanted`, the right answer.
    pub fn compared(is_right: bool, found: Option<&str>, wanted: &str) -> Self {
        Self { score: yes(is_right), reason: Reason::compared(found, wanted) }
    }
}
