//! Shows what a job would do, without training or writing anything.

use std::fmt::Write;
use std::time::Instant;

use rlar_data::{DataError, Example};
use rlar_eval::encode_prompts;
use rlar_policy::{GenerationRequest, Policy, Tokenizer};

use crate::TrainError;
use crate::algorithm::advantage::advantages;
use crate::config::{Config, KlEstimator, Method, TrainingEngine};
use crate::engine::local::reference::Reference;
use crate::engine::local::trainer::LocalTrainer;
use crate::engine::tinker::ServedPolicy;
use crate::engine::trainer::Trainer;
use crate::report::metrics_log::peak_memory;
use crate::rollouts::batch::BatchPosition;
use crate::rollouts::collect::Collector;
use crate::rollouts::drawn_prompts::TrainingPrompts;
use crate::rollouts::mixture::Mixture;
use crate::rollouts::tool_health::ToolHealth;
use crate::run::assign_tools::tools_of_prompts;
use crate::run::job::Job;
use crate::run::lengths::{Lengths, prompt_lengths, retain_fitting};
use crate::run::reply_lengths::warn_of_long_replies;
use crate::run::setup;
use crate::run::tinker::{load, served_model};
use crate::train_loop::preference::{PreferencePair, preference_pairs};
use crate::train_loop::reward_model::RewardModelTraining;
use crate::train_loop::sft::{Demonstration, SftStep, demonstrations};
use crate::update::policy_update::{OldAndRefLogProbs, policy_update, scores_with_kl};
use crate::update::train_state::TrainState;

/// The resolved config of a job as text, with its memory, token counts, tools and expected time. To measure the time,
/// one step is taken in memory at learning rate 0. What may take more memory than such a step is done as well: a reward model's
/// step with the longest pairs, and replies to held-out prompts in supervised fine-tuning. No file is written.
pub fn dry_run(mut job: Job) -> Result<String, TrainError> {
    let config = job.config.clone();
    let mut out = serde_yaml::to_string(&config).unwrap_or_else(|e| e.to_string());
    if config.train.engine == TrainingEngine::Tinker {
        served_policy(&mut out, &job)?;
        return Ok(out);
    }
    let policy = setup::first_policy(&job)?;
    let trained = policy.layout().trained().parameters();
    let _ = writeln!(out, "\nmodel     {} parameters, {trained} of them trained", policy.layout().parameters());
    if config.train.method == Method::RewardModel {
        reward_model(&mut out, &job, &policy)?;
    } else {
        policy_run(&mut out, &mut job, policy)?;
    }
    Ok(out)
}

/// Writes a line with the number of sequences, the sum of their lengths in tokens, and the largest length. The line
/// begins with `name`; `unit` says what the sequences are, such as `prompts`.
fn token_counts(out: &mut String, name: &str, unit: &str, lengths: &[usize]) {
    if lengths.is_empty() {
        return;
    }
    let (all, longest) = (lengths.iter().sum::<usize>(), lengths.iter().max().copied().unwrap_or(0));
    let _ = writeln!(out, "{name:9} {} {unit}, {all} tokens, the longest {longest}", lengths.len());
}

/// Writes a line with the most memory that this process had so far; none where the system does not say.
fn measured_memory(out: &mut String) {
    if let Some(peak) = peak_memory() {
        let _ = writeln!(out, "peak      {} MB in this dry run, its steps included", peak.div_ceil(1 << 20));
    }
}

/// Writes a line with the expected time of the run. `warmup` and `step` are the seconds of a supervised warm-up step
/// and of a training step.
fn expected_time(out: &mut String, config: &Config, warmup: f64, step: f64) {
    let total = warmup * config.warmup.steps as f64 + step * config.train.steps as f64;
    let mut parts = format!("{} steps of {step:.2} s", config.train.steps);
    if config.warmup.steps > 0 {
        parts = format!("{} warm-up steps of {warmup:.2} s, {parts}", config.warmup.steps);
    }
    let limit = config.train.max_minutes;
    let bound = if limit > 0.0 {
        format!("; at most {limit} minutes of training by `train.max_minutes`")
    } else {
        String::new()
    };
    let _ = writeln!(out, "time      about {:.1} minutes: {parts}{bound}; evaluation not included", total / 60.0);
}

/// Writes a line per tool with the number of its prompts. Returns the Python packages that are not installed yet.
fn tools(out: &mut String, job: &Job) -> Result<Vec<String>, TrainError> {
    let mut missing = Vec::new();
    for (tool, prompts) in tools_of_prompts(job)? {
        let packages = job.rewards.missing_packages(&tool)?;
        let install = if packages.is_empty() { String::new() } else { format!("; installs {}", packages.join(", ")) };
        let _ = writeln!(out, "tool      {tool} for {prompts} prompts{install}");
        missing.extend(packages);
    }
    Ok(missing)
}

