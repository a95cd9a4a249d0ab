//! What a job would do, without doing it.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Instant;

use rlar_policy::Policy;

use crate::config::{Config, KlEstimator, Method};
use crate::rollouts::collect::Source;
use crate::rollouts::tool_health::Health;
use crate::run::job::Job;
use crate::run::setup;
use crate::train_loop::preference::{Pair, pairs};
use crate::train_loop::reward_model;
use crate::train_loop::sft::{Demonstration, SftStep, demonstrations, step_down};
use crate::update::policy_update::{descent, learn};
use crate::update::train_state::State;
use crate::{TrainError, optimizer, schedule};

/// The resolved config, the memory, the tokens, the tools and the expected time of a job. One step is taken in memory to
/// time it; nothing is written.
pub fn dry_run(mut job: Job) -> Result<String, TrainError> {
    let config = job.config.clone();
    let mut out = serde_yaml::to_string(&config).unwrap_or_else(|e| e.to_string());
    let policy = setup::first_policy(&job)?;
    let trained = policy.layout().trained().parameters();
    let _ = writeln!(out, "\nmodel     {} parameters, {trained} of them trained", policy.layout().parameters());
    if config.train.method == Method::RewardModel {
        preferring(&mut out, &job, &policy)?;
    } else {
        acting(&mut out, &mut job, policy)?;
    }
    Ok(out)
}

fn tokens(out: &mut String, name: &str, of: &str, lens: &[usize]) {
    if lens.is_empty() {
        return;
    }
    let (all, longest) = (lens.iter().sum::<usize>(), lens.iter().max().copied().unwrap_or(0));
    let _ = writeln!(out, "{name:9} {} {of}, {all} tokens, the longest {longest}", lens.len());
}

fn time(out: &mut String, config: &Config, warmup: f64, step: f64) {
    let total = warmup * config.warmup.steps as f64 + step * config.train.steps as f64;
    let mut parts = format!("{} steps of {step:.2} s", config.train.steps);
    if config.warmup.steps > 0 {
        parts = format!("{} warm-up steps of {warmup:.2} s, {parts}", config.warmup.steps);
    }
    let limit = config.train.max_minutes;
    let bound =
        if limit > 0.0 { format!("; at most {limit} of training by `train.max_minutes`") } else { String::new() };
    let _ = writeln!(out, "time      about {:.1} minutes: {parts}{bound}; measuring not counted", total / 60.0);
}

fn acting(out: &mut String, job: &mut Job, policy: Policy) -> Result<(), TrainError> {
    let config = &job.config.clone();
    let prompts = setup::prompt_tokens_of(&policy, &job.train, config, "data.train")?;
    let mixture = setup::mixture(job, &prompts)?;
    let heldout = setup::prompt_tokens_of(&policy, &job.heldout, config, "data.heldout")?;
    let data = demonstrations(&policy, &job.demonstrations, config.data.format)?;
    let longest = setup::longest(&prompts, &data, config);
    let _ = writeln!(out, "memory    {}", setup::plan(config, &policy.decoder, longest));
    let lens = |x: &[Vec<u32>]| x.iter().map(Vec::len).collect::<Vec<usize>>();
    let lens = |x: &[Vec<u32>]| lens(x).into_iter().filter(|n| *n > 0).collect::<Vec<usize>>();
    tokens(out, "train", "prompts", &lens(&prompts));
    tokens(out, "heldout", "prompts", &lens(&heldout));
    tokens(out, "imitated", "demonstrations", &data.iter().map(Demonstration::len).collect::<Vec<usize>>());
    let mut tools: BTreeMap<String, usize> = BTreeMap::new();
    for example in job.train.iter().chain(&job.heldout) {
        for choice in job.rewards.choose(example)?.tools {
            *tools.entry(choice.tool).or_default() += 1;
        }
    }
    let mut missing = Vec::new();
    for (tool, examples) in tools {
        let packages = job.rewards.missing_packages(&tool)?;
        let install = if packages.is_empty() { String::new() } else { format!("; installs {}", packages.join(", ")) };
        let _ = writeln!(out, "tool      {tool} for {examples} prompts{install}");
        missing.extend(packages);
    }

    let mut state = setup::fresh(policy)?;
    setup::plan_memory(&mut state.ledger, config, &state.model.decoder, longest);
    let supervised = |state: &mut State, batch: usize| -> Result<f64, TrainError> {
        let clock = Instant::now();
        let descent = descent(config, 1.0, state.ledger.tokens_at_a_time, 0);
        let step = SftStep { number: 1, place: 0, batch, seed: config.seed, lr: 0.0, descent };
        step_down(state, &optimizer(config), &data, step)?;
        Ok(clock.elapsed().as_secs_f64())
    };
    let warmup = if config.warmup.steps > 0 { supervised(&mut state, config.warmup.batch)? } else { 0.0 };
    if config.train.method == Method::Sft {
        let step = supervised(&mut state, config.train.batch)?;
        time(out, config, warmup, step);
        return Ok(());
    }
    if !missing.is_empty() {
        let _ =
            writeln!(out, "time      not measured: the tools' packages are not installed yet, and a dry run does not");
        return Ok(());
    }
    let clock = Instant::now();
    let mut source = Source {
        config,
        examples: &job.train,
        heldout: &job.heldout,
        prompts: &prompts,
        mixture,
        rewards: &mut job.rewards,
        health: Health::default(),
        evolution: None,
    };
    let batch = source.collect(&state.model, 0, 0, 0)?;
    let reference = (config.algorithm.kl.estimator != KlEstimator::None).then(|| state.model.decoder.clone());
    learn(&mut state, reference.as_ref(), &batch, &prompts, config, 0.0);
    let took = clock.elapsed().as_secs_f64();
    let _ = writeln!(out, "step      {} reply tokens in {} groups", batch.tokens(), batch.drawn().count());
    time(out, config, warmup, took);
    Ok(())
}

fn preferring(out: &mut String, job: &Job, policy: &Policy) -> Result<(), TrainError> {
    let config = &job.config;
    let model = policy.reward_model(0)?;
    let (data, heldout) = (pairs(&model, &job.preferences)?, pairs(&model, &job.heldout_preferences)?);
    let longest = data.iter().map(Pair::len).max().unwrap_or(1);
    let plan = setup::plan(config, &policy.decoder, longest);
    let _ = writeln!(out, "memory    {plan}");
    tokens(out, "train", "pairs", &data.iter().map(Pair::len).collect::<Vec<usize>>());
    tokens(out, "heldout", "pairs", &heldout.iter().map(Pair::len).collect::<Vec<usize>>());
    let mut state = setup::fresh(model)?;
    let clock = Instant::now();
    let chosen = schedule::batch(data.len(), config.train.batch.min(data.len()), 0, config.seed);
    let chosen: Vec<&Pair> = chosen.iter().map(|i| &data[*i]).collect();
    reward_model::step(&mut state, &chosen, &optimizer(config), 0.0, plan.tokens)?;
    time(out, config, 0.0, clock.elapsed().as_secs_f64());
    Ok(())
}
