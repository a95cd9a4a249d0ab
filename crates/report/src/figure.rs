//! The curves of a plot: metrics of one run or several over their steps.

use rlar_view::downsample::downsample;

use crate::panels::{PANELS, Panel, PanelColumn};
use crate::{MeasuredRun, ReportError};

/// Largest number of points of a curve; of longer ones, neighbouring steps share a point with their mean.
const MAX_POINTS: usize = 300;
/// Largest number of curves of a plot.
const MAX_CURVES: usize = 12;
/// Largest number of steps that are marked in a plot.
pub const MAX_MARKED_STEPS: usize = 30;
/// Largest value, with either sign: differences of larger ones are not finite.
const MAX_VALUE: f64 = 1e300;

/// How curves are drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PlotLook {
    /// Weight of the exponential moving average, corrected for its start, as in TensorBoard; from 0 (none) to below 1.
    pub smoothing: f64,
    /// Whether the axis of the values is logarithmic. Values that are not above 0 are left out then.
    pub log: bool,
}

/// A plot that is not drawn yet.
#[derive(Debug)]
pub struct Figure {
    /// The name under which `rlar plot` draws it.
    pub name: String,
    /// Its title, with the unit.
    pub title: String,
    /// Its curves, each with a point at least.
    pub curves: Vec<Curve>,
    /// Number of curves that are left out, because there are too many.
    pub left_out: usize,
    /// Steps at which something happened.
    pub marks: Vec<MarkedStep>,
    /// How it is drawn.
    pub look: PlotLook,
}

/// A curve.
#[derive(Debug, PartialEq)]
pub struct Curve {
    /// What tells it apart from the other curves; may be empty if it is the only one.
    pub label: String,
    /// Its points, by rising step.
    pub points: Vec<CurvePoint>,
    /// The values before smoothing, where they are smoothed.
    pub raw: Vec<CurvePoint>,
}

/// A point of a curve.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CurvePoint {
    /// The last of its steps.
    pub step: f64,
    /// The mean over its steps.
    pub mean: f64,
    /// The lowest value of its steps.
    pub low: f64,
    /// The highest value of its steps.
    pub high: f64,
}

/// A step at which something happened, with its number in the list of what stands out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MarkedStep {
    /// The step.
    pub step: u64,
    /// The number, from 1.
    pub number: usize,
}

/// The steps of all runs at which something happened, rising, with their numbers.
pub fn marked_steps(runs: &[&MeasuredRun]) -> Vec<MarkedStep> {
    let mut steps: Vec<u64> = runs.iter().flat_map(|run| run.marks.iter().map(|mark| mark.step)).collect();
    steps.sort_unstable();
    steps.dedup();
    steps.into_iter().enumerate().map(|(i, step)| MarkedStep { step, number: i + 1 }).collect()
}

/// The figure of a panel; `None` if no run has values for it.
pub fn panel_figure(panel: &Panel, runs: &[&MeasuredRun], look: PlotLook) -> Option<Figure> {
    let columns: Vec<Vec<PanelColumn>> = runs.iter().map(|run| panel.columns_of(&run.table)).collect();
    figure(panel.name, panel.title, runs, &columns, look)
}

/// The figure of what is called `name`: a panel, a metric, or a distribution, of which the mean is drawn.
pub fn named_figure(name: &str, runs: &[&MeasuredRun], look: PlotLook) -> Result<Figure, ReportError> {
    if runs.iter().all(|run| run.table.steps.is_empty()) {
        let names: Vec<&str> = runs.iter().map(|run| run.given.as_str()).collect();
        return Err(ReportError::NoSteps(names.join(", ")));
    }
    let drawn = |look: PlotLook| {
        let metric = |metric: &str| {
            let column = PanelColumn { name: metric.to_owned(), label: String::new() };
            figure(metric, metric, runs, &vec![vec![column]; runs.len()], look)
        };
        let panel = Panel::named(name).and_then(|panel| panel_figure(panel, runs, look));
        panel.or_else(|| metric(name)).or_else(|| metric(&format!("{name}/mean")))
    };
    match drawn(look) {
        Some(figure) => Ok(figure),
        None if drawn(PlotLook { log: false, ..look }).is_some() => Err(ReportError::NothingAboveZero(name.to_owned())),
        None => Err(no_metric(name, runs)),
    }
}

fn no_metric(name: &str, runs: &[&MeasuredRun]) -> ReportError {
    let mut metrics: Vec<&str> = runs.iter().flat_map(|run| run.table.columns.keys().map(String::as_str)).collect();
    metrics.sort_unstable();
    metrics.dedup();
    let panels = PANELS.iter().filter(|panel| panel_figure(panel, runs, PlotLook::default()).is_some());
    let panels: Vec<&str> = panels.map(|panel| panel.name).collect();
    ReportError::NoMetric {
        metric: name.to_owned(),
        nearest: rlar_data::nearest(name, panels.iter().chain(&metrics).copied()),
        panels: panels.join(", "),
        metrics: metrics.join(", "),
    }
}

fn figure(
    name: &str,
    title: &str,
    runs: &[&MeasuredRun],
    columns: &[Vec<PanelColumn>],
    look: PlotLook,
) -> Option<Figure> {
    let mut curves = Vec::new();
    for (run, columns) in runs.iter().zip(columns) {
        for column in columns {
            let run_label = if runs.len() > 1 { run.label.as_str() } else { "" };
            let words: Vec<&str> = [run_label, &column.label].into_iter().filter(|word| !word.is_empty()).collect();
            curves.extend(curve(run, &column.name, words.join(" · "), look));
        }
    }
    let left_out = curves.len().saturating_sub(MAX_CURVES);
    curves.truncate(MAX_CURVES);
    let mut marks = marked_steps(runs);
    marks.truncate(MAX_MARKED_STEPS);
    (!curves.is_empty()).then(|| Figure {
        name: name.to_owned(),
        title: title.to_owned(),
        curves,
        left_out,
        marks,
        look,
    })
}

/// The curve of a metric of a run; `None` if it has no value that can be shown.
fn curve(run: &MeasuredRun, metric: &str, label: String, look: PlotLook) -> Option<Curve> {
    let sampled = downsample(&run.table, &[metric], 0, u64::MAX, MAX_POINTS);
    let column = sampled.columns.into_iter().next()?;
    let mut points = Vec::new();
    for (i, step) in sampled.last_steps.iter().enumerate() {
        let value = |values: &[Option<f64>]| Some(values.get(i).copied()??.clamp(-MAX_VALUE, MAX_VALUE));
        if let (Some(mean), Some(low), Some(high)) = (value(&column.mean), value(&column.low), value(&column.high)) {
            points.push(CurvePoint { step: *step as f64, mean, low, high });
        }
    }
    let mut raw = if look.smoothing > 0.0 { points.clone() } else { Vec::new() };
    smooth(&mut points, look.smoothing);
    if look.log {
        points.retain(|point| point.mean > 0.0);
        raw.retain(|point| point.mean > 0.0);
    }
    (!points.is_empty()).then_some(Curve { label, points, raw })
}

/// Replaces the means by their exponential moving average with a weight from 0 to 1, corrected for its start.
fn smooth(points: &mut [CurvePoint], weight: f64) {
    if weight <= 0.0 {
        return;
    }
    let (mut sum, mut correction) = (0.0, 1.0);
    for point in points {
        sum = sum * weight + (1.0 - weight) * point.mean;
        correction *= weight;
        point.mean = sum / (1.0 - correction);
    }
}