/// Bytes that sampling the replies of a step takes: packed copies of the weights, keys and values, and activations. `prompts`
/// are the lengths of the prompts.
fn sampling_memory(config: &Config, policy: &Policy, prompts: &[u32]) -> u64 {
    let Some(longest) = prompts.iter().max().filter(|_| config.train.method == Method::Grpo) else { return 0 };
    let request = GenerationRequest { prompt: vec![0; *longest as usize], seeds: vec![0; config.train.group_size] };
    let requests = vec![request; config.train.prompts.min(prompts.len())];
    let plan = policy.engine(config.sampling.batch).plan(&requests, &config.sampling.at(config.sampling.temperature));
    plan.weights.saturating_sub(policy.decoder.weight_bytes()) + plan.cache + plan.activations
}

/// Lengths of prompts, in tokens; 0 for those that are left out.
struct PromptLengths {
    train: Vec<u32>,
    heldout: Vec<u32>,
}

fn lengths_of_prompts(job: &Job, tokenizer: &Tokenizer, positions: usize) -> Result<PromptLengths, TrainError> {
    let lengths = |blocks: &mut dyn Iterator<Item = Result<Vec<Example>, DataError>>, key| {
        prompt_lengths(tokenizer, positions, blocks, &job.config, key)
    };
    let train = lengths(&mut job.train.blocks(), "data.train")?;
    let heldout = lengths(&mut std::iter::once(Ok(job.heldout.clone())), "data.heldout")?;
    Ok(PromptLengths { train, heldout })
}

/// The lengths of the prompts that are not left out.
fn of_kept(lengths: &[u32]) -> Vec<usize> {
    lengths.iter().filter(|n| **n > 0).map(|n| *n as usize).collect()
}

/// The run of a policy that a server trains. The server is not asked, and nothing is measured.
fn served_policy(out: &mut String, job: &Job) -> Result<(), TrainError> {
    let tinker = job.config.train.tinker.clone().unwrap_or_default();
    let _ = writeln!(
        out,
        "\nmodel     a LoRA adapter of rank {}, trained by {}, which a dry run does not ask",
        tinker.rank, tinker.server
    );
    let ServedPolicy { tokenizer, positions, .. } = load(&served_model(job)?)?;
    let PromptLengths { train, heldout } = lengths_of_prompts(job, &tokenizer, positions)?;
    setup::mixture(job, &train)?;
    token_counts(out, "train", "prompts", &of_kept(&train));
    token_counts(out, "heldout", "prompts", &of_kept(&heldout));
    warn_of_long_replies(job, &tokenizer)?;
    tools(out, job)?;
    let _ = writeln!(out, "time      not measured: the server trains");
    Ok(())
}

fn policy_run(out: &mut String, job: &mut Job, policy: Policy) -> Result<(), TrainError> {
    let config = &job.config.clone();
    let positions = policy.decoder.config().max_position_embeddings;
    let PromptLengths { train: prompts, heldout } = lengths_of_prompts(job, &policy.tokenizer, positions)?;
    retain_fitting(&mut job.heldout, &heldout);
    let mixture = setup::mixture(job, &prompts)?;
    let data = demonstrations(&policy, &job.demonstrations, config.data.format)?;
    let lengths = Lengths::of(&prompts, &data, config);
    let plan = setup::memory_plan(config, &policy.decoder, lengths);
    let plan = plan.with_sampling(sampling_memory(config, &policy, &prompts));
    let _ = writeln!(out, "memory    {plan}");
    token_counts(out, "train", "prompts", &of_kept(&prompts));
    token_counts(out, "heldout", "prompts", &of_kept(&heldout));
    token_counts(out, "sft", "demonstrations", &data.iter().map(Demonstration::len).collect::<Vec<usize>>());
    warn_of_long_replies(job, &policy.tokenizer)?;
    let missing = tools(out, job)?;

    let mut state = TrainState::fresh(LocalTrainer::new(policy)?);
    setup::plan_memory(&mut state.counters, config, &state.trainer.model.decoder, lengths);
    let supervised = |state: &mut TrainState, batch: usize| -> Result<f64, TrainError> {
        let clock = Instant::now();
        SftStep { number: 1, index: 0, batch, lr: 0.0 }.take(state, &data, config)?;
        Ok(clock.elapsed().as_secs_f64())
    };
    let warmup = if config.warmup.steps > 0 { supervised(&mut state, config.warmup.batch)? } else { 0.0 };
    if config.train.method == Method::Sft {
        let step = supervised(&mut state, config.train.batch)?;
        sample_heldout(job, &state.trainer.model)?;
        measured_memory(out);
        expected_time(out, config, warmup, step);
        return Ok(());
    }
    if !missing.is_empty() {
        let why = "the tools' packages are not installed yet, and a dry run installs nothing";
        let _ = writeln!(out, "time      not measured: {why}");
        return Ok(());
    }
    grpo_step(out, job, mixture, &mut state, warmup)
}

