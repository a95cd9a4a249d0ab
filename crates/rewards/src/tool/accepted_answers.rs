//! Scores replies against every accepted answer of an example, where a row of the data lists several: the best score
//! counts.

use rlar_data::{Completion, Example};

use crate::tool::score_record::ScoreRecord;

/// Examples with one reference each, in place of examples with several accepted answers.
pub struct AcceptedAnswers<'i> {
    /// For each item, its example once per accepted answer.
    examples: Vec<Vec<Example>>,
    items: &'i [(&'i Example, &'i Completion)],
}

impl<'i> AcceptedAnswers<'i> {
    /// The examples of the items with one accepted answer each; `None` if no item has several.
    pub fn of(items: &'i [(&'i Example, &'i Completion)]) -> Option<Self> {
        if items.iter().all(|(example, _)| example.further_references.is_empty()) {
            return None;
        }
        let one = |example: &Example, reference: &str| Example {
            reference: Some(reference.to_owned()),
            further_references: Vec::new(),
            ..example.clone()
        };
        let examples = items.iter().map(|(e, _)| e.references().map(|reference| one(e, reference)).collect());
        Some(Self { examples: examples.collect(), items })
    }

    /// One item per example and accepted answer.
    pub fn items(&self) -> Vec<(&Example, &Completion)> {
        let mut items = Vec::new();
        for (examples, (_, completion)) in self.examples.iter().zip(self.items) {
            items.extend(examples.iter().map(|example| (example, *completion)));
        }
        items
    }

    /// The best record of each item, from the records of [`Self::items`]. Its cost is that of all of them. `None` for
    /// an item without a reference.
    pub fn best(&self, records: Vec<ScoreRecord>) -> Vec<Option<ScoreRecord>> {
        let mut records = records.into_iter();
        self.examples.iter().map(|examples| records.by_ref().take(examples.len()).reduce(better)).collect()
    }
}

/// The record with the higher score, at the cost of both. A record without a score comes last.
fn better(one: ScoreRecord, other: ScoreRecord) -> ScoreRecord {
    let seconds = one.seconds + other.seconds;
    let tokens = one.tokens + other.tokens;
    let cacheable = one.cacheable && other.cacheable;
    let is_better = other.outcome.score().is_some_and(|score| one.outcome.score().is_none_or(|best| score > best));
    ScoreRecord { seconds, tokens, cacheable, ..if is_better { other } else { one } }
}
