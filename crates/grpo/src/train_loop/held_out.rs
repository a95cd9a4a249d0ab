//! Evaluates a policy: accuracy on held-out prompts, and suites (benchmarks).

use std::collections::BTreeMap;
use std::time::Instant;

use rlar_data::Example;
use rlar_eval::suite::{GenerationOptions, LocalPolicy, SuiteEval, SuiteResult};
use rlar_eval::{Accuracy, Protocol, accuracy, sampled_accuracy};
use rlar_policy::{GenerationRequest, Tokenizer};
use rlar_rewards::Orchestrator;
use rlar_run::{Activity, OngoingWork, Progress, RunFolder};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::TrainError;
use crate::config::{CheckpointMetric, Config, SamplingConfig};
use crate::engine::sampler::{SamplerError, check_replies};
use crate::engine::trainer::{CurrentPolicy, Trainer};
use crate::report::final_report::PolicyEvaluation;
use crate::report::step_record::Measurement;
use crate::run::job::Job;
use crate::schedule::Stream;
use crate::update::train_state::TrainState;

/// Evaluates the policy before or after training: held-out accuracy of sampled and of greedy replies, and suites. Adds
/// the time to the state's counters.
pub fn evaluate<T: Trainer>(
    job: &mut Job,
    state: &mut TrainState<T>,
    tokenizer: &Tokenizer,
) -> Result<PolicyEvaluation, TrainError> {
    let clock = Instant::now();
    let config = &job.config;
    let activity = job.rewards.activity().clone();
    let _shown = Progress::watch(job.output, "evaluation", &activity);
    let examples = &job.heldout[..config.eval.examples(job.heldout.len())];
    let policy = state.trainer.policy()?;
    let mut by_kind = |protocol: &Protocol| -> Result<BTreeMap<String, Accuracy>, TrainError> {
        if examples.is_empty() {
            return Ok(BTreeMap::new());
        }
        accuracy_of(&policy, tokenizer, examples, &mut job.rewards, protocol, config)
    };
    let [sampled, greedy] = config.protocols();
    let (sampled, greedy) = (by_kind(&sampled)?, by_kind(&greedy)?);
    let suites = by_name(&run_suites(&policy, &mut job.suites, config, &activity)?);
    drop(policy);
    state.counters.seconds.evaluation += clock.elapsed().as_secs_f64();
    Ok(PolicyEvaluation { sampled, greedy, suites })
}

/// Accuracy on examples, by kind of task. A policy that is not in this process samples at the temperature of `protocol`,
/// and otherwise as in training.
fn accuracy_of(
    policy: &CurrentPolicy,
    tokenizer: &Tokenizer,
    examples: &[Example],
    rewards: &mut Orchestrator,
    protocol: &Protocol,
    config: &Config,
) -> Result<BTreeMap<String, Accuracy>, TrainError> {
    let (sampler, version) = match policy {
        CurrentPolicy::Here(policy) => return Ok(accuracy(policy, examples, rewards, protocol)?.0),
        CurrentPolicy::Elsewhere { sampler, weight_version } => (sampler, *weight_version),
    };
    let sampling = SamplingConfig { temperature: protocol.sampling.temperature, ..config.sampling.clone() };
    let sample = |requests: &[GenerationRequest], progress: &OngoingWork| {
        let failed = |error: SamplerError| TrainError::Evaluation { message: error.to_string() };
        let replies = sampler.sample(requests, &sampling, progress, &mut |_| progress.add(1)).map_err(failed)?;
        check_replies(requests, &replies, version).map_err(failed)?;
        Ok(replies.into_iter().map(|replies| replies.into_iter().map(|reply| reply.text).collect()).collect())
    };
    Ok(sampled_accuracy::<TrainError>(tokenizer, examples, rewards, protocol, sample)?.0)
}

/// Evaluates a policy during training; `None` without held-out prompts and suites. The random numbers of training are
/// not affected.
pub fn measure_policy(
    policy: &CurrentPolicy,
    tokenizer: &Tokenizer,
    heldout: &[Example],
    rewards: &mut Orchestrator,
    suites: &mut [SuiteEval],
    config: &Config,
) -> Result<Option<Measurement>, TrainError> {
    let activity = rewards.activity().clone();
    let _measuring = activity.phase("held-out", 0, "");
    let held_out = held_out_accuracy(policy, tokenizer, heldout, rewards, config)?;
    let results = run_suites(policy, suites, config, &activity)?;
    if results.is_empty() && held_out.is_none() {
        return Ok(None);
    }
    let mut measured = held_out.unwrap_or_default();
    measured.decides = match &config.eval.metric {
        CheckpointMetric::Sampled | CheckpointMetric::Greedy => measured.accuracy,
        CheckpointMetric::Suite { suite, metric } => suite_value(&results, suite, metric.as_deref(), config),
    };
    measured.suites = by_name(&results);
    Ok(Some(measured))
}

