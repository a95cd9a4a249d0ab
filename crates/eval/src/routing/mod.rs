//! Is it better to choose a reward tool per prompt than to use the best single tool? This module answers the question
//! from the tools' scores of the same items.
//!
//! [`compare`](fn@compare) tabulates single tools, ensembles, given routes (a choice of tools for every item) and
//! oracles. [`cross_fit`](fn@cross_fit) fits strategies on one half of the items and evaluates them on the other,
//! because a choice that is made and evaluated on the same items always looks good. [`label_curve`] does so with few
//! labels, and [`leave_one_benchmark_out`] fits them on other benchmarks. All functions average [`item_value`] over
//! items. [`ScoreTable::routed`] gives the scores from which a report computes the score of a whole
//! benchmark with Ties.

mod accuracy;
mod compare;
mod cross_fit;
mod left_out;
mod stacking;
mod strategy;

pub use compare::{ComparisonRow, Route, compare, comparison_rows};
pub use cross_fit::{
    CrossFit, CrossFitResult, LABELS_PER_CATEGORY, LabelCurvePoint, cross_fit, cross_fit_rows, label_curve,
    label_curve_rows,
};
pub use left_out::{LeftOutBenchmark, LeftOutResult, leave_one_benchmark_out, left_out_rows};
pub use strategy::{FittedRule, Strategy};

use crate::EvalError;
use crate::item::{Benchmark, CategoryScore, Item};
use crate::item_metric::item_value;
use crate::scores::{BenchmarkScores, ItemScores, ScoringCost};

/// What scores an item: one tool, or a weighted sum of tools.
#[derive(Clone, Debug, PartialEq)]
pub enum RouteChoice {
    /// One tool, given as its index in [`ScoreTable::tools`].
    Tool(usize),
    /// The weighted sum of the tools' standardised scores; one weight per tool, where a tool with the weight 0 is not
    /// used.
    Weights(Vec<f64>),
}

/// Mean and standard deviation of a tool's scores. Standardised scores are `(score − mean) / deviation`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Standardisation {
    /// Mean of the tool's scores.
    pub mean: f64,
    /// Population standard deviation of the tool's scores. Where it is 0, scores are divided by 1.
    pub deviation: f64,
}

/// The scores of several tools on the same items.
///
/// Items of the benchmark may be left out. Methods therefore take an item's index in the table, not in the benchmark; a
/// [`RouteChoice`] holds a tool's index in [`Self::tools`].
pub struct ScoreTable<'b> {
    benchmark: &'b Benchmark,
    tools: &'b [BenchmarkScores],
    /// For each item of the table, the index of the item in the benchmark.
    benchmark_index: Vec<usize>,
    categories: Vec<String>,
    /// For each item of the table, the index of its category in `categories`.
    category_of: Vec<usize>,
    /// How well each tool scores each item, from 0 to 1 (see [`item_value`]), `[tool][item]`.
    values: Vec<Vec<f64>>,
}

impl<'b> ScoreTable<'b> {
    /// Combines the scores of at least two tools. An item is left out where the completion that a tool scores highest
    /// has no label. An item on which a tool failed has the value 0 for that tool. Fails where the number of scores
    /// does not match the benchmark, or where no item is left.
    pub fn new(benchmark: &'b Benchmark, tools: &'b [BenchmarkScores]) -> Result<Self, EvalError> {
        if tools.len() < 2 {
            return Err(EvalError::Mismatch("routing compares at least two tools; give scores of more".into()));
        }
        if let Some(tool) = tools.iter().find(|t| t.rows.len() != benchmark.items.len()) {
            let message = format!("{} scored {} items of {}", tool.tool, tool.rows.len(), benchmark.items.len());
            return Err(EvalError::Mismatch(message));
        }
        let value = |tool: &BenchmarkScores, i: usize| match &tool.rows[i].scores {
            None => Some(0.0),
            Some(scores) => item_value(&benchmark.items[i], scores),
        };
        let is_labelled = |i: &usize| tools.iter().all(|t| value(t, *i).is_some());
        let benchmark_index: Vec<usize> = (0..benchmark.items.len()).filter(is_labelled).collect();
        if benchmark_index.is_empty() {
            return Err(EvalError::Mismatch(
                "there is no item for which every tool picks a completion with a label".into(),
            ));
        }
        let categories: Vec<String> = benchmark.categories().into_iter().map(|(c, _)| c.to_owned()).collect();
        let category = |i: &usize| categories.iter().position(|c| *c == benchmark.items[*i].category).unwrap_or(0);
        let category_of = benchmark_index.iter().map(category).collect();
        let values =
            tools.iter().map(|t| benchmark_index.iter().map(|i| value(t, *i).unwrap_or(0.0)).collect()).collect();
        Ok(Self { benchmark, tools, benchmark_index, categories, category_of, values })
    }

