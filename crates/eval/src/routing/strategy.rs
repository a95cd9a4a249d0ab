//! Strategies that choose tools, or weights of tools, by category. They are fitted on labelled items.

use rlar_rewards::weights::{Agreement, LabelledPair, NonNegativeFit, TaskPairs};

use super::accuracy::CategoryAccuracies;
use super::stacking::{fit, labelled_pairs};
use super::{RouteChoice, ScoreTable, Standardisation, first_max};

/// A strategy for choosing the tools that score the items of each category.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Strategy {
    /// Uses one tool for all items: the one that is best over all fitted items. Routing has to beat this strategy.
    Static,
    /// Adds the standardised scores of all tools with equal weights. Only the means and deviations for standardising
    /// are fitted.
    Uniform,
    /// Uses in each category the tool with the highest accuracy there.
    Category,
    /// Uses in each category the tool with the highest shrunken accuracy there (see [`CategoryAccuracies::shrunken`]).
    Shrunken,
    /// Adds the standardised scores of all tools with weights by category: the log-odds of the tool's shrunken accuracy
    /// there minus the log-odds of a random guess, or 0 where this is negative.
    LogOdds,
    /// Adds the standardised scores of all tools with non-negative weights by category, which start from how much the
    /// tools agree and need few labels; training uses the same estimator ([`rlar_rewards::weights`]).
    NonNegative,
    /// Adds the standardised scores of all tools with fitted weights that are the same in all categories. A weight may
    /// be negative, so this is an upper bound and no way to reward a policy: see [`Self::is_signed`].
    Stack {
        /// Strength of the L2 penalty that draws the weights to zero. The loss is a sum in which each item weighs at
        /// most 1.
        ridge: f64,
    },
    /// Adds the standardised scores of all tools with weights that are fitted in each category. A penalty draws them to
    /// the weights that [`Self::Stack`] fits on all categories together. An upper bound, too.
    StackCategory {
        /// Strength of the L2 penalty, for the weights of all categories together and for those of each category. The
        /// loss is a sum in which each item weighs at most 1.
        ridge: f64,
    },
}

impl Strategy {
    /// Every strategy, [`Self::Static`] first and those with signed weights last; the latter have a ridge of 10.
    pub const ALL: [Self; 8] = [
        Self::Static,
        Self::Uniform,
        Self::Category,
        Self::Shrunken,
        Self::LogOdds,
        Self::NonNegative,
        Self::Stack { ridge: 10.0 },
        Self::StackCategory { ridge: 10.0 },
    ];

    /// The strategies that [`label_curve`](super::label_curve) compares: those that choose nothing, and those with weights
    /// that a policy may be trained on.
    pub const FEW_LABELS: [Self; 4] = [Self::Static, Self::Uniform, Self::LogOdds, Self::NonNegative];

    /// The strategy's name in tables.
    pub fn name(self) -> String {
        match self {
            Self::Static => "best static tool".into(),
            Self::Uniform => "uniform ensemble".into(),
            Self::Category => "best per category".into(),
            Self::Shrunken => "best per category, shrunken".into(),
            Self::LogOdds => "weights by shrunken log-odds".into(),
            Self::NonNegative => "non-negative weights".into(),
            Self::Stack { ridge } => format!("upper bound: signed stacking, ridge {ridge}"),
            Self::StackCategory { ridge } => format!("upper bound: signed stacking per category, ridge {ridge}"),
        }
    }

    /// Whether weights may be negative. Such a weight uses a bad tool upside down, for example one that likes the style
    /// in which all wrong completions of a benchmark happen to be written. A policy that is rewarded for what a tool
    /// rejects moves away from that style and from the data on which the weight was fitted.
    pub fn is_signed(self) -> bool {
        matches!(self, Self::Stack { .. } | Self::StackCategory { .. })
    }

