//! The form into which every benchmark of rewards is read.

use std::collections::{BTreeMap, BTreeSet};

use crate::EvalError;
use crate::reward_bench_2::{self, TiesId};

/// How the scores of one item become its value, from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ItemKind {
    /// The label of the completion with the highest score; equal maxima share.
    BestOfN,
    /// 1 if every correct completion scores above every incorrect one, else 0. A tie counts as lost.
    Pairwise,
    /// Three correct and three incorrect completions in the same three styles, compared 3 × 3 (RM-Bench).
    StyleMatrix,
    /// Several equally correct completions. The benchmark's value is one of the whole category (Ties of RewardBench 2).
    Ties,
}

/// How categories are averaged into one score.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Average {
    /// The mean of the categories' scores, however many items each has.
    Categories,
    /// The mean over all items.
    Items,
}

/// A category's part in the score of a benchmark.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CategoryScore {
    /// The category's score.
    pub score: f64,
    /// The sum of its items' values.
    pub sum: f64,
    /// Number of its items.
    pub count: usize,
}

impl CategoryScore {
    /// A score that is the mean of `count` values with this sum.
    pub fn mean(sum: f64, count: usize) -> Self {
        Self { score: sum / count.max(1) as f64, sum, count }
    }

    /// A score of `count` items that is not a mean of values.
    pub fn whole(score: f64, count: usize) -> Self {
        Self { score, sum: score * count as f64, count }
    }
}

impl Average {
    /// The score of categories together; those without items are left out. 0 where no category has any.
    pub fn of(self, categories: impl Iterator<Item = CategoryScore>) -> f64 {
        let categories = categories.filter(|c| c.count > 0);
        match self {
            Self::Categories => reward_bench_2::overall_score(categories.map(|c| c.score)),
            Self::Items => {
                let (sum, count) = categories.fold((0.0, 0), |(sum, count), c| (sum + c.sum, count + c.count));
                sum / count.max(1) as f64
            }
        }
    }
}

/// A prompt and the completions to score.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// Unique within the category.
    pub id: String,
    /// Subset, domain or source.
    pub category: String,
    /// The prompt.
    pub prompt: String,
    /// At least two; for [`ItemKind::StyleMatrix`] three correct ones, then three incorrect ones.
    pub completions: Vec<String>,
    /// How good each completion is, from 0 (incorrect) to 1 (correct); `None` where it is not labelled.
    pub labels: Vec<Option<f64>>,
    /// How scores become a value.
    pub kind: ItemKind,
}

impl Item {
    /// Whether a completion's label is above one half.
    pub fn is_correct(&self, completion: usize) -> bool {
        self.labels.get(completion).is_some_and(|l| l.is_some_and(|l| l > 0.5))
    }

    /// Number of correct completions.
    pub fn num_correct(&self) -> usize {
        (0..self.labels.len()).filter(|c| self.is_correct(*c)).count()
    }

    /// What [`Benchmark::limit`] counts: the prompt number of Ties, whose two rows belong together, else the id.
    fn limit_key(&self) -> &str {
        let ties = TiesId::parse(&self.id).filter(|_| self.kind == ItemKind::Ties);
        ties.map_or(&self.id, |id| id.prompt)
    }
}

/// A benchmark of rewards.
#[derive(Clone, Debug, PartialEq)]
pub struct Benchmark {
    /// Its name in tables.
    pub name: String,
    /// The items in the order of the files.
    pub items: Vec<Item>,
    /// How categories are averaged.
    pub average: Average,
    /// The categories of the whole benchmark, in the order of its published tables; empty where any category may occur.
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

    /// The benchmark with only the items for which `keep` is true.
    pub fn select(&self, keep: impl Fn(&Item) -> bool) -> Self {
        let items = self.items.iter().filter(|i| keep(i)).cloned().collect();
        Self { name: self.name.clone(), items, average: self.average, expected: self.expected }
    }

    /// The benchmark with only the first `limit` prompts of each category. Both rows of a prompt of Ties are kept.
    pub fn limit(&self, limit: usize) -> Self {
        let mut taken: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        let mut items = Vec::new();
        for item in &self.items {
            let key = item.limit_key();
            let taken = taken.entry(&item.category).or_default();
            if taken.len() < limit {
                taken.insert(key);
            }
            if taken.contains(key) {
                items.push(item.clone());
            }
        }
        Self { name: self.name.clone(), items, average: self.average, expected: self.expected }
    }

    /// Each category with the indices of its items: first the expected categories in their order, then the others by name.
    pub fn categories(&self) -> Vec<(&str, Vec<usize>)> {
        let mut by_name: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (i, item) in self.items.iter().enumerate() {
            by_name.entry(&item.category).or_default().push(i);
        }
        let mut ordered = Vec::new();
        for name in self.expected {
            ordered.extend(by_name.remove_entry(*name));
        }
        ordered.extend(by_name);
        ordered
    }

    /// Expected categories that have no item here.
    pub fn missing(&self) -> Vec<&'static str> {
        let is_absent = |name: &&&str| !self.items.iter().any(|i| i.category == **name);
        self.expected.iter().filter(is_absent).copied().collect()
    }

    /// The score of a reward that always picks the best-labelled completion: the mean of each item's highest label.
    pub fn ceiling(&self) -> f64 {
        let best = |i: &Item| i.labels.iter().flatten().copied().fold(0.0, f64::max);
        self.items.iter().map(best).sum::<f64>() / self.items.len().max(1) as f64
    }
}
