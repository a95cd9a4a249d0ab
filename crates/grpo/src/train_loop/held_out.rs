//! Held-out accuracy of a policy, and suites.

use std::collections::BTreeMap;
use std::time::Instant;

use rlar_data::Example;
use rlar_eval::suite::{GenerationOptions, LocalPolicy, SuiteEval, SuiteResult};
use rlar_eval::{Accuracy, Protocol, accuracy};
use rlar_policy::Policy;
use rlar_rewards::Orchestrator;
use rlar_run::RunFolder;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use crate::TrainError;
use crate::config::{Config, Metric};
use crate::report::summary::Measured;
use crate::run::job::Job;
use crate::schedule::mix;
use crate::update::train_state::State;

/// Held-out accuracy, sampled and greedy, and suites.
pub fn measure(job: &mut Job, state: &mut State) -> Result<Measured, TrainError> {
    let clock = Instant::now();
    let config = &job.config;
    let examples = &job.heldout[..config.eval.examples(job.heldout.len())];
    let mut one =
        |protocol: &Protocol| Ok::<_, TrainError>(accuracy(&state.model, examples, &mut job.rewards, protocol)?.0);
    let [sampled, greedy] = config.protocols();
    let (sampled, greedy) =
        if examples.is_empty() { (BTreeMap::new(), BTreeMap::new()) } else { (one(&sampled)?, one(&greedy)?) };
    let suites = sit(&state.model, &mut job.suites, config)?;
    let suites = suites.iter().map(|marks| (marks.suite.clone(), marks.json())).collect();
    state.ledger.seconds.evaluation += clock.elapsed().as_secs_f64();
    Ok(Measured { sampled, greedy, suites })
}

/// What a measurement while training says: the share of right answers to held-out examples (`accuracy`, and `kinds`), `suites`,
/// and the figure that decides which checkpoint is best (`decides`, the more the better; null where too many answers have no
/// score). Nothing is drawn from the run's own random numbers.
pub fn midway(
    policy: &Policy,
    heldout: &[Example],
    rewards: &mut Orchestrator,
    exams: &mut [SuiteEval],
    config: &Config,
) -> Result<Option<Value>, TrainError> {
    let mut said = share(policy, heldout, rewards, config)?;
    let all = sit(policy, exams, config)?;
    if let (true, None) = (all.is_empty(), &said) {
        return Ok(None);
    }
    let known = said.get_or_insert_with(|| json!({}));
    known["decides"] = match &config.eval.metric {
        Metric::Sampled | Metric::Greedy => known["accuracy"].clone(),
        Metric::Suite(name, figure) => decisive(&all, name, figure.as_deref(), config).into(),
    };
    if !all.is_empty() {
        known["suites"] = all.iter().map(|marks| (marks.suite.clone(), marks.json())).collect::<Map<_, _>>().into();
    }
    Ok(said)
}

/// A suite's figure, turned so that more is better; nothing where too much of it is unknown.
fn decisive(all: &[SuiteResult], name: &str, figure: Option<&str>, config: &Config) -> Option<f64> {
    let marks = all.iter().find(|marks| marks.suite == name)?;
    let lost = marks.without_score() as f64;
    if lost > config.rewards.failure_limit * (marks.prompts * marks.samples) as f64 {
        return None;
    }
    let figure = marks.metric(figure)?;
    let value = figure.value?;
    Some(if figure.metric.higher_is_better() { value } else { -value })
}

/// Sits all suites.
fn sit(policy: &Policy, exams: &mut [SuiteEval], config: &Config) -> Result<Vec<SuiteResult>, TrainError> {
    let own = LocalPolicy { policy, identity: "the policy".into(), batch: config.sampling.batch };
    let asking = GenerationOptions { seed: mix(&[config.seed, 4]), cache: None, cancelled: &|| false };
    let mut all = Vec::new();
    for exam in exams {
        let replies = exam.generate(&own, &asking, &mut |_| ())?.unwrap_or_default();
        all.push(exam.evaluate("the policy", replies, None, &|| false)?.0);
    }
    Ok(all)
}

/// The share of right answers to held-out examples by the metric that decides, and the same by kind; nothing without
/// such examples. Where tools left more answers without a score than `rewards.failure_limit` allows, there is no accuracy.
fn share(
    policy: &Policy,
    heldout: &[Example],
    rewards: &mut Orchestrator,
    config: &Config,
) -> Result<Option<Value>, TrainError> {
    if heldout.is_empty() {
        return Ok(None);
    }
    let examples = &heldout[..config.eval.examples(heldout.len())];
    let [sampled, greedy] = config.protocols();
    let protocol = if config.eval.metric == Metric::Greedy { greedy } else { sampled };
    let (kinds, _) = accuracy(policy, examples, rewards, &protocol)?;
    let share = |a: &Accuracy| a.percent() / 100.0;
    let by_kind: Map<_, _> = kinds.iter().map(|(kind, a)| (kind.clone(), json!(share(a)))).collect();
    let all = kinds.get("all").copied().unwrap_or_default();
    let known = all.unscored as f64 <= config.rewards.failure_limit * all.answers as f64;
    Ok(Some(json!({ "accuracy": known.then(|| share(&all)), "unscored": all.unscored, "kinds": by_kind })))
}

/// What is measured before the first step, once per run: kept in a file of the run, without which later steps cannot be
/// reported.
pub fn once<T: Serialize + DeserializeOwned>(
    run: &RunFolder,
    file: &str,
    step: u64,
    measure: impl FnOnce() -> Result<T, TrainError>,
) -> Result<T, TrainError> {
    if step > 0 || run.has(file) {
        return Ok(serde_json::from_slice(&run.read(file)?)?);
    }
    let measured = measure()?;
    run.write(file, &serde_json::to_vec_pretty(&measured)?)?;
    Ok(measured)
}
