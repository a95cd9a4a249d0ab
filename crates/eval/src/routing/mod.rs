//! Does choosing a tool per prompt beat the best single tool? Compares tools' scores of the same items.
//!
//! [`compare`](fn@compare) tabulates single tools, ensembles, given routes and oracles. [`cross_fit`](fn@cross_fit) fits
//! strategies on one half of the items and evaluates them on the other, because a choice that is made and evaluated on the same
//! items always looks good. Both average [`item_value`] over items; [`ScoreTable::routed`] gives the scores from which a report
//! computes the score of a whole benchmark with Ties.

mod accuracy;
mod compare;
mod cross_fit;
mod stacking;
mod strategy;

pub use compare::{ComparisonRow, Route, compare, comparison_rows};
pub use cross_fit::{CrossFit, CrossFitResult, cross_fit, cross_fit_rows};
pub use strategy::{FittedRule, Strategy};

use crate::EvalError;
use crate::item::{Benchmark, CategoryScore, Item};
use crate::item_metric::item_value;
use crate::scores::{BenchmarkScores, ItemScores, ScoringCost};

/// What scores one item.
#[derive(Clone, Debug, PartialEq)]
pub enum RouteChoice {
    /// A tool, by its index.
    Tool(usize),
    /// The weighted sum of the tools' standardised scores; one weight per tool.
    Weights(Vec<f64>),
}

/// Mean and deviation of a tool's scores, by which they are standardised.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Standardisation {
    /// Mean of all scores.
    pub mean: f64,
    /// Their population standard deviation.
    pub deviation: f64,
}

/// The scores of several tools on the same items.
///
/// Items are counted from 0 within the table; methods that take items or a choice expect indices of the table.
pub struct ScoreTable<'b> {
    benchmark: &'b Benchmark,
    tools: &'b [BenchmarkScores],
    /// Index in the benchmark of each item of the table.
    benchmark_index: Vec<usize>,
    categories: Vec<String>,
    /// Category of each item.
    category_of: Vec<usize>,
    /// Value of each tool's scores, `[tool][item]`.
    values: Vec<Vec<f64>>,
}

impl<'b> ScoreTable<'b> {
    /// Combines the scores of tools. Items for which a tool picks a completion without a label are left out; an item on which
    /// a tool failed has the value 0 for that tool. Fails with fewer than two tools or without an item.
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

    /// Number of items.
    // There is no `is_empty`: a table has at least one item.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.benchmark_index.len()
    }

    /// Number of the benchmark's items that are left out.
    pub fn left_out(&self) -> usize {
        self.benchmark.items.len() - self.len()
    }

    /// An item.
    pub fn item(&self, item: usize) -> &'b Item {
        &self.benchmark.items[self.benchmark_index[item]]
    }

    /// The scores of each tool on the whole benchmark.
    pub fn tools(&self) -> &'b [BenchmarkScores] {
        self.tools
    }

    /// Names of the categories.
    pub fn categories(&self) -> &[String] {
        &self.categories
    }

    /// The value of a tool's scores of an item.
    pub fn value(&self, tool: usize, item: usize) -> f64 {
        self.values[tool][item]
    }

    /// The items of each category among some items.
    fn by_category(&self, items: &[usize]) -> Vec<Vec<usize>> {
        let mut groups = vec![Vec::new(); self.categories.len()];
        for item in items {
            groups[self.category_of[*item]].push(*item);
        }
        groups
    }

    /// Averages values over items as the benchmark averages its categories; items without a value are left out.
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

    /// The tool with the highest mean over items; the first of equals.
    pub fn best(&self, items: &[usize]) -> usize {
        first_max(self.tools.iter().enumerate().map(|(t, _)| self.mean(items, |i| Some(self.values[t][i]))))
    }

    /// The scale of each tool's scores on some items.
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

    /// A tool's standardised scores of an item; `None` where it failed.
    fn standardised(&self, tool: usize, item: usize, scale: Standardisation) -> Option<impl Iterator<Item = f64>> {
        let scores = self.tools[tool].rows[self.benchmark_index[item]].scores.as_ref()?;
        let deviation = if scale.deviation > 0.0 { scale.deviation } else { 1.0 };
        Some(scores.iter().map(move |s| (s - scale.mean) / deviation))
    }

    /// The scores of an item's completions under a choice; `None` where every chosen tool failed.
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

    /// The value of an item's scores under a choice: 0 where there are none, `None` where the picked completion has no label.
    pub fn choice_value(&self, item: usize, choice: &RouteChoice, scales: &[Standardisation]) -> Option<f64> {
        match choice {
            RouteChoice::Tool(tool) => self.values.get(*tool).map(|values| values[item]),
            RouteChoice::Weights(_) => match self.scores(item, choice, scales) {
                Some(scores) => item_value(self.item(item), &scores),
                None => Some(0.0),
            },
        }
    }

    /// The scores of the whole benchmark under choices, one per item of the table, for [`crate::BenchmarkReport::new`]. Items
    /// that are left out have none. Choosing different tools for the two rows of a prompt of Ties mixes their scales.
    pub fn routed(&self, name: &str, choices: &[RouteChoice], scales: &[Standardisation]) -> BenchmarkScores {
        let mut rows = vec![ItemScores::default(); self.benchmark.items.len()];
        for (item, (index, choice)) in self.benchmark_index.iter().zip(choices).enumerate() {
            rows[*index] = ItemScores { scores: self.scores(item, choice, scales), cost: self.cost(item, choice) };
        }
        BenchmarkScores { tool: name.to_owned(), rows }
    }

    /// The cost of an item under a choice: that of all tools with a weight.
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

/// The index of the first of the greatest values.
fn first_max(values: impl IntoIterator<Item = f64>) -> usize {
    let mut best = (0, f64::NEG_INFINITY);
    for (i, v) in values.into_iter().enumerate() {
        if v > best.1 {
            best = (i, v);
        }
    }
    best.0
}
