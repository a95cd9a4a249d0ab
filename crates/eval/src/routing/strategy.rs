//! Ways to choose tools by category, fitted on items with labels.

use super::accuracy::Accuracies;
use super::stack::{fit, pairs};
use super::{Choice, Scale, Table, first_max};

/// A way to choose.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Strategy {
    /// The tool that is best over all: what routing has to beat.
    Static,
    /// All tools, standardised, with equal weights: nothing is fitted but scales.
    Uniform,
    /// In each category the tool that is best there.
    Category,
    /// In each category the tool that is best there, after what few items say is drawn towards what the tool's and the
    /// category's means predict.
    Shrunken,
    /// All tools, each weighing the shrunken log-odds of its accuracy in the category above those of a guess.
    LogOdds,
    /// All tools with fitted weights, the same everywhere.
    Stack {
        /// Strength of the pull to zero, in items.
        ridge: f64,
    },
    /// All tools with fitted weights in each category, drawn to those of all categories.
    StackCategory {
        /// Strength of the pulls, in items.
        ridge: f64,
    },
}

impl Strategy {
    /// Every strategy, the static one first.
    pub const ALL: [Self; 7] = [
        Self::Static,
        Self::Uniform,
        Self::Category,
        Self::Shrunken,
        Self::LogOdds,
        Self::Stack { ridge: 10.0 },
        Self::StackCategory { ridge: 10.0 },
    ];

    /// What tables call it.
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

    /// Fits it on items.
    pub fn fit(self, table: &Table, items: &[usize]) -> Rule {
        let (tools, categories) = (table.tools().len(), table.categories().len());
        let scales = table.scales(items);
        let by_category = match self {
            Self::Static => vec![Choice::Tool(table.best(items)); categories],
            Self::Uniform => vec![Choice::Weights(vec![1.0; tools]); categories],
            Self::Category => best_of(&Accuracies::of(table, items).measured),
            Self::Shrunken => best_of(&Accuracies::of(table, items).shrunken),
            Self::LogOdds => {
                let found = Accuracies::of(table, items);
                let weights = |(of, chance): (&Vec<f64>, &f64)| {
                    let above = |a: &f64| (log_odds(*a) - log_odds(*chance)).max(0.0);
                    useful(of.iter().map(above).collect())
                };
                found.shrunken.iter().zip(&found.chance).map(weights).collect()
            }
            Self::Stack { ridge } => {
                vec![useful(fit(&pairs(table, items, &scales), &vec![0.0; tools], ridge)); categories]
            }
            Self::StackCategory { ridge } => {
                let centre = fit(&pairs(table, items, &scales), &vec![0.0; tools], ridge);
                let groups = table.grouped(items);
                groups.iter().map(|g| useful(fit(&pairs(table, g, &scales), &centre, ridge))).collect()
            }
        };
        Rule { scales, by_category }
    }
}

/// A fitted strategy.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// Scales of the tools.
    pub scales: Vec<Scale>,
    /// A choice per category of the table.
    pub by_category: Vec<Choice>,
}

impl Rule {
    /// What it chooses for an item.
    pub fn choice(&self, table: &Table, item: usize) -> &Choice {
        &self.by_category[table.of_category[item]]
    }

    /// What that is worth ([`Table::worth`]).
    pub fn worth(&self, table: &Table, item: usize) -> Option<f64> {
        table.worth(item, self.choice(table, item), &self.scales)
    }
}

fn best_of(accuracies: &[Vec<f64>]) -> Vec<Choice> {
    accuracies.iter().map(|of| Choice::Tool(first_max(of.iter().copied()))).collect()
}

fn log_odds(p: f64) -> f64 {
    let p = p.clamp(0.02, 0.98);
    (p / (1.0 - p)).ln()
}

/// Weights, or equal ones where none says anything.
fn useful(weights: Vec<f64>) -> Choice {
    let all_zero = weights.iter().all(|w| *w == 0.0);
    Choice::Weights(if all_zero { vec![1.0; weights.len()] } else { weights })
}
