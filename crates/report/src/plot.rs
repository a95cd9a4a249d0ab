//! Draws a figure as SVG. The colours are those of Okabe and Ito, darker or lighter where one would not stand out from the
//! ground; dashes tell curves apart, too. Every element has the colour of the light scheme, and a style sheet has those of
//! the dark one, so that programs without style sheets draw it as well.

use std::fmt::Write;
use std::path::PathBuf;

use maud::{Markup, PreEscaped, html};

use crate::figure::{Curve, CurvePoint, Figure, PlotLook, named_figure};
use crate::scale::Scale;
use crate::shown::{number, shown, shown_cut};
use crate::{MeasuredRun, ReportError};

/// The colours of the dark scheme.
pub const DARK_STYLE: &str = include_str!("plot-dark.css");

const COLOURS: [&str; 6] = ["#0072B2", "#D55E00", "#007A59", "#B4588C", "#000000", "#9A6A00"];
const DASHES: [Option<&str>; 4] = [None, Some("9 4"), Some("2 3"), Some("12 4 2 4")];

/// Sizes in pixels of the view box.
const WIDTH: f64 = 480.0;
const LEFT: f64 = 58.0;
const RIGHT: f64 = 10.0;
const TOP: f64 = 18.0;
const HEIGHT: f64 = 190.0;
const BELOW: f64 = 36.0;
const LEGEND_ROW: f64 = 17.0;
/// Width of a character, about: the fonts of the reader are not known.
const CHARACTER: f64 = 6.3;
/// Number of characters of a label.
const MAX_LABEL: usize = 48;
/// A curve with fewer points than this has a dot at each.
const DOTTED: usize = 25;

/// Draws a metric of runs as an SVG file. `metric` is the name of a panel, of a metric, or of a distribution, of which the
/// mean is drawn.
pub fn plot_metric(folders: &[PathBuf], metric: &str, look: PlotLook) -> Result<String, ReportError> {
    let runs = MeasuredRun::open_all(folders)?;
    let runs: Vec<&MeasuredRun> = runs.iter().collect();
    Ok(svg_file(&named_figure(metric, &runs, look)?))
}

/// A figure as a file of its own.
pub fn svg_file(figure: &Figure) -> String {
    format!("{}\n", draw(figure, true).into_string())
}

/// A figure as a part of a page.
pub fn svg_inline(figure: &Figure) -> Markup {
    draw(figure, false)
}

struct Axes {
    steps: Scale,
    values: Scale,
}

impl Axes {
    fn of(figure: &Figure) -> Self {
        let points = || figure.curves.iter().flat_map(|curve| curve.points.iter().chain(&curve.raw));
        // Only a single curve has its lowest and highest values drawn.
        let has_band = figure.curves.len() == 1 && !figure.look.log;
        let values = points().flat_map(|point| {
            let band = if has_band { [point.low, point.high] } else { [point.mean; 2] };
            [point.mean].into_iter().chain(band)
        });
        let values = if figure.look.log { Scale::log(values) } else { Scale::linear(values, 5, true) };
        Self { steps: Scale::linear(points().map(|point| point.step), 6, false), values }
    }

    fn x(&self, step: f64) -> f64 {
        LEFT + self.steps.place(step) * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, value: f64) -> f64 {
        TOP + (1.0 - self.values.place(value)) * HEIGHT
    }

    /// The path of a curve.
    fn path(&self, points: &[CurvePoint]) -> String {
        let mut path = String::new();
        for (i, point) in points.iter().enumerate() {
            let letter = if i == 0 { 'M' } else { 'L' };
            // Writing to a text does not fail.
            let _ = write!(path, "{letter}{:.1} {:.1}", self.x(point.step), self.y(point.mean));
        }
        path
    }

    /// The area between the lowest and the highest values of a curve.
    fn band(&self, points: &[CurvePoint]) -> String {
        let corner = |step: f64, value: f64| format!("{:.1},{:.1}", self.x(step), self.y(value));
        let upper = points.iter().map(|point| corner(point.step, point.high));
        let lower = points.iter().rev().map(|point| corner(point.step, point.low));
        upper.chain(lower).collect::<Vec<_>>().join(" ")
    }
}