fn by_name(results: &[SuiteResult]) -> BTreeMap<String, Value> {
    results.iter().map(|result| (result.suite.clone(), result.json())).collect()
}

/// The value of a suite's metric, negated if lower values are better. `None` if there is no such metric, or if more
/// replies than `rewards.failure_limit` allows got no score.
fn suite_value(results: &[SuiteResult], suite: &str, metric: Option<&str>, config: &Config) -> Option<f64> {
    let result = results.iter().find(|result| result.suite == suite)?;
    let replies = (result.prompts * result.samples) as f64;
    if result.without_score() as f64 > config.rewards.failure_limit * replies {
        return None;
    }
    let metric = result.metric(metric)?;
    let value = metric.value?;
    Some(if metric.metric.higher_is_better() { value } else { -value })
}

/// Runs the suites, for which the policy must be in this process.
fn run_suites(
    policy: &CurrentPolicy,
    suites: &mut [SuiteEval],
    config: &Config,
    activity: &Activity,
) -> Result<Vec<SuiteResult>, TrainError> {
    let CurrentPolicy::Here(policy) = policy else { return Ok(Vec::new()) };
    let model = LocalPolicy { policy, identity: "the policy".into(), batch: config.sampling.batch };
    let options = GenerationOptions { seed: Stream::Suites.seed(config.seed), cache: None, cancelled: &|| false };
    let mut results = Vec::new();
    for suite in suites {
        let name = format!("suite {}", suite.suite().name);
        let sampling = activity.phase(&name, suite.prompts().len(), "prompts");
        let replies = suite.generate(&model, &options, &mut |done| sampling.set(done))?.unwrap_or_default();
        drop(sampling);
        let _scoring = activity.phase(&format!("{name}: scoring"), 0, "");
        results.push(suite.evaluate("the policy", replies, None, &|| false)?.0);
    }
    Ok(results)
}

/// Accuracy on held-out prompts, of sampled or greedy replies as `eval.metric` says. `None` without held-out prompts.
/// The accuracy in the result is `None` if more replies than `rewards.failure_limit` allows got no score.
fn held_out_accuracy(
    policy: &CurrentPolicy,
    tokenizer: &Tokenizer,
    heldout: &[Example],
    rewards: &mut Orchestrator,
    config: &Config,
) -> Result<Option<Measurement>, TrainError> {
    if heldout.is_empty() {
        return Ok(None);
    }
    let examples = &heldout[..config.eval.examples(heldout.len())];
    let [sampled, greedy] = config.protocols();
    let protocol = if config.eval.metric == CheckpointMetric::Greedy { greedy } else { sampled };
    let kinds = accuracy_of(policy, tokenizer, examples, rewards, &protocol, config)?;
    let share = |a: &Accuracy| a.percent() / 100.0;
    let all = kinds.get("all").copied().unwrap_or_default();
    let is_known = all.unscored as f64 <= config.rewards.failure_limit * all.answers as f64;
    Ok(Some(Measurement {
        accuracy: is_known.then(|| share(&all)),
        unscored: Some(all.unscored),
        kinds: kinds.iter().map(|(kind, a)| (kind.clone(), share(a))).collect(),
        ..Measurement::default()
    }))
}

/// Evaluates a model before the first training step, and keeps the result in the file `file` of the run's folder. A
/// resumed run reads the file instead, because its model is no longer that of the start. `step` is the number of steps
/// done.
pub fn evaluate_once<T: Serialize + DeserializeOwned>(
    run: &RunFolder,
    file: &str,
    step: u64,
    evaluate: impl FnOnce() -> Result<T, TrainError>,
) -> Result<T, TrainError> {
    if step > 0 || run.has(file) {
        return Ok(serde_json::from_slice(&run.read(file)?)?);
    }
    let result = evaluate()?;
    run.write(file, &serde_json::to_vec_pretty(&result)?)?;
    Ok(result)
}