/// Samples replies to a batch of held-out prompts, as an evaluation does, and scores none.
fn sample_heldout(job: &Job, policy: &Policy) -> Result<(), TrainError> {
    let [_, greedy] = job.config.protocols();
    let examples = &job.heldout[..job.config.eval.examples(job.heldout.len()).min(greedy.batch)];
    let prompts = encode_prompts(&policy.tokenizer, examples, greedy.format)?;
    let request = |prompt| GenerationRequest { prompt, seeds: vec![0] };
    let requests: Vec<GenerationRequest> = prompts.into_iter().map(request).collect();
    policy.engine(greedy.batch).generate(&requests, &greedy.sampling)?;
    Ok(())
}

/// Takes one step of reinforcement learning at learning rate 0, and writes its number of tokens and the expected time
/// of the run.
fn grpo_step(
    out: &mut String,
    job: &mut Job,
    mixture: Mixture,
    state: &mut TrainState,
    warmup: f64,
) -> Result<(), TrainError> {
    let config = &job.config;
    let clock = Instant::now();
    let tokenizer = state.trainer.model.tokenizer.clone();
    let mut collector = Collector {
        config,
        prompts: TrainingPrompts { examples: &job.train, tokenizer: &tokenizer, format: config.data.format },
        heldout: &job.heldout,
        mixture,
        rewards: &mut job.rewards,
        tool_health: ToolHealth::default(),
        evolution: None,
        weights: None,
        preferences: &[],
        assignments: None,
        next: None,
    };
    let start = BatchPosition { step: 0, policy_steps: 0, cursor: 0 };
    let sampler = state.trainer.publish(start.policy_steps)?;
    let batch = collector.sample_and_score(&*sampler, start)?;
    drop(sampler);
    if config.algorithm.kl.estimator != KlEstimator::None {
        state.trainer.reference = Reference::Start(state.trainer.model.clone());
    }
    let prompts = &collector.prompts.of_batch(&batch)?;
    let log_probs = OldAndRefLogProbs::new(state, &batch, prompts, config)?;
    let advantages = advantages(&scores_with_kl(&batch, &log_probs, config), &config.algorithm);
    policy_update(state, &batch, prompts, &log_probs, &advantages, config, 0.0)?;
    let step = clock.elapsed().as_secs_f64();
    let _ = writeln!(out, "step      {} reply tokens in {} groups", batch.tokens(), batch.sampled().count());
    measured_memory(out);
    expected_time(out, config, warmup, step);
    Ok(())
}

fn reward_model(out: &mut String, job: &Job, policy: &Policy) -> Result<(), TrainError> {
    let config = &job.config;
    let model = policy.reward_model(0)?;
    let mut pairs = preference_pairs(&model, &job.preferences)?;
    let heldout = preference_pairs(&model, &job.heldout_preferences)?;
    let lengths = |pairs: &[PreferencePair]| pairs.iter().map(PreferencePair::len).collect::<Vec<usize>>();
    let plan = setup::memory_plan(config, &policy.decoder, Lengths::of_pairs(&pairs, config));
    let _ = writeln!(out, "memory    {plan}");
    token_counts(out, "train", "pairs", &lengths(&pairs));
    token_counts(out, "heldout", "pairs", &lengths(&heldout));
    let mut state = TrainState::fresh(LocalTrainer::new(model)?);
    let mut step_with = |pairs: &[PreferencePair]| {
        RewardModelTraining { config, pairs, heldout: &heldout, tokens_per_micro_batch: plan.tokens }
            .update(&mut state, 0.0)
    };
    // The longest pairs need the most memory; the time is that of a step with others.
    pairs.sort_by_key(|pair| std::cmp::Reverse(pair.len()));
    step_with(&pairs[..config.train.batch.min(pairs.len())])?;
    let clock = Instant::now();
    step_with(&pairs)?;
    let step = clock.elapsed().as_secs_f64();
    measured_memory(out);
    expected_time(out, config, 0.0, step);
    Ok(())
}
