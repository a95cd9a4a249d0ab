//! The form into which every benchmark of reward tools is read: prompts with labelled completions.

use std::collections::{BTreeMap, BTreeSet};

use crate::EvalError;
use crate::reward_bench_2::{self, TiesId};

/// The rule that turns a tool's scores of one item's completions into a value from 0 to 1, such as whether the tool
/// prefers the correct completion. [`crate::item_metric::item_value`] computes the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ItemKind {
    /// The value is the label of the completion with the highest score. Where several completions have the highest
    /// score, it is the mean of their labels.
    BestOfN,
    /// The value is 1 if every correct completion has a higher score than every incorrect one, else 0. Equal scores
    /// give 0.
    Pairwise,
    /// The item has three correct and three incorrect completions, one of each for each of three styles. The value is
    /// the share of the 3 × 3 comparisons in which the correct completion has the higher score (RM-Bench).
    StyleMatrix,
    /// The item has several equally correct completions. Only the category as a whole has a score, which is computed
    /// from margins too and is not the mean of its items' values (the subset Ties of RewardBench 2).
    Ties,
}

/// How a benchmark's overall score is averaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Average {
    /// The overall score is the mean of the categories' scores, which count equally however many items each has.
    Categories,
    /// The overall score is the mean over all items, so that large categories count more.
    Items,
}

/// The score of one category, with the sum and the count from which the benchmark's overall score is computed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CategoryScore {
    /// The category's score: a share from 0 to 1, for Ties from -0.01 to 1.01.
    pub score: f64,
    /// The sum of the values of the category's items. Where the score is not a mean, the score times `count`.
    pub sum: f64,
    /// Number of the category's items that have a value; for Ties, the number of its prompts.
    pub count: usize,
}

impl CategoryScore {
    /// The score of a category whose score is the mean of its items' values: `sum` is the sum of `count` values.
    pub fn mean(sum: f64, count: usize) -> Self {
        Self { score: sum / count.max(1) as f64, sum, count }
    }

    /// The score of a category of `count` items whose score is not the mean of their values, such as Ties.
    pub fn whole(score: f64, count: usize) -> Self {
        Self { score, sum: score * count as f64, count }
    }
}

impl Average {
    /// The overall score of categories. Categories without items are left out; 0 where no category has items.
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

/// A prompt and the completions that a reward tool has to score.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// The item's id, which is unique within the category.
    pub id: String,
    /// The group in which the item's result is reported: a subset, domain or source of the benchmark.
    pub category: String,
    /// The benchmark that the item was taken from, in a collection of several; `None` where the rows do not say it.
    pub benchmark: Option<String>,
    /// The prompt, as text.
    pub prompt: String,
    /// The replies to score, at least two. For [`ItemKind::StyleMatrix`] three correct ones, then three incorrect ones.
    pub completions: Vec<String>,
    /// How good each completion is according to the benchmark, from 0 (incorrect) to 1 (correct); `None` for a
    /// completion that the benchmark does not rate.
    pub labels: Vec<Option<f64>>,
    /// The rule that turns a tool's scores of these completions into a value.
    pub kind: ItemKind,
}

impl Item {
    /// Whether the completion with this index is correct: its label is above one half.
    pub fn is_correct(&self, completion: usize) -> bool {
        self.labels.get(completion).is_some_and(|l| l.is_some_and(|l| l > 0.5))
    }

    /// Number of correct completions.
    pub fn num_correct(&self) -> usize {
        (0..self.labels.len()).filter(|c| self.is_correct(*c)).count()
    }

    /// The key of the prompt, by which [`Benchmark::limit`] counts: for Ties the prompt's number, because a prompt has
    /// two items there; otherwise the item's id.
    fn limit_key(&self) -> &str {
        let ties = TiesId::parse(&self.id).filter(|_| self.kind == ItemKind::Ties);
        ties.map_or(&self.id, |id| id.prompt)
    }
}

/// A benchmark of reward tools: prompts with labelled completions.
#[derive(Clone, Debug, PartialEq)]
pub struct Benchmark {
    /// The benchmark's name in tables.
    pub name: String,
    /// The items in the order of the files.
    pub items: Vec<Item>,
    /// How the overall score is averaged over categories.
    pub average: Average,
    /// The categories of the complete benchmark, in the order of its published tables; empty where a benchmark may have
    /// any categories.
    pub expected: &'static [&'static str],
}

impl Benchmark {
    /// Joins the files of one benchmark. Fails without a file, for files of different benchmarks, and where an id
    /// occurs twice in a category.
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

    /// A copy of the benchmark that has only the items for which `keep` returns true.
    pub fn select(&self, keep: impl Fn(&Item) -> bool) -> Self {
        let items = self.items.iter().filter(|i| keep(i)).cloned().collect();
        Self { name: self.name.clone(), items, average: self.average, expected: self.expected }
    }

    /// A copy of the benchmark that has only the first `limit` prompts of each category. Of a prompt of Ties, both
    /// items are kept.
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

    /// The name of each category and the indices of its items: first the expected categories in their order, then the
    /// others in alphabetical order.
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

    /// The expected categories of which the benchmark has no item, for example because a file is missing.
    pub fn missing(&self) -> Vec<&'static str> {
        let is_absent = |name: &&&str| !self.items.iter().any(|i| i.category == **name);
        self.expected.iter().filter(is_absent).copied().collect()
    }

    /// The highest possible score: the mean over items of the highest label, which a tool gets if it always picks the
    /// completion with the highest label.
    pub fn ceiling(&self) -> f64 {
        let best = |i: &Item| i.labels.iter().flatten().copied().fold(0.0, f64::max);
        self.items.iter().map(best).sum::<f64>() / self.items.len().max(1) as f64
    }
}