fn draw(figure: &Figure, is_file: bool) -> Markup {
    let axes = Axes::of(figure);
    let legend = Legend::of(figure);
    let height = TOP + HEIGHT + BELOW + legend.height() + if is_file { 16.0 } else { 0.0 };
    let up = if is_file { -16.0 } else { 0.0 };
    let identifier = format!("plot-{}", figure.name.replace(|c: char| !c.is_ascii_alphanumeric(), "-"));
    let (title, about) = (format!("{identifier}-title"), format!("{identifier}-about"));
    let bottom = TOP + HEIGHT;
    html! {
        svg class="plot" xmlns=[is_file.then_some("http://www.w3.org/2000/svg")] role="img"
            viewBox={ "0 " (up) " " (WIDTH) " " (height) } aria-labelledby={ (title) " " (about) }
            font-family="system-ui, sans-serif" font-size="11" {
            title id=(title) { (shown(&figure.title)) }
            desc id=(about) { (describe(figure)) }
            @if is_file {
                style { (PreEscaped(DARK_STYLE)) }
                rect class="ground" x="0" y=(up) width=(WIDTH) height=(height) fill="#ffffff" {}
                text class="words" x=(LEFT) y="-2" fill="#1b1f24" font-weight="600" { (shown_cut(&figure.title, 60)) }
            }
            @for tick in &axes.values.ticks {
                @let y = axes.y(*tick);
                line class="grid" x1=(LEFT) x2=(WIDTH - RIGHT) y1=(rounded(y)) y2=(rounded(y)) stroke="#e3e7eb" {}
                text class="words" x=(LEFT - 6.0) y=(rounded(y + 4.0)) text-anchor="end" fill="#505a64" { (number(*tick)) }
            }
            @for tick in axes.steps.ticks.iter().filter(|tick| tick.fract() == 0.0) {
                text class="words" x=(rounded(axes.x(*tick))) y=(bottom + 15.0) text-anchor="middle" fill="#505a64" { (tick) }
            }
            line class="edge" x1=(LEFT) x2=(WIDTH - RIGHT) y1=(bottom) y2=(bottom) stroke="#767f88" {}
            text class="words" x=((LEFT + WIDTH - RIGHT) / 2.0) y=(bottom + 29.0) text-anchor="middle" fill="#505a64" { "step" }
            (marks(figure, &axes))
            @for (i, curve) in figure.curves.iter().enumerate() { (draw_curve(figure, &axes, i, curve)) }
            (legend.draw(bottom + BELOW + 8.0))
        }
    }
}

fn draw_curve(figure: &Figure, axes: &Axes, index: usize, curve: &Curve) -> Markup {
    let Style { class, colour, dash } = style(index);
    let is_alone = figure.curves.len() == 1;
    let is_dotted = curve.points.len() < DOTTED;
    html! {
        @if is_alone && !figure.look.log && curve.points.iter().any(|point| point.low < point.high) {
            polygon class={ "fill " (class) } points=(axes.band(&curve.points)) fill=(colour) fill-opacity="0.15" {}
        }
        @if !curve.raw.is_empty() {
            path class=(class) d=(axes.path(&curve.raw)) fill="none" stroke=(colour) stroke-width="1" stroke-opacity="0.35" {}
        }
        path class=(class) d=(axes.path(&curve.points)) fill="none" stroke=(colour) stroke-width="1.8" stroke-dasharray=[dash] {}
        @if is_dotted {
            @for point in &curve.points {
                @let (x, y) = (rounded(axes.x(point.step)), rounded(axes.y(point.mean)));
                circle class={ "fill " (class) } cx=(x) cy=(y) r="2.4" fill=(colour) {}
            }
        }
    }
}

/// A dotted line at a step.
struct MarkLine {
    x: String,
    number: Option<usize>,
}

