//! Scores replies against every accepted answer of an example, where a row of the data lists several: the best score
//! counts.

use rlar_data::{Completion, Example};

use crate::tool::score_record::ScoreRecord;

/// Copies of examples with several accepted answers: each copy has one of the answers as its only reference.
pub struct AcceptedAnswers<'i> {
    /// For each item (an example with a reply), one copy of the example per accepted answer.
    examples: Vec<Vec<Example>>,
    items: &'i [(&'i Example, &'i Completion)],
}

impl<'i> AcceptedAnswers<'i> {
    /// Makes one copy of each item's example per accepted answer; `None` if no example has several accepted answers.
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

    /// The items to score: the reply of every original item with each copy of its example, one after the other.
    pub fn items(&self) -> Vec<(&Example, &Completion)> {
        let mut items = Vec::new();
        for (examples, (_, completion)) in self.examples.iter().zip(self.items) {
            items.extend(examples.iter().map(|example| (example, *completion)));
        }
        items
    }

    /// The best record of each original item. `records` are those of [`Self::items`], in that order. Seconds and tokens
    /// are added up over all accepted answers. `None` for an item whose example has no reference.
    pub fn best(&self, records: Vec<ScoreRecord>) -> Vec<Option<ScoreRecord>> {
        let mut records = records.into_iter();
        self.examples.iter().map(|examples| records.by_ref().take(examples.len()).reduce(better)).collect()
    }
}

/// Of two records, the one with the higher score, with the seconds and tokens of both added up. A record without a
/// score is worse than any score.
fn better(one: ScoreRecord, other: ScoreRecord) -> ScoreRecord {
    let seconds = one.seconds + other.seconds;
    let tokens = one.tokens + other.tokens;
    let cacheable = one.cacheable && other.cacheable;
    let is_better = other.outcome.score().is_some_and(|score| one.outcome.score().is_none_or(|best| score > best));
    ScoreRecord { seconds, tokens, cacheable, ..if is_better { other } else { one } }
}
