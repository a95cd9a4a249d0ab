//! What a job ends with: accuracy before and after, and where the time went.

use std::collections::BTreeMap;

use rlar_eval::Accuracy;
use rlar_eval::table::render;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::config::Config;
use crate::update::train_state::{Ledger, Seconds};

/// Held-out accuracy per kind of task (`all` has every kind), drawn both ways.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// At the training temperature.
    pub sampled: BTreeMap<String, Accuracy>,
    /// Always the likeliest token.
    pub greedy: BTreeMap<String, Accuracy>,
    /// Suites, as [`SuiteResult::json`](rlar_eval::suite::SuiteResult::json) writes them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub suites: BTreeMap<String, Value>,
}

/// The end of a job. Answers without a score count as wrong and are counted as `unscored`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// A policy before training, after any warm-up, and at the end; nothing without held-out examples.
    pub measured: Option<(Measured, Measured)>,
    /// Share of held-out pairs whose chosen reply a reward model scored higher, before and at the end.
    pub preferred: Option<(f64, f64)>,
    /// Steps done.
    pub steps: u64,
    /// Why there were no more.
    pub ended: String,
    /// Number of the best checkpoint, what decides, and how much of it there is.
    pub best: Option<(u64, String, f64)>,
    /// Where the time went.
    pub seconds: Seconds,
}

impl Report {
    /// The report of a run that ended for a reason, without its measurements.
    pub fn of(ledger: &Ledger, config: &Config, ended: String) -> Self {
        let best = ledger.best.first().filter(|_| config.run.keep_best > 0);
        let best = best.map(|(number, figure)| (*number, config.eval.metric.to_string(), *figure));
        Self { measured: None, preferred: None, steps: ledger.step, ended, best, seconds: ledger.seconds }
    }
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        if let Some((before, after)) = &self.measured {
            if !after.sampled.is_empty() {
                f.write_str(&table(before, after))?;
            }
            if !after.suites.is_empty() {
                f.write_str(&suites(before, after))?;
            }
        }
        if let Some((before, after)) = self.preferred {
            writeln!(f, "held-out pairs ranked right: {:.1} % before, {:.1} % after", 100.0 * before, 100.0 * after)?;
        }
        if let Some((number, metric, figure)) = &self.best {
            let figure = match metric.as_str() {
                "sampled" | "greedy" => format!("held-out accuracy {:.1} %", 100.0 * figure),
                // What is better the less there is of it decides by its negative.
                metric => format!("{metric} {:.4}", figure.abs()),
            };
            writeln!(f, "\nbest checkpoint: checkpoints/step-{number:06} (warm-up steps counted), {figure}")?;
        }
        let s = self.seconds;
        let total = s.warmup + s.counted() + s.evaluation + s.keeping;
        let parts = [
            ("warm-up", s.warmup),
            ("sampling", s.sampling),
            ("scoring", s.scoring),
            ("training", s.training),
            ("evaluation", s.evaluation),
            ("keeping", s.keeping),
        ];
        let parts: Vec<String> = parts.iter().map(|(name, t)| format!("{name} {t:.1} s")).collect();
        writeln!(f, "\n{} steps in {total:.0} s: {}; {}", self.steps, parts.join(", "), self.ended)
    }
}

/// Accuracy by kind, before and after.
fn table(before: &Measured, after: &Measured) -> String {
    let head = ["held-out accuracy", "answers", "before", "after", "change", "greedy before", "after", "unscored"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    let mut kinds: Vec<&String> = before.sampled.keys().filter(|k| *k != "all").collect();
    let all = "all".to_owned();
    kinds.push(&all);
    for kind in kinds {
        let of = |m: &BTreeMap<String, Accuracy>| m.get(kind).copied().unwrap_or_default();
        let (was, is) = (of(&before.sampled), of(&after.sampled));
        let percent = |a: Accuracy| format!("{:.1} %", a.percent());
        rows.push(vec![
            kind.clone(),
            is.answers.to_string(),
            percent(was),
            percent(is),
            format!("{:+.1}", is.percent() - was.percent()),
            percent(of(&before.greedy)),
            percent(of(&after.greedy)),
            if was.unscored == is.unscored {
                is.unscored.to_string()
            } else {
                format!("{}, {}", was.unscored, is.unscored)
            },
        ]);
    }
    render(&rows)
}

/// Figures of suites, before and after: shares from 0 to 1, BLEU, chrF and TER as they are.
fn suites(before: &Measured, after: &Measured) -> String {
    let mut rows = vec![["suite", "figure", "before", "after"].map(str::to_owned).to_vec()];
    for (suite, marks) in &after.suites {
        for (name, figure) in marks["figures"].as_object().into_iter().flatten() {
            let was = before.suites.get(suite).map_or(&Value::Null, |m| &m["figures"][name]);
            let shown = |f: &Value| f["value"].as_f64().map_or("–".into(), |x| format!("{x:.4}"));
            rows.push(vec![suite.clone(), name.clone(), shown(was), shown(figure)]);
        }
    }
    render(&rows)
}
