//! Estimates the accuracy of each tool in each category, also from few items.

use super::ScoreTable;
use crate::statistics::{mean, sample_variance};

/// The estimated accuracy of each tool in each category. Accuracy is the mean of the item values (see `item_value`).
pub struct CategoryAccuracies {
    /// The accuracy of the tool on the items of the category: the mean of the item values, from 0 to 1;
    /// `[category][tool]`. For a category without items, the tool's mean over all items.
    pub measured: Vec<Vec<f64>>,
    /// The measured accuracies, shrunk towards what the overall accuracy of the tool and the difficulty of the category
    /// predict, `[category][tool]`.
    pub shrunken: Vec<Vec<f64>>,
    /// The accuracy of picking a completion at random, by category: the mean label of the completions. 0.5 for a
    /// category without items.
    pub chance: Vec<f64>,
}

impl CategoryAccuracies {
    /// Estimates the accuracies from the items with these indices.
    ///
    /// The accuracy of tool `t` in category `c` is modelled as `a_t + a_c − a + d_tc`: the tool's mean, plus the
    /// category's mean, minus the mean of everything, plus a random deviation `d_tc`. The variance of the deviations is
    /// estimated as the observed variance minus the sampling noise (method of moments). Each observed deviation is
    /// multiplied by the estimated variance divided by the sum of this variance and the sampling noise (Efron and
    /// Morris, 1975). Where the deviations are no larger than noise, every category thus ranks the tools as all items
    /// together do.
    pub fn estimate(table: &ScoreTable, items: &[usize]) -> Self {
        let tools = table.tools.len();
        let groups = table.by_category(items);
        let overall: Vec<f64> = (0..tools).map(|t| table.mean(items, |i| Some(table.values[t][i]))).collect();
        let average = overall.iter().sum::<f64>() / tools as f64;
        let in_group =
            |tool: usize, group: &[usize]| mean(&group.iter().map(|i| table.values[tool][*i]).collect::<Vec<_>>());
        let measured: Vec<Vec<f64>> = groups
            .iter()
            .map(|g| if g.is_empty() { overall.clone() } else { (0..tools).map(|t| in_group(t, g)).collect() })
            .collect();
        let mut expected = Vec::new();
        let mut noise = Vec::new();
        for (group, accuracies) in groups.iter().zip(&measured) {
            let level = accuracies.iter().sum::<f64>() / tools as f64;
            expected.push(overall.iter().map(|a| a + level - average).collect::<Vec<_>>());
            noise.push((0..tools).map(|t| sampling_noise(table, group, t)).collect::<Vec<_>>());
        }
        let cells = || {
            let all = (0..groups.len()).filter(|c| groups[*c].len() > 1);
            all.flat_map(|c| (0..tools).map(move |t| (c, t)))
        };
        let excess = cells().map(|(c, t)| (measured[c][t] - expected[c][t]).powi(2) - noise[c][t]).sum::<f64>();
        let signal = (excess / cells().count().max(1) as f64).max(0.0);
        let shrink = |c: usize, t: usize| {
            let share = if signal > 0.0 { signal / (signal + noise[c][t]) } else { 0.0 };
            expected[c][t] + share * (measured[c][t] - expected[c][t])
        };
        let shrunken = (0..groups.len()).map(|c| (0..tools).map(|t| shrink(c, t)).collect()).collect();
        let chance = groups.iter().map(|g| if g.is_empty() { 0.5 } else { guess_accuracy(table, g) }).collect();
        Self { measured, shrunken, chance }
    }
}

/// The sampling variance of a tool's mean lead over the items of one category, whose indices are in `group`. The lead
/// on an item is the tool's value minus the mean value of all tools. Infinite for fewer than two items.
fn sampling_noise(table: &ScoreTable, group: &[usize], tool: usize) -> f64 {
    if group.len() < 2 {
        return f64::INFINITY;
    }
    let tools = table.tools.len() as f64;
    let lead = |i: &usize| table.values[tool][*i] - table.values.iter().map(|v| v[*i]).sum::<f64>() / tools;
    let leads: Vec<f64> = group.iter().map(lead).collect();
    sample_variance(&leads, mean(&leads)) / group.len() as f64
}

fn guess_accuracy(table: &ScoreTable, group: &[usize]) -> f64 {
    let mean_label = |i: &usize| mean(&table.item(*i).labels.iter().flatten().copied().collect::<Vec<_>>());
    mean(&group.iter().map(mean_label).collect::<Vec<_>>())
}
