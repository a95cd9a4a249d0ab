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
    /// The score of a builtin that compares the answer found in a reply, `None` if there is none, with the wanted one: 1 if
    /// the answer is right, else 0.
    pub fn compared(is_right: bool, found: Option<&str>, wanted: &str) -> Self {
        Self { score: yes(is_right), reason: Reason::compared(found, wanted) }
    }
}
