//! What a job would do, without doing it.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Instant;

use rlar_policy::Policy;

use crate::batch::Source;
use crate::config::Method;
use crate::job::Job;
use crate::learn::{descent, learn};
use crate::setup::{first_policy, fresh, plan, prompt_tokens_of};
use crate::sft::{self, SftStep, demonstrations};
use crate::{TrainError, optimizer};

/// The resolved config, the memory, the tokens, the tools and the expected time of a job. One step is taken in memory to
/// time it; nothing is written.
pub fn dry_run(mut job: Job) -> Result<String, TrainError> {
    let config = job.config.clone();
    let mut out = serde_yaml::to_string(&config).unwrap_or_else(|e| e.to_string());
    let policy = first_policy(&job)?;
    let layout = policy.layout();
    let trained = layout.trained().parameters();
    let _ = writeln!(out, "\nmodel     {} parameters, {trained} of them trained", layout.parameters());
    let _ = writeln!(out, "memory    {}", plan(&config, &policy.decoder));
    if config.train.method == Method::RewardModel {
        let _ = writeln!(out, "data      {} pairs, {} held out", job.preferences.len(), job.heldout_preferences.len());
        return Ok(out);
    }
    let prompts = prompt_tokens_of(&policy, &job.train, &config)?;
    for (name, examples) in [("train", &job.train), ("heldout", &job.heldout)] {
        let lens: Vec<usize> = prompt_tokens_of(&policy, examples, &config)?.iter().map(Vec::len).collect();
        let (all, longest) = (lens.iter().sum::<usize>(), lens.iter().max().copied().unwrap_or(0));
        let _ = writeln!(out, "{name:9} {} prompts, {all} tokens, the longest {longest}", lens.len());
    }
    if config.train.method == Method::Grpo {
        let mut tools: BTreeMap<String, usize> = BTreeMap::new();
        for example in job.train.iter().chain(&job.heldout) {
            for choice in &job.rewards.assign(example)?.tools {
                *tools.entry(choice.tool.clone()).or_default() += 1;
            }
        }
        for (tool, examples) in tools {
            let _ = writeln!(out, "tool      {tool} for {examples} prompts");
        }
    }
    let _ = writeln!(out, "{}", timed(&mut job, policy, &prompts)?);
    Ok(out)
}

/// How long the job would take, from one step of each phase.
fn timed(job: &mut Job, policy: Policy, prompts: &[Vec<u32>]) -> Result<String, TrainError> {
    let config = &job.config.clone();
    let mut state = fresh(job)?;
    state.model = policy;
    let data = demonstrations(&state.model, &job.demonstrations, config.data.format)?;
    let mut supervised = |batch: usize| -> Result<f64, TrainError> {
        let clock = Instant::now();
        let descent = descent(config, 1.0, state.ledger.tokens_at_a_time, 0);
        let step = SftStep { number: 1, place: 0, batch, seed: config.seed, lr: 0.0, descent };
        sft::step(&mut state, &optimizer(config), &data, step)?;
        Ok(clock.elapsed().as_secs_f64())
    };
    let warmup = if config.warmup.steps > 0 { supervised(config.warmup.batch)? } else { 0.0 };
    let (step, tokens) = if config.train.method == Method::Grpo {
        let clock = Instant::now();
        let mut source = Source { config, examples: &job.train, prompts, rewards: &mut job.rewards };
        let batch = source.collect(&state.model, 0, 0, 0)?;
        let reference = state.model.decoder.clone();
        learn(&mut state, Some(&reference), &batch, prompts, config, 0.0);
        let tokens: usize = batch.groups.iter().flat_map(|g| &g.replies).map(|r| r.tokens.len()).sum();
        (clock.elapsed().as_secs_f64(), tokens)
    } else {
        (supervised(config.train.batch)?, 0)
    };
    let total = warmup * config.warmup.steps as f64 + step * config.train.steps as f64;
    let bound = if config.train.max_minutes > 0.0 && total > config.train.max_minutes * 60.0 {
        format!(", of which `train.max_minutes` allows {} minutes", config.train.max_minutes)
    } else {
        String::new()
    };
    Ok(format!(
        "time      about {:.1} minutes: {} warm-up steps of {warmup:.2} s, {} steps of {step:.2} s ({tokens} reply \
         tokens){bound}; measuring not counted",
        total / 60.0,
        config.warmup.steps,
        config.train.steps
    ))
}
