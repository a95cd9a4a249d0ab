//! Columns with at most as many points as a plot can show: neighbouring steps share a point with their mean, lowest and
//! highest value, so that no peak is lost.

use serde::Serialize;

use crate::metric_table::MetricTable;

/// Columns of a run over a range of steps.
#[derive(Debug, Default, PartialEq, Serialize)]
pub struct SampledMetrics {
    /// The first step of each point.
    pub first_steps: Vec<u64>,
    /// The last step of each point.
    pub last_steps: Vec<u64>,
    /// The columns that were asked for and are there.
    pub columns: Vec<SampledColumn>,
}

/// The values of a column, one per point; `null` where no step of the point has a value.
#[derive(Debug, PartialEq, Serialize)]
pub struct SampledColumn {
    /// The column's name.
    pub name: String,
    /// Means of the points' steps.
    pub mean: Vec<Option<f64>>,
    /// Lowest values of the points' steps.
    pub low: Vec<Option<f64>>,
    /// Highest values of the points' steps.
    pub high: Vec<Option<f64>>,
}

/// The steps from `from` to `to` of some columns, as at most `points` points.
pub fn downsample(table: &MetricTable, names: &[&str], from: u64, to: u64, points: usize) -> SampledMetrics {
    let first = table.steps.partition_point(|step| *step < from);
    let end = table.steps.partition_point(|step| *step <= to).max(first);
    let width = (end - first).div_ceil(points.max(1)).max(1);
    let starts: Vec<usize> = (first..end).step_by(width).collect();
    let last = |start: usize| (start + width).min(end) - 1;
    let column = |name: &&str| {
        let values = table.columns.get(*name)?;
        let mut sampled = SampledColumn { name: (*name).to_owned(), mean: vec![], low: vec![], high: vec![] };
        for start in &starts {
            let point = (*start..=last(*start)).filter_map(|index| values.get(index).copied());
            let known: Vec<f64> = point.filter(|value| value.is_finite()).collect();
            let some = |value: f64| (!known.is_empty() && value.is_finite()).then_some(value);
            sampled.mean.push(some(known.iter().sum::<f64>() / known.len().max(1) as f64));
            sampled.low.push(some(known.iter().copied().fold(f64::INFINITY, f64::min)));
            sampled.high.push(some(known.iter().copied().fold(f64::NEG_INFINITY, f64::max)));
        }
        Some(sampled)
    };
    SampledMetrics {
        first_steps: starts.iter().map(|start| table.steps[*start]).collect(),
        last_steps: starts.iter().map(|start| table.steps[last(*start)]).collect(),
        columns: names.iter().filter_map(column).collect(),
    }
}
