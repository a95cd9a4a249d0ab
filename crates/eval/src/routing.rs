//! Does choosing a tool per prompt beat the best single one? Tools' scores of the same items, side by side.
//!
//! [`compare`] puts single tools, ensembles, routes given from outside and oracles into one table; [`cross_fit`] fits
//! strategies on one half of the items and reports them on the other, because a choice that is made and measured
//! on the same items always looks good. Both add up [`metric::value`](crate::metric::value) of single items;
//! [`Table::routed`] gives the scores from which a report has the whole figure of Ties.

mod accuracy;
mod compare;
mod cross_fit;
mod stack;
mod strategy;

pub use compare::{Line, Route, compare, rows};
pub use cross_fit::{CrossFit, Fitted, cross_fit, fitted_rows};
pub use strategy::{Rule, Strategy};

use crate::EvalError;
use crate::item::{Average, Benchmark, Item};
use crate::metric::value;
use crate::scores::{Cost, Scored, Scores};

/// What scores one item.
#[derive(Clone, Debug, PartialEq)]
pub enum Choice {
    /// A tool, by position.
    Tool(usize),
    /// The weighted sum of the tools' standardised scores; a weight per tool.
    Weights(Vec<f64>),
}

/// Centre and width of a tool's scores, for bringing tools to one scale.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scale {
    /// Mean of all scores.
    pub mean: f64,
    /// Their standard deviation (of the population).
    pub deviation: f64,
}

/// Tools' scores of the items that every tool can be compared on.
pub struct Table<'b> {
    benchmark: &'b Benchmark,
    tools: &'b [Scores],
    /// Positions in the benchmark.
    places: Vec<usize>,
    categories: Vec<String>,
    /// Category of each item.
    of_category: Vec<usize>,
    /// Worth of each tool's scores: `[tool][item]`.
    values: Vec<Vec<f64>>,
}

impl<'b> Table<'b> {
    /// Lines up tools. Items on which a tool picks what nobody labelled are left out; an item that a tool failed on
    /// is worth 0 with that tool.
    pub fn new(benchmark: &'b Benchmark, tools: &'b [Scores]) -> Result<Self, EvalError> {
        if tools.len() < 2 {
            return Err(EvalError::Mismatch("routing compares at least two tools; give scores of more".into()));
        }
        if let Some(tool) = tools.iter().find(|t| t.rows.len() != benchmark.items.len()) {
            let message = format!("{} scored {} items of {}", tool.tool, tool.rows.len(), benchmark.items.len());
            return Err(EvalError::Mismatch(message));
        }
        let worth = |tool: &Scores, i: usize| match &tool.rows[i].scores {
            None => Some(0.0),
            Some(scores) => value(&benchmark.items[i], scores),
        };
        let known = |i: &usize| tools.iter().all(|t| worth(t, *i).is_some());
        let places: Vec<usize> = (0..benchmark.items.len()).filter(known).collect();
        if places.is_empty() {
            return Err(EvalError::Mismatch("no item has a label of every tool's pick".into()));
        }
        let categories: Vec<String> = benchmark.categories().into_iter().map(|(c, _)| c.to_owned()).collect();
        let position = |i: &usize| categories.iter().position(|c| *c == benchmark.items[*i].category).unwrap_or(0);
        let of_category = places.iter().map(position).collect();
        let values = tools.iter().map(|t| places.iter().map(|i| worth(t, *i).unwrap_or(0.0)).collect()).collect();
        Ok(Self { benchmark, tools, places, categories, of_category, values })
    }

    /// Number of items compared.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Never true: a table holds at least one item.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Items of the benchmark that are left out.
    pub fn left_out(&self) -> usize {
        self.benchmark.items.len() - self.places.len()
    }

