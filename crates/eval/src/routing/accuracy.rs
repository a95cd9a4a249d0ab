//! How good each tool is in each category, as far as few items can tell.

use super::Table;

/// Means of the tools' worth.
pub struct Accuracies {
    /// By category and tool, as measured; the means over everything where a category has no items.
    pub measured: Vec<Vec<f64>>,
    /// By category and tool, drawn towards what the tool's and the category's means alone predict.
    pub shrunken: Vec<Vec<f64>>,
    /// By category, the mean label of the completions: what a guess is worth.
    pub chance: Vec<f64>,
}

impl Accuracies {
    /// Of some items. The worth of tool `t` in category `c` is taken as `a_t + a_c − a + d_tc` with random `d_tc`:
    /// its variance is what remains of the observed deviations after their sampling noise (method of moments), and
    /// each deviation is shrunk by its share of signal (Efron and Morris, 1975). Where categories say nothing
    /// beyond noise, the tools keep their overall order in all of them.
    pub fn of(table: &Table, items: &[usize]) -> Self {
        let tools = table.tools.len();
        let groups = table.grouped(items);
        let mean = |tool: usize, group: &[usize]| {
            group.iter().map(|i| table.values[tool][*i]).sum::<f64>() / group.len().max(1) as f64
        };
        let overall: Vec<f64> = (0..tools).map(|t| table.mean(items, |i| Some(table.values[t][i]))).collect();
        let average = overall.iter().sum::<f64>() / tools as f64;
        let measured: Vec<Vec<f64>> = groups
            .iter()
            .map(|g| if g.is_empty() { overall.clone() } else { (0..tools).map(|t| mean(t, g)).collect() })
            .collect();
        let mut expected = Vec::new();
        let mut noise = Vec::new();
        for (group, means) in groups.iter().zip(&measured) {
            let level = means.iter().sum::<f64>() / tools as f64;
            expected.push(overall.iter().map(|a| a + level - average).collect::<Vec<_>>());
            noise.push((0..tools).map(|t| sampling_noise(table, group, t)).collect::<Vec<_>>());
        }
        let cells = || {
            let all = (0..groups.len()).filter(|c| groups[*c].len() > 1);
            all.flat_map(|c| (0..tools).map(move |t| (c, t)))
        };
        let excess = cells().map(|(c, t)| (measured[c][t] - expected[c][t]).powi(2) - noise[c][t]).sum::<f64>();
        let signal = (excess / cells().count().max(1) as f64).max(0.0);
        let shrunk = |c: usize, t: usize| {
            let share = if signal > 0.0 { signal / (signal + noise[c][t]) } else { 0.0 };
            expected[c][t] + share * (measured[c][t] - expected[c][t])
        };
        let shrunken = (0..groups.len()).map(|c| (0..tools).map(|t| shrunk(c, t)).collect()).collect();
        let chance = groups.iter().map(|g| if g.is_empty() { 0.5 } else { guess(table, g) }).collect();
        Self { measured, shrunken, chance }
    }
}

/// Variance of the mean of a tool's lead over the other tools.
fn sampling_noise(table: &Table, group: &[usize], tool: usize) -> f64 {
    let tools = table.tools.len() as f64;
    let lead = |i: &usize| table.values[tool][*i] - table.values.iter().map(|v| v[*i]).sum::<f64>() / tools;
    let n = group.len() as f64;
    if group.len() < 2 {
        return f64::INFINITY;
    }
    let mean = group.iter().map(lead).sum::<f64>() / n;
    group.iter().map(|i| (lead(i) - mean).powi(2)).sum::<f64>() / (n - 1.0) / n
}

fn guess(table: &Table, group: &[usize]) -> f64 {
    let of = |i: &usize| {
        let labels: Vec<f64> = table.item(*i).labels.iter().flatten().copied().collect();
        labels.iter().sum::<f64>() / labels.len().max(1) as f64
    };
    group.iter().map(of).sum::<f64>() / group.len() as f64
}
