//! Runs side by side: keys of their configs that differ, and means of their last steps.

use std::collections::{HashMap, HashSet};

use rlar_view::config_values::ConfigValue;
use rlar_view::mean::mean;

use crate::MeasuredRun;

/// Number of last steps whose means are compared.
pub const LAST_STEPS: usize = 10;

/// The metrics whose means are compared, in their order.
const COMPARED: [&str; 12] = [
    "reward/mean",
    "accuracy",
    "loss",
    "grad_norm",
    "kl/k3",
    "entropy",
    "reply_tokens/mean",
    "cut_off",
    "zero_spread_groups",
    "unscored",
    "margin",
    "tokens_per_second/step",
];

/// A key whose values differ between runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigDifference {
    /// The path of the key, such as `train.steps`.
    pub key: String,
    /// Its value in each run; `None` where the config does not have it.
    pub values: Vec<Option<String>>,
}

/// The mean of a metric.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricMean {
    /// The name of the metric.
    pub metric: &'static str,
    /// The mean over the last steps of each run; `None` where none of them has a value.
    pub means: Vec<Option<f64>>,
}

/// The keys whose values are not the same in all configs ([`ConfigValue::is_same`]), in the order of the first config that has
/// them.
pub fn config_differences(configs: &[&[ConfigValue]]) -> Vec<ConfigDifference> {
    let mut keys: Vec<&str> = Vec::new();
    let mut seen = HashSet::new();
    for value in configs.iter().flat_map(|config| config.iter()) {
        if seen.insert(value.key.as_str()) {
            keys.push(&value.key);
        }
    }
    let maps: Vec<HashMap<&str, &ConfigValue>> =
        configs.iter().map(|config| config.iter().map(|value| (value.key.as_str(), value)).collect()).collect();
    let difference = |key: &str| {
        let values: Vec<Option<&ConfigValue>> = maps.iter().map(|map| map.get(key).copied()).collect();
        let differs = values.iter().any(|value| !is_same(values[0], *value));
        let text = |value: Option<&ConfigValue>| value.map(|value| value.value.clone());
        differs.then(|| ConfigDifference { key: key.to_owned(), values: values.into_iter().map(text).collect() })
    };
    keys.into_iter().filter_map(difference).collect()
}

fn is_same(one: Option<&ConfigValue>, other: Option<&ConfigValue>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => one.is_same(other),
        (one, other) => one.is_none() && other.is_none(),
    }
}

/// Means of the most important metrics over the last [`LAST_STEPS`] steps of each run; metrics that no run has are left
/// out.
pub fn last_means(runs: &[&MeasuredRun]) -> Vec<MetricMean> {
    let means = COMPARED
        .into_iter()
        .map(|metric| MetricMean { metric, means: runs.iter().map(|run| last_mean(run, metric)).collect() });
    means.filter(|row| row.means.iter().any(Option::is_some)).collect()
}

/// The mean of a metric over the last steps; `None` if none of them has a value.
fn last_mean(run: &MeasuredRun, metric: &str) -> Option<f64> {
    let first = run.table.steps.len().saturating_sub(LAST_STEPS);
    let values = run.table.columns.get(metric)?;
    let known: Vec<f64> = values.iter().skip(first).copied().filter(|value| value.is_finite()).collect();
    mean(&known)
}
