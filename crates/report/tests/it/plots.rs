//! Plots as SVG files.

use std::path::Path;

use rlar_report::{PlotLook, ReportError, plot_metric};
use serde_json::json;

use crate::fixture::{record, write_metrics, write_run};
use crate::markup::{start_tags, text_of};
use crate::paths;

/// A corner of a curve, in pixels.
struct Corner {
    x: f64,
    y: f64,
}

/// The corners of the last curve of a plot, which is the smoothed one if there are two.
fn corners(svg: &str) -> Vec<Corner> {
    let tags = start_tags(svg);
    let path = tags.iter().rfind(|tag| tag.name == "path").unwrap();
    let (_, path) = path.attributes.iter().find(|(name, _)| name == "d").unwrap();
    let corner = |corner: &str| {
        let (x, y) = corner.split_once(' ').unwrap();
        Corner { x: x.parse().unwrap(), y: y.parse().unwrap() }
    };
    path.split(['M', 'L']).filter(|corner| !corner.is_empty()).map(corner).collect()
}

fn plot(run: &Path, metric: &str, look: PlotLook) -> Result<String, ReportError> {
    plot_metric(&paths(&[run]), metric, look)
}

fn plotted(run: &Path, metric: &str, look: PlotLook) -> String {
    plot(run, metric, look).unwrap()
}

/// A run whose rewards at the steps from 1 on are given.
fn run_with(rewards: &[f64]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    write_run(folder.path());
    let records: Vec<_> = rewards.iter().zip(1..).map(|(reward, step)| record(step, *reward)).collect();
    write_metrics(folder.path(), &records);
    folder
}

#[test]
fn a_curve_is_at_the_places_of_its_values() {
    let folder = run_with(&[0.0, 0.5, 1.0, 0.25]);
    let svg = plotted(folder.path(), "reward", PlotLook::default());
    let corners = corners(&svg);
    let [a, b, c, d] = &corners[..] else { panic!("four steps have four corners: {svg}") };
    // Pixels are rounded to tenths.
    let is_near = |one: f64, other: f64| (one - other).abs() <= 0.2;
    assert!(is_near(b.x - a.x, c.x - b.x) && is_near(c.x - b.x, d.x - c.x) && b.x > a.x);
    let height = a.y - c.y;
    assert!(height > 100.0 && is_near(a.y - b.y, 0.5 * height) && is_near(a.y - d.y, 0.25 * height));
    assert!(text_of(&svg).contains("from 0 at step 1 to 0.25 at step 4, lowest 0, highest 1."), "{svg}");
    assert!(
        svg.starts_with("<svg ") && svg.contains("xmlns=\"http://www.w3.org/2000/svg\""),
        "it is a file of its own"
    );
}

#[test]
fn names_are_those_of_panels_of_metrics_or_of_distributions() {
    let folder = run_with(&[0.5, 0.75]);
    let path = |metric: &str| {
        corners(&plotted(folder.path(), metric, PlotLook::default())).iter().map(|c| c.y).collect::<Vec<_>>()
    };
    assert_eq!(path("reward"), path("reward/mean"));
    assert_eq!(path("tools"), path("tools/exact, or nearly/score"));
    let error = plot(folder.path(), "rewrd", PlotLook::default()).unwrap_err().to_string();
    for part in ["`rewrd`", "did you mean `reward`?", "kl/k3", "tools/exact, or nearly/score/mean", "accuracy"] {
        assert!(error.contains(part), "{part}: {error}");
    }
}

