//! Strategies that choose tools by category, fitted on labelled items.

use super::accuracy::CategoryAccuracies;
use super::stacking::{fit, labelled_pairs};
use super::{RouteChoice, ScoreTable, Standardisation, first_max};

/// How to choose tools.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Strategy {
    /// The tool that is best overall: what routing has to beat.
    Static,
    /// All tools, standardised, with equal weights; only the scales are fitted.
    Uniform,
    /// In each category the tool with the highest accuracy there.
    Category,
    /// In each category the tool with the highest shrunken accuracy there (see [`CategoryAccuracies::shrunken`]).
    Shrunken,
    /// All tools, each weighted in a category by how far the log-odds of its shrunken accuracy are above those of a guess.
    LogOdds,
    /// All tools with fitted weights that are the same in all categories.
    Stack {
        /// Strength of the penalty that draws weights to zero, in items.
        ridge: f64,
    },
    /// All tools with fitted weights in each category, which are drawn to those of all categories together.
    StackCategory {
        /// Strength of both penalties, in items.
        ridge: f64,
    },
}

impl Strategy {
    /// Every strategy, [`Self::Static`] first.
    pub const ALL: [Self; 7] = [
        Self::Static,
        Self::Uniform,
        Self::Category,
        Self::Shrunken,
        Self::LogOdds,
        Self::Stack { ridge: 10.0 },
        Self::StackCategory { ridge: 10.0 },
    ];

    /// Its name in tables.
    pub fn name(self) -> String {
        match self {
            Self::Static => "best static tool".into(),
            Self::Uniform => "uniform ensemble".into(),
            Self::Category => "best per category".into(),
            Self::Shrunken => "best per category, shrunken".into(),
            Self::LogOdds => "weights by shrunken log-odds".into(),
            Self::Stack { ridge } => format!("logistic stacking, ridge {ridge}"),
            Self::StackCategory { ridge } => format!("logistic stacking per category, ridge {ridge}"),
        }
    }

    /// Fits the strategy on items.
    pub fn fit(self, table: &ScoreTable, items: &[usize]) -> FittedRule {
        let (tools, categories) = (table.tools().len(), table.categories().len());
        let scales = table.scales(items);
        let stack =
            |items: &[usize], centre: &[f64], ridge: f64| fit(&labelled_pairs(table, items, &scales), centre, ridge);
        let by_category = match self {
            Self::Static => vec![RouteChoice::Tool(table.best(items)); categories],
            Self::Uniform => vec![RouteChoice::Weights(vec![1.0; tools]); categories],
            Self::Category => best_tools(&CategoryAccuracies::estimate(table, items).measured),
            Self::Shrunken => best_tools(&CategoryAccuracies::estimate(table, items).shrunken),
            Self::LogOdds => {
                let CategoryAccuracies { shrunken, chance, .. } = CategoryAccuracies::estimate(table, items);
                let weights = |(accuracies, chance): (&Vec<f64>, &f64)| {
                    let above_chance = |a: &f64| (log_odds(*a) - log_odds(*chance)).max(0.0);
                    weighted(accuracies.iter().map(above_chance).collect())
                };
                shrunken.iter().zip(&chance).map(weights).collect()
            }
            Self::Stack { ridge } => vec![weighted(stack(items, &vec![0.0; tools], ridge)); categories],
            Self::StackCategory { ridge } => {
                let centre = stack(items, &vec![0.0; tools], ridge);
                table.by_category(items).iter().map(|group| weighted(stack(group, &centre, ridge))).collect()
            }
        };
        FittedRule { scales, by_category }
    }
}

/// A fitted strategy.
#[derive(Clone, Debug, PartialEq)]
pub struct FittedRule {
    /// The scale of each tool's scores.
    pub scales: Vec<Standardisation>,
    /// The choice for each category of the table.
    pub by_category: Vec<RouteChoice>,
}

impl FittedRule {
    /// The choice for an item.
    pub fn choice(&self, table: &ScoreTable, item: usize) -> &RouteChoice {
        &self.by_category[table.category_of[item]]
    }

    /// The value of an item under its choice; see [`ScoreTable::choice_value`].
    pub fn value(&self, table: &ScoreTable, item: usize) -> Option<f64> {
        table.choice_value(item, self.choice(table, item), &self.scales)
    }
}

/// The best tool of each category.
fn best_tools(accuracies: &[Vec<f64>]) -> Vec<RouteChoice> {
    accuracies.iter().map(|of_tools| RouteChoice::Tool(first_max(of_tools.iter().copied()))).collect()
}

fn log_odds(p: f64) -> f64 {
    let p = p.clamp(0.02, 0.98);
    (p / (1.0 - p)).ln()
}

/// Weights, or equal ones where all are zero.
fn weighted(weights: Vec<f64>) -> RouteChoice {
    let all_zero = weights.iter().all(|w| *w == 0.0);
    RouteChoice::Weights(if all_zero { vec![1.0; weights.len()] } else { weights })
}
