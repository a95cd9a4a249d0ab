//! The final report of a job: measurements before and after training, and how long each phase took.

use std::collections::BTreeMap;
use std::fmt;

use rlar_eval::Accuracy;
use rlar_eval::table::render;
use rlar_run::{fill, percent, wrap};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::config::Config;
use crate::report::hints::LAST_STEPS;
use crate::update::train_state::{Counters, TotalSeconds};

/// Evaluation of a policy: held-out accuracy by kind of task (the key `all` is over every kind), and results of suites.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PolicyEvaluation {
    /// Held-out accuracy of replies sampled at the training temperature, by kind of task.
    pub sampled: BTreeMap<String, Accuracy>,
    /// Held-out accuracy of greedy replies, by kind of task.
    pub greedy: BTreeMap<String, Accuracy>,
    /// Results of evaluation suites by name, as [`SuiteResult::json`](rlar_eval::suite::SuiteResult::json) writes them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub suites: BTreeMap<String, Value>,
}

/// A value before and after training; on disk the pair `[before, after]`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "(T, T)", into = "(T, T)", bound(serialize = "T: Clone + Serialize"))]
pub struct BeforeAfter<T> {
    /// The value before the first training step, after the supervised warm-up if there is one.
    pub before: T,
    /// The value after the last training step.
    pub after: T,
}

impl<T> From<(T, T)> for BeforeAfter<T> {
    fn from((before, after): (T, T)) -> Self {
        Self { before, after }
    }
}

impl<T> From<BeforeAfter<T>> for (T, T) {
    fn from(change: BeforeAfter<T>) -> Self {
        (change.before, change.after)
    }
}

/// The best checkpoint of a run; on disk the triple `[number, metric, value]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "(u64, String, f64)", into = "(u64, String, f64)")]
pub struct BestOfRun {
    /// Number of the checkpoint: steps done, supervised warm-up steps included.
    pub number: u64,
    /// Name of the metric by which checkpoints were compared, `eval.metric`.
    pub metric: String,
    /// Value of the metric at this checkpoint, negated if lower values of the metric are better.
    pub value: f64,
}

impl From<(u64, String, f64)> for BestOfRun {
    fn from((number, metric, value): (u64, String, f64)) -> Self {
        Self { number, metric, value }
    }
}

impl From<BestOfRun> for (u64, String, f64) {
    fn from(best: BestOfRun) -> Self {
        (best.number, best.metric, best.value)
    }
}

/// How a figure changed from the first steps of a run to the last ones.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trend {
    /// Name of the figure: `reward` for the mean reward of a step's replies, or `loss` for methods without rewards.
    pub figure: String,
    /// Number of steps over which `first` is a mean; `last` is a mean over as many.
    pub steps: usize,
    /// Mean of the figure over the first steps.
    pub first: f64,
    /// Mean of the figure over the last steps.
    pub last: f64,
}

impl Trend {
    /// The trend in the records of all steps of a run, lines of `metrics.jsonl`. `None` for fewer than two records, or
    /// if the figure is missing in all of the first or in all of the last steps.
    pub fn of(records: &[Value]) -> Option<Self> {
        let steps = LAST_STEPS.min(records.len() / 2);
        let (first, last) = (&records[..steps], &records[records.len() - steps..]);
        let mean = |records: &[Value], path: &str| {
            let values: Vec<f64> = records.iter().filter_map(|record| record.pointer(path)?.as_f64()).collect();
            (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
        };
        let has_rewards = records.iter().any(|record| record.get("reward").is_some());
        let (figure, path) = if has_rewards { ("reward", "/reward/mean") } else { ("loss", "/loss") };
        let (first, last) = mean(first, path).zip(mean(last, path))?;
        Some(Self { figure: figure.to_owned(), steps, first, last })
    }
}

impl fmt::Display for Trend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { figure, steps, first, last } = self;
        let figure = match figure.as_str() {
            "reward" => "mean reward",
            other => other,
        };
        match *steps {
            1 => writeln!(f, "{figure} {first:.3} in the first step, {last:.3} in the last"),
            _ => writeln!(f, "{figure} {first:.3} in the first {steps} steps, {last:.3} in the last {steps}"),
        }
    }
}

/// The result of a job, written as `report.json` and as text in `report.txt`. Held-out replies that got no score count
/// as wrong; their number is reported as `unscored`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Evaluation of a policy before and after training; `None` without held-out prompts and suites, and for reward
    /// models.
    pub measured: Option<BeforeAfter<PolicyEvaluation>>,
    /// Share of held-out preference pairs in which the reward model scores the chosen reply higher, before and after
    /// training; `None` without such pairs, and for policies.
    pub preferred: Option<BeforeAfter<f64>>,
    /// Number of training steps done; steps of the supervised warm-up are not counted.
    pub steps: u64,
    /// Why the run ended, such as `all steps are done`.
    pub ended: String,
    /// The best checkpoint; `None` without `run.keep_best` or without a measurement.
    pub best: Option<BestOfRun>,
    /// Seconds that the run spent in each phase.
    pub seconds: TotalSeconds,
    /// How the reward or the loss changed over the steps; `None` for a run of fewer than two steps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trend: Option<Trend>,
    /// Hints for the user: sentences that say what stood out in the last steps of the run, and what to change.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hints: Vec<String>,
}

