//! How much tools agree within the replies to one prompt.

use serde::{Deserialize, Serialize};

/// Sums over groups of replies, from which the within-group variances and correlations of the tools' scores follow. The
/// replies of a group answer one prompt.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Agreement {
    /// For each pair of tools, `[tool][tool]`, the sums over the groups in which both scored at least two replies.
    pairs: Vec<Vec<PairSums>>,
}

/// The sums of one pair of tools over groups.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct PairSums {
    /// Number of groups.
    groups: f64,
    /// Sum over the groups of the mean product of the two tools' scores, each minus the tool's mean in the group.
    products: f64,
}

impl PairSums {
    fn add(&mut self, product: f64) {
        self.groups += 1.0;
        self.products += product;
    }
}

impl Agreement {
    /// No groups yet, of this number of tools.
    pub fn new(tools: usize) -> Self {
        Self { pairs: vec![vec![PairSums::default(); tools]; tools] }
    }

    /// Number of tools.
    pub fn tools(&self) -> usize {
        self.pairs.len()
    }

    /// Adds tools, so that there are at least `tools`; the new ones have no groups yet.
    pub fn grow(&mut self, tools: usize) {
        let tools = tools.max(self.tools());
        self.pairs.iter_mut().for_each(|row| row.resize(tools, PairSums::default()));
        self.pairs.resize(tools, vec![PairSums::default(); tools]);
    }

    /// Adds a group of replies. `scores` is `[tool][reply]`, in any unit; `None` for a reply that the tool gave no score.
    /// Scores whose squares are too large for a number are passed over.
    pub fn add_group(&mut self, scores: &[Vec<Option<f64>>]) {
        let whole: Vec<Option<Vec<f64>>> = scores.iter().map(|of| of.iter().copied().collect()).collect();
        let centred: Vec<Option<Vec<f64>>> = whole.into_iter().map(|of| of.map(|of| minus_mean(&of))).collect();
        for a in 0..scores.len().min(self.tools()) {
            for b in 0..=a {
                let product = match (&centred[a], &centred[b]) {
                    (Some(x), Some(y)) => mean_product(x, y),
                    _ => mean_product_of_common(&scores[a], &scores[b]),
                };
                let Some(product) = product.filter(|product| product.is_finite()) else { continue };
                self.pairs[a][b].add(product);
                if a != b {
                    self.pairs[b][a].add(product);
                }
            }
        }
    }

    /// The standard deviation of each tool's scores within groups, by which scores are divided before they are weighed;
    /// 1 for a tool whose scores never differ.
    pub fn deviations(&self) -> Vec<f64> {
        (0..self.tools()).map(|t| Some(self.variance(t).sqrt()).filter(|d| *d > 0.0).unwrap_or(1.0)).collect()
    }

    fn variance(&self, tool: usize) -> f64 {
        let sums = self.pairs[tool][tool];
        sums.products / sums.groups.max(1.0)
    }

    /// The correlations of the tools' scores within groups, `[tool][tool]`, from −1 to 1; `None` for two tools that never
    /// scored the same group, or of which one gave all replies of every group equal scores.
    pub fn correlations(&self) -> Vec<Vec<Option<f64>>> {
        let correlation = |a: usize, b: usize| {
            let PairSums { groups, products } = self.pairs[a][b];
            let scale = (self.variance(a) * self.variance(b)).sqrt();
            (groups > 0.0 && scale > 0.0).then(|| (products / groups / scale).clamp(-1.0, 1.0))
        };
        (0..self.tools()).map(|a| (0..self.tools()).map(|b| correlation(a, b)).collect()).collect()
    }
}

/// The scores minus their mean; exact zeros if all are equal, so that rounding errors are not taken for agreement.
fn minus_mean(scores: &[f64]) -> Vec<f64> {
    let first = scores.first().copied().unwrap_or(0.0);
    let mean = scores.iter().map(|s| s - first).sum::<f64>() / scores.len().max(1) as f64;
    scores.iter().map(|s| s - first - mean).collect()
}

/// The mean product of two tools' centred scores; `None` for fewer than two replies.
fn mean_product(a: &[f64], b: &[f64]) -> Option<f64> {
    let n = a.len().min(b.len());
    (n > 1).then(|| a.iter().zip(b).map(|(x, y)| x * y).sum::<f64>() / n as f64)
}

/// The mean product of two tools' scores, centred over the replies that both scored.
fn mean_product_of_common(a: &[Option<f64>], b: &[Option<f64>]) -> Option<f64> {
    let common = || a.iter().zip(b).filter_map(|(x, y)| (*x).zip(*y));
    let of_a: Vec<f64> = common().map(|(x, _)| x).collect();
    let of_b: Vec<f64> = common().map(|(_, y)| y).collect();
    mean_product(&minus_mean(&of_a), &minus_mean(&of_b))
}
