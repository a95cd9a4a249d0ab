//! The one form that every benchmark of rewards takes.

use std::collections::{BTreeMap, BTreeSet};

use crate::EvalError;
use crate::ties::parse_id;

/// How the scores of one item become a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The completion with the highest score is picked and its label counts; equal maxima share.
    Pick,
    /// 1 if every right completion scores above every wrong one, else 0: a tie is lost.
    Beat,
    /// Right and wrong completions in the same three styles, compared 3 × 3 (RM-Bench).
    Styles,
    /// Several equally right completions; the number belongs to the whole category (RewardBench 2, Ties).
    Ties,
}

/// How items become one figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Average {
    /// The mean of the categories' figures, however many items each has.
    Categories,
    /// The mean over all items.
    Items,
}

/// A prompt and the completions to score.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// Unique within its category.
    pub id: String,
    /// Subset, domain or source.
    pub category: String,
    /// The prompt.
    pub prompt: String,
    /// At least two; for [`Kind::Styles`] three right ones, then three wrong ones.
    pub completions: Vec<String>,
    /// How good each completion is, from 0 (wrong) to 1 (right); `None` where nobody judged it.
    pub labels: Vec<Option<f64>>,
    /// How scores become a number.
    pub kind: Kind,
}

impl Item {
    /// Whether a completion is a right one.
    pub fn is_right(&self, completion: usize) -> bool {
        self.labels.get(completion).is_some_and(|l| l.is_some_and(|l| l > 0.5))
    }

    /// Number of right completions.
    pub fn right(&self) -> usize {
        (0..self.labels.len()).filter(|c| self.is_right(*c)).count()
    }
}

/// Items and how they add up.
#[derive(Clone, Debug, PartialEq)]
pub struct Benchmark {
    /// What tables call it.
    pub name: String,
    /// In the order of the files.
    pub items: Vec<Item>,
    /// How categories or items add up.
    pub average: Average,
    /// The categories of the whole benchmark, in the order of its tables; empty where anything goes.
    pub expected: &'static [&'static str],
}

impl Benchmark {
    /// Puts the files of one benchmark together. An id may occur once per category.
    pub fn join(parts: impl IntoIterator<Item = Self>) -> Result<Self, EvalError> {
        let mut parts = parts.into_iter();
        let Some(mut whole) = parts.next() else {
            return Err(EvalError::Mismatch("no benchmark file is given; name at least one".into()));
        };
        for part in parts {
            if part.name != whole.name {
                let message = format!("files of {} and of {} cannot be one benchmark", whole.name, part.name);
                return Err(EvalError::Mismatch(message));
            }
            whole.items.extend(part.items);
        }
        let mut seen = BTreeSet::new();
        for item in &whole.items {
            if !seen.insert((&item.category, &item.id)) {
                let message = format!("{}: id `{}` occurs twice in `{}`", whole.name, item.id, item.category);
                return Err(EvalError::Mismatch(message));
            }
        }
        Ok(whole)
    }

    /// The items that a condition keeps.
    pub fn select(&self, keep: impl Fn(&Item) -> bool) -> Self {
        let items = self.items.iter().filter(|i| keep(i)).cloned().collect();
        Self { name: self.name.clone(), items, average: self.average, expected: self.expected }
    }

    /// The first `limit` prompts of each category; both rows of a prompt of Ties are kept together.
    pub fn limit(&self, limit: usize) -> Self {
        let mut taken: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        let mut items = Vec::new();
        for item in &self.items {
            let of_ties = parse_id(&item.id).filter(|_| item.kind == Kind::Ties);
            let prompt = of_ties.map_or(item.id.as_str(), |(_, prompt)| prompt);
            let taken = taken.entry(&item.category).or_default();
            if taken.len() < limit {
                taken.insert(prompt);
            }
            if taken.contains(prompt) {
                items.push(item.clone());
            }
        }
        Self { name: self.name.clone(), items, average: self.average, expected: self.expected }
    }

    /// Categories with their items' positions: first those of the benchmark's own table, then the others by
    /// name.
    pub fn categories(&self) -> Vec<(&str, Vec<usize>)> {
        let mut found: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (i, item) in self.items.iter().enumerate() {
            found.entry(&item.category).or_default().push(i);
        }
        let mut ordered = Vec::new();
        for name in self.expected {
            ordered.extend(found.remove_entry(*name));
        }
        ordered.extend(found);
        ordered
    }

    /// Categories of the whole benchmark that have no item here.
    pub fn missing(&self) -> Vec<&'static str> {
        let absent = |name: &&&str| !self.items.iter().any(|i| i.category == **name);
        self.expected.iter().filter(absent).copied().collect()
    }

    /// The figure of a perfect picker: the mean of each item's best label.
    pub fn ceiling(&self) -> f64 {
        let best = |i: &Item| i.labels.iter().flatten().copied().fold(0.0, f64::max);
        self.items.iter().map(best).sum::<f64>() / self.items.len().max(1) as f64
    }
}
