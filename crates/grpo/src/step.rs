//! One step: what it does to the state, and the record it leaves.

use std::time::Instant;

use rlar_data::Example;
use rlar_policy::{AdamW, Finish, Keep, Policy, floats};
use rlar_run::Records;
use serde_json::{Value, json};

use crate::config::Config;
use crate::job::Job;
use crate::loss::{Clip, clipped_surrogate, kl_k3};
use crate::rollout::{self, Rollout};
use crate::schedule::Decay;
use crate::sft::{Demonstration, SftStep, sft_step};
use crate::state::State;
use crate::update::{Descent, items, log_probs, update};
use crate::{TrainError, schedule};

/// One step of GRPO: sample, score, compare, descend.
pub fn grpo_step(state: &mut State, start: &Policy, job: &mut Job, written: &mut Records) -> Result<Value, TrainError> {
    let (config, step) = (&job.config, state.step);
    let t = &config.train;
    let chosen = schedule::batch(job.train.len(), t.prompts.min(job.train.len()), step, config.seed);
    let examples: Vec<&Example> = chosen.iter().map(|i| &job.train[*i]).collect();

    let clock = Instant::now();
    let shape = (config.data.format, &config.sampling);
    let mut rollouts = rollout::sample(&state.policy, &examples, t.group_size, shape, (config.seed, step))?;
    let sampling = clock.elapsed().as_secs_f64();

    let clock = Instant::now();
    rollout::score(&mut rollouts, &mut job.rewards)?;
    let tools = rollout::tool_statistics(&rollouts);
    for (tool, s) in &tools {
        if s.failed as f64 > config.rewards.failure_limit * s.asked as f64 {
            let last = s.last_failure.as_ref().map(ToString::to_string).unwrap_or_default();
            return Err(TrainError::ToolFails {
                step: step + 1,
                tool: tool.clone(),
                failed: s.failed,
                asked: s.asked,
                last,
            });
        }
    }
    rollout::advantages(&mut rollouts, t.group_size, t.scale_by_std);
    let scoring = clock.elapsed().as_secs_f64();

    let clock = Instant::now();
    let lr = learning_rate(config, step);
    let learning = descend(state, start, &rollouts, config, lr);
    if !learning.norm.is_finite() {
        return Err(TrainError::Diverged { step: step + 1 });
    }
    let training = clock.elapsed().as_secs_f64();

    state.seconds.sampling += sampling;
    state.seconds.scoring += scoring;
    state.seconds.training += training;
    if (step + 1) % config.run.rollouts_every == 0 || step == 0 {
        for r in rollouts.iter().take(2 * t.group_size) {
            written.append(&rollout_record(step + 1, r))?;
        }
    }
    let totals: Vec<f64> = rollouts.iter().filter_map(|r| r.scores.total()).collect();
    // Nothing scored is `null` in the record, not zero.
    let mean = |sum: f64| (!totals.is_empty()).then(|| sum / totals.len() as f64);
    let learned = |x: f64| learning.learned.then_some(x);
    let tokens: usize = rollouts.iter().map(|r| r.sample.tokens.len()).sum();
    let cut = rollouts.iter().filter(|r| r.sample.finish == Finish::Length).count();
    let flat = |group: &[Rollout]| group.iter().all(|r| r.advantage.is_none_or(|a| a == 0.0));
    let groups = rollouts.chunks(t.group_size);
    Ok(json!({
        "step": step + 1,
        "reward": mean(totals.iter().sum()),
        "accuracy": mean(totals.iter().filter(|s| **s >= 0.5).count() as f64),
        "unscored": rollouts.len() - totals.len(),
        "zero_spread_groups": groups.clone().filter(|g| flat(g)).count() as f64 / groups.len() as f64,
        "loss": learned(learning.loss),
        "kl": learned(learning.kl),
        "entropy": learned(learning.entropy),
        "clipped": learned(learning.clipped),
        "sampler_trainer_gap": learned(learning.gap),
        "grad_norm": learned(learning.norm),
        "learning_rate": lr,
        "reply_tokens": tokens as f64 / rollouts.len() as f64,
        "cut_off": cut as f64 / rollouts.len() as f64,
        "tools": tools,
        "seconds": { "sampling": sampling, "scoring": scoring, "training": training },
        "tokens_per_second": tokens as f64 / (sampling + scoring + training),
    }))
}

/// What a descent reports, averaged over its tokens.
#[derive(Debug, Default)]
struct Learning {
    /// Whether any reply could be learned from.
    learned: bool,
    loss: f64,
    norm: f64,
    kl: f64,
    entropy: f64,
    clipped: f64,
    gap: f64,
}

