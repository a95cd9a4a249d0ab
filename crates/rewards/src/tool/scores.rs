//! What the tools of an example said of a reply.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::Outcome;
use crate::tool::composite::Member;

/// The outcomes of one completion: tool, weight, outcome. Gates and vetoes have the weight 0, and what they ruled is in the
/// others' scores.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Scores(pub Vec<(Arc<str>, f64, Outcome)>);

impl Scores {
    /// The weighted sum, or `None` when any tool gave no score or none was asked.
    pub fn total(&self) -> Option<f64> {
        self.total_beside(&[])
    }

    /// The weighted sum without the terms of tools that every example has, or `None` when any tool gave no score or no other
    /// was asked: whether a reply is right does not depend on what it gets besides.
    pub fn total_beside(&self, always: &[Member]) -> Option<f64> {
        let counts = |name: &str| !always.iter().any(|m| m.tool == name);
        if !self.0.iter().any(|(name, _, _)| counts(name)) || self.0.iter().any(|(_, _, o)| o.score().is_none()) {
            return None;
        }
        let counted = self.0.iter().filter(|(name, _, _)| counts(name));
        counted.map(|(_, weight, outcome)| outcome.score().map(|s| s * weight)).sum()
    }
}