impl Report {
    /// A report with steps, best checkpoint and times from `counters`, but without evaluations. `ended` says why the
    /// run ended.
    pub fn new(counters: &Counters, config: &Config, ended: String) -> Self {
        let best = counters.best.first().filter(|_| config.run.keep_best > 0);
        let metric = config.eval.metric.to_string();
        let best = best.map(|best| BestOfRun { number: best.number, metric, value: best.value });
        Self {
            measured: None,
            preferred: None,
            steps: counters.step,
            ended,
            best,
            seconds: counters.seconds,
            trend: None,
            hints: Vec::new(),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(BeforeAfter { before, after }) = &self.measured {
            if !after.sampled.is_empty() {
                f.write_str(&table(before, after))?;
            }
            if !after.suites.is_empty() {
                f.write_str(&suites(before, after))?;
            }
        }
        if let Some(BeforeAfter { before, after }) = self.preferred {
            writeln!(f, "held-out pairs ranked right: {} % before, {} % after", percent(before), percent(after))?;
        }
        if let (None, None, Some(trend)) = (&self.measured, self.preferred, &self.trend) {
            write!(f, "{trend}")?;
        }
        if let Some(BestOfRun { number, metric, value }) = &self.best {
            let value = match metric.as_str() {
                "sampled" | "greedy" => format!("held-out accuracy {} %", percent(*value)),
                // Metrics that are better when lower are negated for the comparison.
                metric => format!("{metric} {:.4}", value.abs()),
            };
            let line = format!("best checkpoint: checkpoints/step-{number:06} (warm-up steps included), {value}");
            writeln!(f, "\n{}", wrap(&line))?;
        }
        let s = self.seconds;
        let parts = [
            ("warm-up", s.warmup),
            ("sampling", s.sampling),
            ("scoring", s.scoring),
            ("training", s.training),
            ("evaluation", s.evaluation),
            ("overhead", s.overhead),
            ("loading and saving", s.outside),
        ];
        let parts: Vec<String> = parts.iter().map(|(name, t)| format!("{name} {t:.1} s")).collect();
        writeln!(f, "\n{}", wrap(&format!("{} steps in {:.0} s; {}", self.steps, s.total(), self.ended)))?;
        writeln!(f, "{}", fill(parts.iter().map(String::as_str), ", "))?;
        self.hints.iter().try_for_each(|hint| writeln!(f, "{}", wrap(&format!("hint: {hint}"))))
    }
}

/// Held-out accuracy before and after training as a text table, one row per kind of task.
fn table(before: &PolicyEvaluation, after: &PolicyEvaluation) -> String {
    let head = ["kind", "answers", "before", "after", "change", "greedy before", "after", "unscored"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    let mut kinds: Vec<&String> = before.sampled.keys().filter(|k| *k != "all").collect();
    let all = "all".to_owned();
    kinds.push(&all);
    for kind in kinds {
        let accuracy = |by_kind: &BTreeMap<String, Accuracy>| by_kind.get(kind).copied().unwrap_or_default();
        let (was, is) = (accuracy(&before.sampled), accuracy(&after.sampled));
        let share = |a: Accuracy| a.percent() / 100.0;
        let shown = |a: Accuracy| format!("{} %", percent(share(a)));
        let change = percent(share(is) - share(was));
        rows.push(vec![
            kind.clone(),
            is.answers.to_string(),
            shown(was),
            shown(is),
            if change.starts_with('-') { change } else { format!("+{change}") },
            shown(accuracy(&before.greedy)),
            shown(accuracy(&after.greedy)),
            if was.unscored == is.unscored {
                is.unscored.to_string()
            } else {
                format!("{}, {}", was.unscored, is.unscored)
            },
        ]);
    }
    format!("held-out accuracy\n\n{}", render(&rows))
}

/// Metrics of the suites before and after training as a text table. Shares lie between 0 and 1; BLEU, chrF and TER have
/// their published scales.
fn suites(before: &PolicyEvaluation, after: &PolicyEvaluation) -> String {
    let mut rows = vec![["suite", "metric", "before", "after"].map(str::to_owned).to_vec()];
    for (suite, result) in &after.suites {
        for (name, metric) in result["figures"].as_object().into_iter().flatten() {
            let was = before.suites.get(suite).map_or(&Value::Null, |m| &m["figures"][name]);
            let value = |m: &Value| m["value"].as_f64().map_or("–".into(), |x| format!("{x:.4}"));
            rows.push(vec![suite.clone(), name.clone(), value(was), value(metric)]);
        }
    }
    render(&rows)
}