    /// An item.
    pub fn item(&self, item: usize) -> &'b Item {
        &self.benchmark.items[self.places[item]]
    }

    /// The tools.
    pub fn tools(&self) -> &'b [Scores] {
        self.tools
    }

    /// Names of the categories.
    pub fn categories(&self) -> &[String] {
        &self.categories
    }

    /// Worth of a tool on an item.
    pub fn value(&self, tool: usize, item: usize) -> f64 {
        self.values[tool][item]
    }

    /// The items of each category, out of some.
    fn grouped(&self, items: &[usize]) -> Vec<Vec<usize>> {
        let mut groups = vec![Vec::new(); self.categories.len()];
        for item in items {
            groups[self.of_category[*item]].push(*item);
        }
        groups
    }

    /// The benchmark's mean of values over items; items without a value are left out.
    pub fn mean(&self, items: &[usize], value: impl Fn(usize) -> Option<f64>) -> f64 {
        let mut sums = vec![(0.0, 0.0); self.categories.len()];
        for item in items {
            if let Some(v) = value(*item) {
                let (sum, count) = &mut sums[self.of_category[*item]];
                *sum += v;
                *count += 1.0;
            }
        }
        let (mut sum, mut weight) = (0.0, 0.0);
        for (s, n) in sums.into_iter().filter(|(_, n)| *n > 0.0) {
            let w = if self.benchmark.average == Average::Categories { 1.0 / n } else { 1.0 };
            sum += w * s;
            weight += w * n;
        }
        if weight > 0.0 { sum / weight } else { 0.0 }
    }

    /// The tool with the highest mean over items; the first of equals.
    pub fn best(&self, items: &[usize]) -> usize {
        first_max(self.tools.iter().enumerate().map(|(t, _)| self.mean(items, |i| Some(self.values[t][i]))))
    }

    /// Scales of all tools from the scores of some items.
    pub fn scales(&self, items: &[usize]) -> Vec<Scale> {
        let of = |tool: &Scores| {
            let rows = || items.iter().filter_map(|i| tool.rows[self.places[*i]].scores.as_ref()).flatten();
            let n = rows().count().max(1) as f64;
            let mean = rows().sum::<f64>() / n;
            let variance = rows().map(|s| (s - mean).powi(2)).sum::<f64>() / n;
            Scale { mean, deviation: variance.sqrt() }
        };
        self.tools.iter().map(of).collect()
    }

    /// A tool's standardised scores of an item; `None` where it failed.
    fn standard(&self, tool: usize, item: usize, scale: Scale) -> Option<impl Iterator<Item = f64>> {
        let scores = self.tools[tool].rows[self.places[item]].scores.as_ref()?;
        let width = if scale.deviation > 0.0 { scale.deviation } else { 1.0 };
        Some(scores.iter().map(move |s| (s - scale.mean) / width))
    }

    /// Scores of an item's completions as a choice gives them; `None` where every chosen tool failed.
    pub fn scores(&self, item: usize, choice: &Choice, scales: &[Scale]) -> Option<Vec<f64>> {
        let weights = match choice {
            Choice::Tool(tool) => return self.tools.get(*tool)?.rows[self.places[item]].scores.clone(),
            Choice::Weights(weights) => weights,
        };
        let mut sum = vec![0.0; self.item(item).completions.len()];
        let mut any = false;
        for (tool, (weight, scale)) in weights.iter().zip(scales).enumerate().filter(|(_, (w, _))| **w != 0.0) {
            let Some(scores) = self.standard(tool, item, *scale) else { continue };
            sum.iter_mut().zip(scores).for_each(|(total, s)| *total += weight * s);
            any = true;
        }
        any.then_some(sum)
    }

    /// What a choice is worth on an item: 0 where it has no scores, `None` where nobody labelled its pick.
    pub fn worth(&self, item: usize, choice: &Choice, scales: &[Scale]) -> Option<f64> {
        match choice {
            Choice::Tool(tool) => self.values.get(*tool).map(|v| v[item]),
            Choice::Weights(_) => match self.scores(item, choice, scales) {
                Some(scores) => value(self.item(item), &scores),
                None => Some(0.0),
            },
        }
    }

    /// Scores of a whole benchmark as choices give them, one per item of the table: what [`crate::Report`] takes. Items
    /// that are left out have none. Choices of different tools for the two rows of a prompt of Ties mix their scales.
    pub fn routed(&self, name: &str, choices: &[Choice], scales: &[Scale]) -> Scores {
        let mut rows = vec![Scored::default(); self.benchmark.items.len()];
        for (item, (place, choice)) in self.places.iter().zip(choices).enumerate() {
            rows[*place] = Scored { scores: self.scores(item, choice, scales), cost: self.cost(item, choice) };
        }
        Scores { tool: name.to_owned(), rows }
    }

    /// What a choice costs on an item: all the tools that it asks.
    pub fn cost(&self, item: usize, choice: &Choice) -> Cost {
        let of = |tool: usize| self.tools.get(tool).map_or(Cost::default(), |t| t.rows[self.places[item]].cost);
        match choice {
            Choice::Tool(tool) => of(*tool),
            Choice::Weights(weights) => {
                weights.iter().enumerate().filter(|(_, w)| **w != 0.0).map(|(t, _)| of(t)).sum()
            }
        }
    }
}

/// Position of the first of the largest values.
fn first_max(values: impl IntoIterator<Item = f64>) -> usize {
    let mut best = (0, f64::NEG_INFINITY);
    for (i, v) in values.into_iter().enumerate() {
        if v > best.1 {
            best = (i, v);
        }
    }
    best.0
}
