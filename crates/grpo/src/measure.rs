//! Held-out accuracy of a policy.

use std::time::Instant;

use rlar_data::Example;
use rlar_eval::{Accuracy, Protocol, accuracy};
use rlar_policy::Policy;
use rlar_rewards::Orchestrator;
use rlar_run::RunFolder;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::TrainError;
use crate::config::{Config, Metric};
use crate::job::Job;
use crate::report::Measured;
use crate::state::State;

/// Held-out accuracy, sampled and greedy.
pub fn measure(job: &mut Job, state: &mut State) -> Result<Measured, TrainError> {
    let clock = Instant::now();
    let config = &job.config;
    let examples = &job.heldout[..config.eval.examples(job.heldout.len())];
    let mut one =
        |protocol: &Protocol| Ok::<_, TrainError>(accuracy(&state.model, examples, &mut job.rewards, protocol)?.0);
    let [sampled, greedy] = config.protocols();
    let measured = Measured { sampled: one(&sampled)?, greedy: one(&greedy)? };
    state.ledger.seconds.evaluation += clock.elapsed().as_secs_f64();
    Ok(measured)
}

/// The share of right answers to held-out examples by the metric that decides, and the same by kind; nothing without
/// such examples. Where tools left more answers without a score than `rewards.failure_limit` allows, there is no accuracy.
pub fn share(
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
    let protocol = if config.eval.metric == Metric::Sampled { sampled } else { greedy };
    let (kinds, _) = accuracy(policy, examples, rewards, &protocol)?;
    let share = |a: &Accuracy| a.percent() / 100.0;
    let by_kind: serde_json::Map<_, _> = kinds.iter().map(|(kind, a)| (kind.clone(), json!(share(a)))).collect();
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
