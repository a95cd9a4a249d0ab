//! `rlar compare`: how the configs of two runs differ, and their metrics side by side.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result};
use rlar_eval::table::render;
use serde_json::Value;

use crate::cli::CompareArguments;
use crate::error::BadRequestExt;
use crate::output::print;

/// Number of last steps whose means are compared.
const LAST_STEPS: usize = 10;

/// The config values and the figures (metrics) of a run. The keys of both maps are names such as `train/steps`.
struct RunFacts {
    config: BTreeMap<String, String>,
    figures: BTreeMap<String, f64>,
}

pub fn run(arguments: &CompareArguments) -> Result<()> {
    let one = RunFacts::read(&arguments.one).bad_request()?;
    let other = RunFacts::read(&arguments.other).bad_request()?;
    let names = [&arguments.one, &arguments.other].map(|path| path.display().to_string());
    let mut configs = vec![["config".to_owned(), names[0].clone(), names[1].clone()].to_vec()];
    for key in one.config.keys().chain(other.config.keys()).collect::<BTreeSet<_>>() {
        let value = |facts: &RunFacts| facts.config.get(key).map_or("–", String::as_str).to_owned();
        if value(&one) != value(&other) {
            configs.push(vec![key.clone(), value(&one), value(&other)]);
        }
    }
    let mut figures = vec![["metric".to_owned(), names[0].clone(), names[1].clone()].to_vec()];
    for key in one.figures.keys().chain(other.figures.keys()).collect::<BTreeSet<_>>() {
        let value = |facts: &RunFacts| facts.figures.get(key).map_or("–".to_owned(), |x| format!("{x:.4}"));
        figures.push(vec![key.clone(), value(&one), value(&other)]);
    }
    let same = if configs.len() == 1 { "The configs are the same.\n" } else { "" };
    print(format!("{}{same}\n{}", render(&configs), render(&figures)))
}

impl RunFacts {
    fn read(run: &Path) -> Result<Self> {
        let read = |name: &str| {
            let path = run.join(name);
            std::fs::read_to_string(&path).with_context(|| format!("{}: is this a run's folder?", path.display()))
        };
        let config: Value = serde_yaml::from_str(&read("config.yaml")?).with_context(|| run.display().to_string())?;
        let mut leaves = BTreeMap::new();
        flatten(&config, "", &mut |path, value| {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            leaves.insert(path.to_owned(), text);
        });
        let metrics = read("metrics.jsonl")?;
        let records = metrics.lines().map(serde_json::from_str).collect::<Result<Vec<Value>, _>>();
        let records = records.with_context(|| run.join("metrics.jsonl").display().to_string())?;
        let mut figures = means(&records[records.len().saturating_sub(LAST_STEPS)..]);
        figures.insert("steps".into(), records.len() as f64);
        // A run that has not ended has no report.
        if let Some(report) = read("report.json").ok().and_then(|text| serde_json::from_str::<Value>(&text).ok()) {
            flatten(&report["measured"], "held-out (before, after)", &mut |path, value| {
                if let Some(number) = value.as_f64().filter(|_| path.contains("/all/")) {
                    figures.insert(path.to_owned(), number);
                }
            });
        }
        Ok(Self { config: leaves, figures })
    }
}

/// Means of the most important metrics over steps, whose records are lines of `metrics.jsonl`; by metric name.
fn means(records: &[Value]) -> BTreeMap<String, f64> {
    let paths = [
        "/reward/mean",
        "/accuracy",
        "/loss",
        "/grad_norm",
        "/kl/k3",
        "/entropy",
        "/reply_tokens/mean",
        "/cut_off",
        "/zero_spread_groups",
        "/unscored",
        "/tokens_per_second/step",
    ];
    let mean = |path: &&str| {
        let known: Vec<f64> = records.iter().filter_map(|record| record.pointer(path)?.as_f64()).collect();
        let name = format!("{}, last {} steps", path.trim_start_matches('/'), records.len());
        (!known.is_empty()).then(|| (name, known.iter().sum::<f64>() / known.len() as f64))
    };
    paths.iter().filter_map(mean).collect()
}

/// Calls `leaf` for every value that is no object or list of objects, with its path.
fn flatten(value: &Value, path: &str, leaf: &mut dyn FnMut(&str, &Value)) {
    let below = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}/{key}") };
    match value {
        Value::Object(object) => object.iter().for_each(|(key, value)| flatten(value, &below(key), leaf)),
        Value::Array(list) if list.iter().any(Value::is_object) => {
            list.iter().enumerate().for_each(|(i, value)| flatten(value, &below(&i.to_string()), leaf));
        }
        leaf_value => leaf(path, leaf_value),
    }
}
