//! What the tools of an example said of a reply.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::Outcome;

/// The outcomes of one completion: tool, weight, outcome. Gates and vetoes have the weight 0, and what they ruled is in the
/// others' scores.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Scores(pub Vec<(Arc<str>, f64, Outcome)>);

impl Scores {
    /// The weighted sum, or `None` when any tool gave no score or none was asked.
    pub fn total(&self) -> Option<f64> {
        if self.0.is_empty() {
            return None;
        }
        self.0.iter().map(|(_, weight, outcome)| outcome.score().map(|s| s * weight)).sum()
    }
}