    /// Fits the strategy on the items with these indices in the table.
    pub fn fit(self, table: &ScoreTable, items: &[usize]) -> FittedRule {
        self.fit_with_unlabelled(table, items, items)
    }

    /// Fits the strategy on the labels of `items`. Scores are standardised over `scored`, items of which no label is
    /// used; [`Self::NonNegative`] also measures on them how much the tools agree.
    pub fn fit_with_unlabelled(self, table: &ScoreTable, items: &[usize], scored: &[usize]) -> FittedRule {
        let (tools, categories) = (table.tools().len(), table.categories().len());
        let scales = table.scales(scored);
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
            Self::NonNegative => return non_negative(table, items, scored),
            Self::Stack { ridge } => vec![weighted(stack(items, &vec![0.0; tools], ridge)); categories],
            Self::StackCategory { ridge } => {
                let centre = stack(items, &vec![0.0; tools], ridge);
                table.by_category(items).iter().map(|group| weighted(stack(group, &centre, ridge))).collect()
            }
        };
        FittedRule { scales, by_category }
    }
}

/// A fitted strategy: which tool or weights to use in each category.
#[derive(Clone, Debug, PartialEq)]
pub struct FittedRule {
    /// Mean and standard deviation of each tool's scores on the fitted items, for standardising.
    pub scales: Vec<Standardisation>,
    /// The tool or the weights for each category, in the order of [`ScoreTable::categories`].
    pub by_category: Vec<RouteChoice>,
}

impl FittedRule {
    /// The tool or the weights that the fitted strategy uses for an item, according to the item's category.
    pub fn choice(&self, table: &ScoreTable, item: usize) -> &RouteChoice {
        &self.by_category[table.category_of[item]]
    }

    /// How well an item is scored by the fitted strategy, from 0 to 1; see [`ScoreTable::choice_value`].
    pub fn value(&self, table: &ScoreTable, item: usize) -> Option<f64> {
        table.choice_value(item, self.choice(table, item), &self.scales)
    }
}

/// The non-negative weights of each category, and the deviations within items by which the scores are divided.
fn non_negative(table: &ScoreTable, labelled: &[usize], scored: &[usize]) -> FittedRule {
    let tools = table.tools().len();
    let scores = |item: &usize| (0..tools).map(|tool| table.optional_scores(tool, *item)).collect::<Vec<_>>();
    let mut agreement = Agreement::new(tools);
    for item in scored {
        agreement.add_group(&scores(item));
    }
    let pairs = |group: &Vec<usize>| TaskPairs {
        scored: vec![true; tools],
        pairs: group.iter().flat_map(|i| LabelledPair::of_group(&scores(i), &table.item(*i).labels)).collect(),
        counts: Vec::new(),
    };
    let evidence: Vec<TaskPairs> = table.by_category(labelled).iter().map(pairs).collect();
    let fit = NonNegativeFit::new(&agreement, &evidence);
    let deviations = agreement.deviations().into_iter();
    FittedRule {
        scales: deviations.map(|deviation| Standardisation { mean: 0.0, deviation }).collect(),
        by_category: (0..evidence.len()).map(|category| RouteChoice::Weights(fit.weights(category))).collect(),
    }
}

/// The tool with the highest accuracy in each category. `accuracies` is `[category][tool]`.
fn best_tools(accuracies: &[Vec<f64>]) -> Vec<RouteChoice> {
    accuracies.iter().map(|of_tools| RouteChoice::Tool(first_max(of_tools.iter().copied()))).collect()
}

fn log_odds(p: f64) -> f64 {
    let p = p.clamp(0.02, 0.98);
    (p / (1.0 - p)).ln()
}

/// A weighted sum of tools with these weights; where all weights are 0, with equal weights.
fn weighted(weights: Vec<f64>) -> RouteChoice {
    let all_zero = weights.iter().all(|w| *w == 0.0);
    RouteChoice::Weights(if all_zero { vec![1.0; weights.len()] } else { weights })
}