#[test]
fn smoothing_is_an_exponential_moving_average_corrected_for_its_start() {
    // With a weight of 0.5: 0, then (0.5 * 0 + 0.5 * 1) / 0.75, then the mean of 0.25, 0.5, 1 weighted by 1, 2, 4.
    let rewards = [0.0, 1.0, 1.0];
    let smoothed = [0.0, 2.0 / 3.0, 6.0 / 7.0];
    let folder = run_with(&rewards);
    let svg = plotted(folder.path(), "reward", PlotLook { smoothing: 0.5, log: false });
    let places = corners(&svg);
    let height = (places[0].y - places[2].y) / (smoothed[2] - smoothed[0]);
    for (place, value) in places.iter().zip(smoothed) {
        assert!((places[0].y - place.y - height * value).abs() <= 0.2, "{svg}");
    }
    // The values themselves are drawn, too.
    assert_eq!(svg.matches("<path ").count(), 2);
}

#[test]
fn a_logarithmic_scale_leaves_out_what_is_not_above_0() {
    let folder = run_with(&[0.0, 0.01, 0.1, -1.0, 1.0]);
    let svg = plotted(folder.path(), "reward", PlotLook { smoothing: 0.0, log: true });
    let places = corners(&svg);
    let [a, b, c] = &places[..] else { panic!("three values are above 0: {svg}") };
    assert!(((a.y - b.y) - (b.y - c.y)).abs() <= 0.2, "each is ten times the one before: {svg}");
    let folder = run_with(&[0.0, -1.0]);
    let error = plot(folder.path(), "reward", PlotLook { smoothing: 0.0, log: true }).unwrap_err();
    assert!(matches!(error, ReportError::NothingAboveZero(_)), "{error}");
}

#[test]
fn a_logarithmic_scale_has_labels_in_a_narrow_range_too() {
    let folder = run_with(&[2.1, 4.9]);
    let svg = plotted(folder.path(), "reward", PlotLook { smoothing: 0.0, log: true });
    assert!(svg.contains(">3</text>") && svg.contains(">4</text>"), "{svg}");
}

#[test]
fn values_without_a_range_or_with_a_huge_one_are_drawn() {
    for rewards in [&[0.5][..], &[0.5, 0.5], &[0.0], &[1e308, -1e308], &[5e-324, 0.0], &[1e16, 1e16 + 2.0]] {
        let folder = run_with(rewards);
        for log in [false, true] {
            let svg = match plot(folder.path(), "reward", PlotLook { smoothing: 0.5, log }) {
                Ok(svg) => svg,
                // Smoothing halves the smallest number, which is 0 then.
                Err(ReportError::NothingAboveZero(_)) if log && rewards[0] < 1e-300 => continue,
                Err(error) => panic!("{rewards:?}: {error}"),
            };
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{rewards:?}: {svg}");
            assert!(corners(&svg).iter().all(|c| (0.0..=480.0).contains(&c.x) && (0.0..=220.0).contains(&c.y)));
        }
    }
}

#[test]
fn a_long_run_has_a_bounded_plot_that_loses_no_peak() {
    let mut rewards = vec![0.5; 5000];
    rewards[2711] = 9.0;
    let folder = run_with(&rewards);
    let svg = plotted(folder.path(), "reward", PlotLook::default());
    assert!(svg.len() < 40_000 && corners(&svg).len() <= 300);
    assert!(text_of(&svg).contains("highest 9."), "{svg}");
}

#[test]
fn what_stands_out_is_marked_on_the_curves() {
    let folder = run_with(&[0.5; 5]);
    let marked = |svg: &str| svg.matches("stroke-dasharray=\"2 4\"").count();
    let before = marked(&plotted(folder.path(), "accuracy", PlotLook::default()));
    let mut records: Vec<_> = (1..=5).map(|step| record(step, 0.5)).collect();
    records[2]["news"] = json!(["signal of `math`"]);
    records[2]["hints"] = json!(["a hint"]);
    records[3]["suspended"] = json!(["strict"]);
    write_metrics(folder.path(), &records);
    // At step 3, at step 4, and where the tool is back at step 5; the hint of the report is at step 5 already.
    assert_eq!(marked(&plotted(folder.path(), "accuracy", PlotLook::default())), before + 2);
}