/// The clipped surrogate plus KL to the start, averaged over tokens, in `minibatches` optimizer steps.
fn descend(state: &mut State, start: &Policy, rollouts: &[Rollout], config: &Config, lr: f32) -> Learning {
    let t = &config.train;
    let (temperature, tokens) = (config.sampling.temperature, t.micro_batch_tokens);
    let optimizer = optimizer(config);
    let clip = Clip { low: t.clip_low, high: t.clip_high };
    let (mut out, mut seen, mut steps) = (Learning::default(), 0usize, 0usize);
    let per_step = t.prompts.div_ceil(t.minibatches) * t.group_size;
    for part in rollouts.chunks(per_step) {
        let used: Vec<&Rollout> = part.iter().filter(|r| r.advantage.is_some()).collect();
        if used.is_empty() {
            continue;
        }
        let items = items(used.iter().map(|r| r.sequence()));
        let old: Vec<f32> = used.iter().flat_map(|r| r.sample.log_probs.iter().copied()).collect();
        let advantages: Vec<f32> = used
            .iter()
            .flat_map(|r| std::iter::repeat_n(r.advantage.unwrap_or(0.0) as f32, r.sample.tokens.len()))
            .collect();
        let reference = (t.kl > 0.0).then(|| log_probs(&start.decoder, &items, temperature, tokens));
        let descent = descent_of(config, temperature, state.step);
        let (norm, loss) =
            update(&mut state.policy.decoder, &mut state.moments, &optimizer, lr, &items, descent, |scored, at| {
                let new = floats(&scored.log_probs);
                let entropies = floats(&scored.entropies);
                for (i, (new, entropy)) in new.iter().zip(entropies).enumerate() {
                    let difference = new - old[at.start + i];
                    let ratio = difference.exp();
                    out.gap += f64::from(difference.abs());
                    out.clipped += f64::from(u8::from(ratio < 1.0 - clip.low || ratio > 1.0 + clip.high));
                    out.entropy += f64::from(entropy);
                }
                let surrogate =
                    clipped_surrogate(scored.log_probs.clone(), &old[at.clone()], &advantages[at.clone()], clip);
                let Some(reference) = &reference else { return surrogate.sum() };
                let kl = kl_k3(scored.log_probs, &reference[at]);
                out.kl += floats(&kl).iter().map(|k| f64::from(*k)).sum::<f64>();
                (surrogate + kl * t.kl).sum()
            });
        seen += old.len();
        steps += 1;
        out.loss += loss;
        out.norm += norm;
    }
    let learned = steps > 0;
    let (seen, steps) = (seen.max(1) as f64, steps.max(1) as f64);
    Learning {
        learned,
        loss: out.loss / steps,
        norm: out.norm / steps,
        kl: out.kl / seen,
        entropy: out.entropy / seen,
        clipped: out.clipped / seen,
        gap: out.gap / seen,
    }
}

/// One supervised step of the warm-up.
pub fn warmup_step(state: &mut State, config: &Config, data: &[Demonstration]) -> Result<Value, TrainError> {
    let clock = Instant::now();
    let w = &config.warmup;
    let (step, floor) = (state.warmup, w.learning_rate * 0.1);
    let lr = floor + schedule::learning_rate(w.learning_rate - floor, step, w.steps, w.steps / 10, Decay::Cosine);
    let record = supervised(state, config, data, (step, step), lr)?;
    state.seconds.warmup += clock.elapsed().as_secs_f64();
    Ok(record)
}

/// One step of the control: more supervised fine-tuning instead, at the rate that the warm-up ended with.
pub fn sft_control(state: &mut State, config: &Config, data: &[Demonstration]) -> Result<Value, TrainError> {
    let clock = Instant::now();
    let (step, lr) = (state.step, config.warmup.learning_rate * 0.1);
    let record = supervised(state, config, data, (step, config.warmup.steps + step), lr)?;
    state.seconds.training += clock.elapsed().as_secs_f64();
    Ok(record)
}

/// A supervised step: its number in the record, and its place in the order of the data.
fn supervised(
    state: &mut State,
    config: &Config,
    data: &[Demonstration],
    (number, place): (u64, u64),
    lr: f32,
) -> Result<Value, TrainError> {
    let (batch, descent) = (config.warmup.batch, descent_of(config, 1.0, place));
    let step = SftStep { step: place, batch, seed: config.seed, lr, descent };
    let (norm, loss) = sft_step(&mut state.policy, &mut state.moments, &optimizer(config), data, step);
    if !norm.is_finite() {
        return Err(TrainError::Diverged { step: number + 1 });
    }
    Ok(json!({ "step": number + 1, "loss": loss, "grad_norm": norm, "learning_rate": lr }))
}

/// How the step at `place` is differentiated.
fn descent_of(config: &Config, temperature: f32, place: u64) -> Descent {
    let keep = if config.train.recompute_layers { Keep::LayerInputs } else { Keep::Everything };
    let seed = schedule::mix(&[config.seed, 3, place]);
    Descent { temperature, tokens: config.train.micro_batch_tokens, keep, seed }
}

/// The optimizer that a config describes.
pub fn optimizer(config: &Config) -> AdamW {
    let o = &config.optimizer;
    AdamW { beta1: o.beta1, beta2: o.beta2, eps: o.eps, weight_decay: o.weight_decay, max_norm: o.max_norm }
}

fn learning_rate(config: &Config, step: u64) -> f32 {
    let o = &config.optimizer;
    schedule::learning_rate(o.learning_rate, step, config.train.steps, o.warmup_steps, o.decay)
}

fn rollout_record(step: u64, r: &Rollout) -> Value {
    let verdicts: Vec<Value> = r
        .scores
        .0
        .iter()
        .map(|(tool, weight, outcome)| json!({ "tool": &**tool, "weight": weight, "outcome": outcome }))
        .collect();
    json!({
        "step": step,
        "example": r.example.id,
        "prompt": r.example.prompt(),
        "reference": r.example.reference,
        "completion": r.sample.text,
        "tokens": r.sample.tokens.len(),
        "finish": r.sample.finish,
        "verdicts": verdicts,
        "reward": r.scores.total(),
        "advantage": r.advantage,
    })
}