/// Dotted lines at the steps at which something happened, with their numbers in the list of what stands out.
fn marks(figure: &Figure, axes: &Axes) -> Markup {
    let last = figure.curves.iter().flat_map(|curve| &curve.points).map(|point| point.step).fold(0.0, f64::max);
    let first = figure.curves.iter().flat_map(|curve| &curve.points).map(|point| point.step).fold(last, f64::min);
    let inside = figure.marks.iter().filter(|mark| (first..=last).contains(&(mark.step as f64)));
    let mut lines = Vec::new();
    let mut labelled = f64::NEG_INFINITY;
    for mark in inside {
        let x = axes.x(mark.step as f64);
        // Numbers would overlap where lines are close.
        let has_number = x - labelled > 14.0;
        if has_number {
            labelled = x;
        }
        lines.push(MarkLine { x: rounded(x), number: has_number.then_some(mark.number) });
    }
    html! {
        @for MarkLine { x, number } in lines {
            line class="edge" x1=(x) x2=(x) y1=(TOP) y2=(TOP + HEIGHT) stroke="#767f88" stroke-dasharray="2 4" {}
            @if let Some(number) = number {
                text class="words" x=(x) y=(TOP - 5.0) text-anchor="middle" fill="#505a64" { (number) }
            }
        }
    }
}

struct Style {
    class: String,
    colour: &'static str,
    dash: Option<&'static str>,
}

/// How the curve with an index is drawn. Twelve curves in a row differ in colour or dashes.
fn style(index: usize) -> Style {
    let colour = index % COLOURS.len();
    let dash = DASHES[(index / COLOURS.len() + index) % DASHES.len()];
    Style { class: format!("curve-{colour}"), colour: COLOURS[colour], dash }
}

/// The names of the curves, in rows below the plot.
struct Legend {
    entries: Vec<LegendEntry>,
    rows: usize,
    /// Number of the first entries that stand for a curve.
    curves: usize,
}

struct LegendEntry {
    label: String,
    x: f64,
    row: usize,
}

impl Legend {
    fn of(figure: &Figure) -> Self {
        let mut legend = Self { entries: Vec::new(), rows: 0, curves: figure.curves.len() };
        if figure.curves.len() < 2 {
            return legend;
        }
        let (mut x, mut row) = (LEFT, 0);
        let left_out = (figure.left_out > 0).then(|| format!("{} more are left out", figure.left_out));
        for label in figure.curves.iter().map(|curve| shown_cut(&curve.label, MAX_LABEL)).chain(left_out) {
            let width = 40.0 + CHARACTER * label.chars().count() as f64;
            if x > LEFT && x + width > WIDTH {
                (x, row) = (LEFT, row + 1);
            }
            legend.entries.push(LegendEntry { label, x, row });
            x += width;
        }
        legend.rows = row + 1;
        legend
    }

    fn height(&self) -> f64 {
        self.rows as f64 * LEGEND_ROW
    }

    fn draw(&self, top: f64) -> Markup {
        html! {
            @for (i, entry) in self.entries.iter().enumerate() {
                @let Style { class, colour, dash } = style(i);
                @let y = top + entry.row as f64 * LEGEND_ROW;
                @if i < self.curves {
                    line class=(class) x1=(rounded(entry.x)) x2=(rounded(entry.x + 26.0)) y1=(y) y2=(y) stroke=(colour)
                        stroke-width="2.4" stroke-dasharray=[dash] {}
                }
                text class="words" x=(rounded(entry.x + 31.0)) y=(y + 4.0) fill="#1b1f24" { (entry.label) }
            }
        }
    }
}

/// The curves in words.
fn describe(figure: &Figure) -> String {
    let scale = if figure.look.log { "Logarithmic. " } else { "" };
    let smoothed =
        if figure.look.smoothing > 0.0 { format!("Smoothed with {}. ", figure.look.smoothing) } else { String::new() };
    let curve = |curve: &Curve| {
        let (first, last) = (curve.points.first()?, curve.points.last()?);
        let low = curve.points.iter().map(|point| point.low).fold(f64::INFINITY, f64::min);
        let high = curve.points.iter().map(|point| point.high).fold(f64::NEG_INFINITY, f64::max);
        let name =
            if curve.label.is_empty() { String::new() } else { format!("{}: ", shown_cut(&curve.label, MAX_LABEL)) };
        Some(format!(
            "{name}from {} at step {} to {} at step {}, lowest {}, highest {}.",
            number(first.mean),
            first.step,
            number(last.mean),
            last.step,
            number(low),
            number(high)
        ))
    };
    format!("{scale}{smoothed}{}", figure.curves.iter().filter_map(curve).collect::<Vec<_>>().join(" "))
}

fn rounded(place: f64) -> String {
    format!("{place:.1}")
}