    /// Number of items in the table.
    // There is no `is_empty`: a table has at least one item.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.benchmark_index.len()
    }

    /// Number of items of the benchmark that are not in the table.
    pub fn left_out(&self) -> usize {
        self.benchmark.items.len() - self.len()
    }

    /// The item with this index in the table.
    pub fn item(&self, item: usize) -> &'b Item {
        &self.benchmark.items[self.benchmark_index[item]]
    }

    /// Each tool's scores of the whole benchmark, as they were given.
    pub fn tools(&self) -> &'b [BenchmarkScores] {
        self.tools
    }

    /// Names of the benchmark's categories.
    pub fn categories(&self) -> &[String] {
        &self.categories
    }

    /// How well a tool scores an item, from 0 to 1 (see [`item_value`]); 0 where the tool failed.
    pub fn value(&self, tool: usize, item: usize) -> f64 {
        self.values[tool][item]
    }

    /// Groups the given items by category: one list of item indices per category, empty where the category has none of
    /// them.
    fn by_category(&self, items: &[usize]) -> Vec<Vec<usize>> {
        let mut groups = vec![Vec::new(); self.categories.len()];
        for item in items {
            groups[self.category_of[*item]].push(*item);
        }
        groups
    }

    /// The mean of `value` over the given items, averaged as the benchmark averages its categories. Items for which
    /// `value` returns `None` are left out.
    pub fn mean(&self, items: &[usize], value: impl Fn(usize) -> Option<f64>) -> f64 {
        let mut sums = vec![0.0; self.categories.len()];
        let mut counts = vec![0; self.categories.len()];
        for item in items {
            if let Some(v) = value(*item) {
                sums[self.category_of[*item]] += v;
                counts[self.category_of[*item]] += 1;
            }
        }
        self.benchmark.average.of(sums.into_iter().zip(counts).map(|(sum, count)| CategoryScore::mean(sum, count)))
    }

    /// The index of the tool with the highest mean value over the given items; of several such tools, the first.
    pub fn best(&self, items: &[usize]) -> usize {
        first_max(self.tools.iter().enumerate().map(|(t, _)| self.mean(items, |i| Some(self.values[t][i]))))
    }

    /// Mean and standard deviation of each tool's scores of the given items.
    pub fn scales(&self, items: &[usize]) -> Vec<Standardisation> {
        let scale = |tool: &BenchmarkScores| {
            let scores = || items.iter().filter_map(|i| tool.rows[self.benchmark_index[*i]].scores.as_ref()).flatten();
            let n = scores().count().max(1) as f64;
            let mean = scores().sum::<f64>() / n;
            let variance = scores().map(|s| (s - mean).powi(2)).sum::<f64>() / n;
            Standardisation { mean, deviation: variance.sqrt() }
        };
        self.tools.iter().map(scale).collect()
    }

    /// A tool's scores of an item's completions, each `None` where the tool failed on the item.
    fn optional_scores(&self, tool: usize, item: usize) -> Vec<Option<f64>> {
        match &self.tools[tool].rows[self.benchmark_index[item]].scores {
            Some(scores) => scores.iter().copied().map(Some).collect(),
            None => vec![None; self.item(item).completions.len()],
        }
    }

    /// A tool's standardised scores of an item's completions; `None` where the tool failed on the item.
    fn standardised(&self, tool: usize, item: usize, scale: Standardisation) -> Option<impl Iterator<Item = f64>> {
        let scores = self.tools[tool].rows[self.benchmark_index[item]].scores.as_ref()?;
        let deviation = if scale.deviation > 0.0 { scale.deviation } else { 1.0 };
        Some(scores.iter().map(move |s| (s - scale.mean) / deviation))
    }

    /// The scores that an item's completions get under a choice of tools; `None` where every chosen tool failed.
    pub fn scores(&self, item: usize, choice: &RouteChoice, scales: &[Standardisation]) -> Option<Vec<f64>> {
        let weights = match choice {
            RouteChoice::Tool(tool) => return self.tools.get(*tool)?.rows[self.benchmark_index[item]].scores.clone(),
            RouteChoice::Weights(weights) => weights,
        };
        let mut sum = vec![0.0; self.item(item).completions.len()];
        let mut has_scores = false;
        for (tool, (weight, scale)) in weights.iter().zip(scales).enumerate().filter(|(_, (w, _))| **w != 0.0) {
            let Some(scores) = self.standardised(tool, item, *scale) else { continue };
            sum.iter_mut().zip(scores).for_each(|(total, s)| *total += weight * s);
            has_scores = true;
        }
        has_scores.then_some(sum)
    }

    /// How well an item is scored under a choice of tools, from 0 to 1 (see [`item_value`]): 0 where every chosen tool
    /// failed, `None` where the completion with the highest score has no label.
    pub fn choice_value(&self, item: usize, choice: &RouteChoice, scales: &[Standardisation]) -> Option<f64> {
        match choice {
            RouteChoice::Tool(tool) => self.values.get(*tool).map(|values| values[item]),
            RouteChoice::Weights(_) => match self.scores(item, choice, scales) {
                Some(scores) => item_value(self.item(item), &scores),
                None => Some(0.0),
            },
        }
    }

    /// The scores of the whole benchmark under choices of tools, as input for [`crate::BenchmarkReport::new`].
    /// `choices` has one entry per item of the table; items of the benchmark that are not in the table get no scores. A
    /// prompt of Ties has two items whose scores are compared, so both should get the same choice.
    pub fn routed(&self, name: &str, choices: &[RouteChoice], scales: &[Standardisation]) -> BenchmarkScores {
        let mut rows = vec![ItemScores::default(); self.benchmark.items.len()];
        for (item, (index, choice)) in self.benchmark_index.iter().zip(choices).enumerate() {
            rows[*index] = ItemScores { scores: self.scores(item, choice, scales), cost: self.cost(item, choice) };
        }
        BenchmarkScores { tool: name.to_owned(), rows }
    }

    /// The cost of scoring an item under a choice: that of the chosen tool, or of all tools whose weight is not 0.
    pub fn cost(&self, item: usize, choice: &RouteChoice) -> ScoringCost {
        let cost = |tool: usize| {
            self.tools.get(tool).map_or(ScoringCost::default(), |t| t.rows[self.benchmark_index[item]].cost)
        };
        match choice {
            RouteChoice::Tool(tool) => cost(*tool),
            RouteChoice::Weights(weights) => {
                weights.iter().enumerate().filter(|(_, w)| **w != 0.0).map(|(tool, _)| cost(tool)).sum()
            }
        }
    }
}

/// The index of the greatest value; of several equal ones, the first.
fn first_max(values: impl IntoIterator<Item = f64>) -> usize {
    let mut best = (0, f64::NEG_INFINITY);
    for (i, v) in values.into_iter().enumerate() {
        if v > best.1 {
            best = (i, v);
        }
    }
    best.0
}
