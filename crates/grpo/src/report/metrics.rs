//! The record of a step.

use std::collections::BTreeMap;

use rlar_data::Example;
use rlar_rewards::domain;
use serde_json::{Value, json};

use rlar_policy::Finish;

use crate::algorithm::advantage::moments;
use crate::config::{Config, KlEstimator, Surrogate};
use crate::rollouts::collect::Batch;
use crate::rollouts::rollout::{Group, tool_statistics};
use crate::rollouts::zero_spread::Flat;
use crate::update::policy_update::Learned;
use crate::update::train_state::Ledger;

/// Seconds that a step took, by phase: what it waited for, where phases run side by side.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Spent {
    /// Sampling, with the scoring beside it.
    pub sampling: f64,
    /// Scoring after the last reply.
    pub scoring: f64,
    /// Learning.
    pub training: f64,
}

/// The record of a step for `metrics.jsonl`. What cannot be known is `null`, not zero.
pub fn record(
    batch: &Batch,
    learned: &Learned,
    flat: &Flat,
    ledger: &Ledger,
    config: &Config,
    lr: f32,
    spent: Spent,
) -> Value {
    let replies: Vec<_> = batch.drawn().flat_map(|g| &g.replies).collect();
    let totals: Vec<f64> = replies.iter().filter_map(|r| r.scores.total()).collect();
    let judged = replies.iter().filter_map(|r| r.scores.total_beside(&config.rewards.always));
    let judged: Vec<f64> = judged.collect();
    let audits: Vec<f64> = replies.iter().filter_map(|r| r.audit).collect();
    let lengths: Vec<f64> = replies.iter().map(|r| r.tokens.len() as f64).collect();
    let tokens = batch.tokens();
    let tools = tool_statistics(batch.drawn()).into_iter().map(|(name, t)| {
        let failures = json!({ "asked": t.asked, "failed": t.failed, "late": t.late, "abstained": t.abstained, "last_failure": t.last_failure });
        (name, json!({ "score": distribution(&t.scores), "outcomes": failures }))
    });
    let tools: serde_json::Map<String, Value> = tools.collect();
    let share = |n: usize, of: usize| (of > 0).then(|| n as f64 / of as f64);
    let cut_off = replies.iter().filter(|r| r.finish == Finish::Length).count();
    let groups = batch.drawn().count();
    let advantages: Vec<f64> = learned.advantages.iter().flatten().flatten().copied().collect();
    let ratios: Vec<f64> = learned.ratios.iter().map(|r| f64::from(*r)).collect();
    let per_token = |sum: f64| (learned.tokens > 0).then(|| sum / learned.tokens as f64);
    let per_step = |sum: f64| (learned.steps > 0).then(|| sum / learned.steps as f64);
    let has_reference = config.algorithm.kl.estimator != KlEstimator::None;
    let kl = |i: usize| if has_reference { per_token(learned.kl[i]) } else { None };
    let entropy: f64 = learned.entropy.iter().map(|e| f64::from(*e)).sum();
    let entropy = (!learned.entropy.is_empty()).then(|| entropy / learned.entropy.len() as f64);
    let clips = !matches!(config.algorithm.surrogate, Surrogate::Sapo | Surrogate::Vespo);
    let per_second = |n: usize, seconds: f64| (seconds > 0.0).then(|| n as f64 / seconds);
    json!({
        "step": ledger.step + 1,
        "reward": distribution(&totals),
        "accuracy": share(judged.iter().filter(|s| **s >= 0.5).count(), judged.len()),
        "unscored": replies.len() - totals.len(),
        "uncovered": replies.iter().filter(|r| r.scores.tools.is_empty()).count(),
        "audit": mean(&audits),
        "tools": tools,
        "zero_spread_groups": share(flat.groups, groups),
        "flat": flat,
        "replaced_groups": batch.replaced.len(),
        "advantage": distribution(&advantages),
        "loss": per_step(learned.loss),
        "grad_norm": per_step(learned.norm),
        "learning_rate": lr,
        "optimizer_steps": learned.steps,
        "ratio": distribution(&ratios),
        "clipped": {
            "low": if clips { share(learned.clipped[0], ratios.len()) } else { None },
            "high": if clips { share(learned.clipped[1], ratios.len()) } else { None },
        },
        "kl": { "k1": kl(0), "k2": kl(1), "k3": kl(2) },
        "entropy": entropy,
        "sampler_trainer_gap": (learned.gap.1 > 0).then(|| learned.gap.0 / learned.gap.1 as f64),
        "correction": distribution(&learned.corrections),
        "staleness": ledger.step - batch.policy,
        "reply_tokens": distribution(&lengths),
        "cut_off": share(cut_off, replies.len()),
        "tokens_drawn": ledger.reply_tokens,
        "seconds": { "sampling": spent.sampling, "scoring": spent.scoring, "training": spent.training },
        "tokens_per_second": {
            "sampling": per_second(tokens, batch.sampling),
            "training": per_second(learned.tokens, spent.training),
            "step": per_second(tokens, spent.sampling + spent.scoring + spent.training),
        },
    })
}

/// Prompts, reward and accuracy by domain; nothing where there is but one.
pub fn domains(batch: &Batch, examples: &[Example], config: &Config) -> Value {
    let mut domains: BTreeMap<&str, Vec<&Group>> = BTreeMap::new();
    for group in batch.drawn() {
        domains.entry(domain(&examples[group.example])).or_default().push(group);
    }
    if domains.len() < 2 {
        return Value::Null;
    }
    let of = |(domain, groups): (&str, Vec<&Group>)| {
        let replies = || groups.iter().flat_map(|g| &g.replies);
        let totals: Vec<f64> = replies().filter_map(|r| r.scores.total()).collect();
        let judged = replies().filter_map(|r| r.scores.total_beside(&config.rewards.always));
        let right: Vec<f64> = judged.map(|s| f64::from(u8::from(s >= 0.5))).collect();
        let unscored = replies().count() - totals.len();
        let record =
            json!({ "prompts": groups.len(), "reward": mean(&totals), "accuracy": mean(&right), "unscored": unscored });
        (domain.to_owned(), record)
    };
    Value::Object(domains.into_iter().map(of).collect())
}

fn mean(x: &[f64]) -> Option<f64> {
    (!x.is_empty()).then(|| x.iter().sum::<f64>() / x.len() as f64)
}

/// Mean, spread and quantiles; `null` of nothing.
fn distribution(x: &[f64]) -> Value {
    if x.is_empty() {
        return Value::Null;
    }
    let mut sorted = x.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = |q: f64| sorted[(q * (sorted.len() - 1) as f64).round() as usize];
    let (mean, std) = moments(x);
    json!({
        "mean": mean, "std": std,
        "min": at(0.0), "q10": at(0.1), "q50": at(0.5), "q90": at(0.9), "max": at(1.0),
    })
}

/// Every number in a record with the path to it, joined by `/`.
pub fn scalars(record: &Value) -> Vec<(String, f64)> {
    fn walk(value: &Value, path: &str, out: &mut Vec<(String, f64)>) {
        match value {
            Value::Number(n) => out.extend(n.as_f64().map(|x| (path.to_owned(), x))),
            Value::Object(map) => {
                for (key, value) in map {
                    let below = if path.is_empty() { key.clone() } else { format!("{path}/{key}") };
                    walk(value, &below, out);
                }
            }
            _ => {}
        }
    }
    let mut out = Vec::new();
    walk(record, "", &mut out);
    out.retain(|(path, _)| path != "step" && path != "time");
    out
}
