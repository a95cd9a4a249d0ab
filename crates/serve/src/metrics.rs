//! Counts and times of the server in the text format of Prometheus (version 0.0.4).

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Upper bounds of the buckets of all histograms, in seconds.
const BUCKETS: [f64; 15] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

/// The counters and histograms of a server.
#[derive(Debug, Default)]
pub struct Metrics {
    families: Mutex<BTreeMap<&'static str, MetricFamily>>,
}

/// All series of one metric.
#[derive(Debug)]
struct MetricFamily {
    help: &'static str,
    series: BTreeMap<String, MetricSeries>,
}

/// One series of a metric, under its labels.
#[derive(Debug)]
enum MetricSeries {
    Counter(f64),
    Histogram(LatencyHistogram),
}

/// How many times are at most each bound, in seconds; with their number and sum.
#[derive(Debug, Default)]
struct LatencyHistogram {
    buckets: [u64; BUCKETS.len()],
    count: u64,
    sum: f64,
}

impl LatencyHistogram {
    fn add(&mut self, seconds: f64) {
        for (bucket, bound) in self.buckets.iter_mut().zip(BUCKETS) {
            *bucket += u64::from(seconds <= bound);
        }
        self.count += 1;
        self.sum += seconds;
    }
}

/// A value at the time of the answer.
#[derive(Clone, Debug)]
pub struct Gauge {
    /// Name of the metric.
    pub name: &'static str,
    /// What it is, in a sentence.
    pub help: &'static str,
    /// The labels, made by [`labels`].
    pub labels: String,
    /// The value.
    pub value: f64,
}

/// A label of a series.
#[derive(Clone, Copy, Debug)]
pub struct Label<'a> {
    /// Name of the label.
    pub name: &'static str,
    /// Its value, any text.
    pub value: &'a str,
}

/// Labels as they stand between braces.
pub fn labels(labels: &[Label]) -> String {
    let one = |label: &Label| {
        let value = label.value.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n");
        format!("{}=\"{value}\"", label.name)
    };
    labels.iter().map(one).collect::<Vec<_>>().join(",")
}

impl Metrics {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, MetricFamily>> {
        self.families.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds to a counter.
    pub fn count(&self, name: &'static str, help: &'static str, labels: String, by: f64) {
        let mut families = self.lock();
        let family = families.entry(name).or_insert_with(|| MetricFamily { help, series: BTreeMap::new() });
        if let MetricSeries::Counter(value) = family.series.entry(labels).or_insert(MetricSeries::Counter(0.0)) {
            *value += by;
        }
    }

    /// Adds times, in seconds, to a histogram.
    pub fn times(&self, name: &'static str, help: &'static str, labels: String, seconds: &[f64]) {
        let mut families = self.lock();
        let family = families.entry(name).or_insert_with(|| MetricFamily { help, series: BTreeMap::new() });
        let empty = || MetricSeries::Histogram(LatencyHistogram::default());
        if let MetricSeries::Histogram(histogram) = family.series.entry(labels).or_insert_with(empty) {
            for seconds in seconds {
                histogram.add(*seconds);
            }
        }
    }

    /// Counts an answered request.
    pub fn request(&self, route: &str, status: u16, seconds: f64) {
        let status = status.to_string();
        let both = labels(&[Label { name: "route", value: route }, Label { name: "status", value: &status }]);
        self.count("rlar_requests_total", "Answered requests.", both, 1.0);
        let route = labels(&[Label { name: "route", value: route }]);
        let help = "Seconds from the head of a request to its answer.";
        self.times("rlar_request_seconds", help, route, &[seconds]);
    }

    /// All metrics as text, with these values of the moment.
    pub fn render(&self, gauges: &[Gauge]) -> String {
        let mut text = String::new();
        for (name, family) in self.lock().iter() {
            let is_counter = family.series.values().all(|series| matches!(series, MetricSeries::Counter(_)));
            let kind = if is_counter { "counter" } else { "histogram" };
            let _ = writeln!(text, "# HELP {name} {}\n# TYPE {name} {kind}", family.help);
            for (labels, series) in &family.series {
                match series {
                    MetricSeries::Counter(value) => line(&mut text, name, labels, *value),
                    MetricSeries::Histogram(histogram) => histogram_lines(&mut text, name, labels, histogram),
                }
            }
        }
        let mut last = "";
        for gauge in gauges {
            if gauge.name != last {
                let _ = writeln!(text, "# HELP {0} {1}\n# TYPE {0} gauge", gauge.name, gauge.help);
                last = gauge.name;
            }
            line(&mut text, gauge.name, &gauge.labels, gauge.value);
        }
        text
    }
}

fn line(text: &mut String, name: &str, labels: &str, value: f64) {
    let _ =
        if labels.is_empty() { writeln!(text, "{name} {value}") } else { writeln!(text, "{name}{{{labels}}} {value}") };
}

fn histogram_lines(text: &mut String, name: &str, labels: &str, histogram: &LatencyHistogram) {
    let comma = if labels.is_empty() { "" } else { "," };
    for (bound, count) in BUCKETS.iter().zip(histogram.buckets) {
        let _ = writeln!(text, "{name}_bucket{{{labels}{comma}le=\"{bound}\"}} {count}");
    }
    let _ = writeln!(text, "{name}_bucket{{{labels}{comma}le=\"+Inf\"}} {}", histogram.count);
    line(text, &format!("{name}_sum"), labels, histogram.sum);
    line(text, &format!("{name}_count"), labels, histogram.count as f64);
}
