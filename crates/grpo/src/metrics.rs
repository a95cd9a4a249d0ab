//! The record of a step.

use serde_json::{Value, json};

use rlar_policy::Finish;

use crate::advantage::moments;
use crate::batch::Batch;
use crate::config::Config;
use crate::learn::Learned;
use crate::rollout::tool_statistics;
use crate::state::Ledger;

/// The record of a step for `metrics.jsonl`. What cannot be known is `null`, not zero.
pub fn record(batch: &Batch, learned: &Learned, ledger: &Ledger, config: &Config, lr: f32, training: f64) -> Value {
    let replies: Vec<_> = batch.groups.iter().flat_map(|g| &g.replies).collect();
    let totals: Vec<f64> = replies.iter().filter_map(|r| r.scores.total()).collect();
    let lengths: Vec<f64> = replies.iter().map(|r| r.tokens.len() as f64).collect();
    let tokens: usize = replies.iter().map(|r| r.tokens.len()).sum();
    let share = |n: usize, of: usize| (of > 0).then(|| n as f64 / of as f64);
    let cut_off = replies.iter().filter(|r| r.finish == Finish::Length).count();
    let flat = batch.groups.iter().filter(|g| !g.scored().has_spread()).count() + batch.replaced;
    let advantages: Vec<f64> = learned.advantages.iter().flatten().flatten().copied().collect();
    let ratios: Vec<f64> = learned.ratios.iter().map(|r| f64::from(*r)).collect();
    let per_token = |sum: f64| (learned.tokens > 0).then(|| sum / learned.tokens as f64);
    let per_step = |sum: f64| (learned.steps > 0).then(|| sum / learned.steps as f64);
    let has_reference = config.algorithm.kl.estimator != crate::config::KlEstimator::None;
    let kl = |i: usize| if has_reference { per_token(learned.kl[i]) } else { None };
    let per_second = |n: usize, seconds: f64| (seconds > 0.0).then(|| n as f64 / seconds);
    let busy = batch.sampling + batch.scoring + training;
    json!({
        "step": ledger.step + 1,
        "reward": distribution(&totals),
        "accuracy": share(totals.iter().filter(|s| **s >= 0.5).count(), totals.len()),
        "unscored": replies.len() - totals.len(),
        "tools": tool_statistics(&batch.groups),
        "zero_spread_groups": share(flat, batch.groups.len() + batch.replaced),
        "replaced_groups": batch.replaced,
        "advantage": distribution(&advantages),
        "loss": per_step(learned.loss),
        "grad_norm": per_step(learned.norm),
        "learning_rate": lr,
        "optimizer_steps": learned.steps,
        "ratio": distribution(&ratios),
        "clipped": {
            "low": share(learned.clipped[0], ratios.len()),
            "high": share(learned.clipped[1], ratios.len()),
        },
        "kl": { "k1": kl(0), "k2": kl(1), "k3": kl(2) },
        "entropy": per_token(learned.entropy),
        "sampler_trainer_gap": (learned.gap.1 > 0).then(|| learned.gap.0 / learned.gap.1 as f64),
        "correction": distribution(&learned.corrections),
        "staleness": ledger.step - batch.policy,
        "reply_tokens": distribution(&lengths),
        "cut_off": share(cut_off, replies.len()),
        "tokens_drawn": ledger.reply_tokens,
        "seconds": { "sampling": batch.sampling, "scoring": batch.scoring, "training": training },
        "tokens_per_second": {
            "sampling": per_second(tokens, batch.sampling),
            "training": per_second(tokens * config.train.epochs, training),
            "step": per_second(tokens, busy),
        },
    })
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
