//! The run of a policy that is trained in this process: supervised warm-up, then reinforcement learning or supervised
//! fine-tuning, with an evaluation before and after.

use std::path::Path;

use rlar_policy::{ComputeDevice, Policy, Tokenizer};
use rlar_run::{Activity, Journal, OutputMode, Progress, RunFolder, percent};
use serde_json::json;

use crate::TrainError;
use crate::config::{Config, Method, SamplingEngine};
use crate::engine::local::reference::Reference;
use crate::engine::local::trainer::LocalTrainer;
use crate::engine::trainer::Trainer;
use crate::engine::vllm::{VllmEngine, VllmSetup};
use crate::report::assignment_log::AssignmentLog;
use crate::report::final_report::{BeforeAfter, PolicyEvaluation, Report, Trend};
use crate::report::hints::{LAST_STEPS, hints};
use crate::report::metrics_log::{METRICS, MetricsLog};
use crate::report::rollout_files::RolloutFiles;
use crate::rollouts::collect::{Collector, next_batch};
use crate::rollouts::drawn_prompts::TrainingPrompts;
use crate::rollouts::learned_weights::LearnedWeights;
use crate::run::job::Job;
use crate::run::prepare::{PolicyInput, Prepared, prepare};
use crate::run::resume::ResumePoint;
use crate::run::setup::{disk, first_policy, plan_memory, progress};
use crate::run::warmup::warm_up;
use crate::train_loop::TrainLoop;
use crate::train_loop::grpo::Grpo;
use crate::train_loop::held_out::{evaluate, evaluate_once};
use crate::train_loop::sft::{Sft, demonstrations};
use crate::update::train_state::{Counters, ProcessClock, TrainState};

/// Trains a policy to the end of the job, writes the final model, and returns the report. `assignments` is the file to
/// which the tools of drawn prompts are written.
pub fn train(
    job: &mut Job,
    run: &RunFolder,
    resume: ResumePoint,
    assignments: Option<AssignmentLog>,
) -> Result<Report, TrainError> {
    let config = &job.config.clone();
    let mut state = resume.state(config, || Ok(LocalTrainer::new(first_policy(job)?)?))?;
    let clock = ProcessClock::new(job.began, &state.counters.seconds);
    state.trainer.model.tokenizer.pin_today(state.counters.began);
    let tokenizer = &state.trainer.model.tokenizer.clone();
    let mut prepared = Prepared { assignments, ..prepare_local(job, run, resume, &mut state)? };
    if config.sampling.engine == SamplingEngine::Vllm {
        state.trainer.servers = Some(servers(job, run, &state.trainer.model, prepared.longest_sampled)?);
    }
    warm_up(&mut state, job, run, &prepared.demonstrations)?;
    if state.counters.step == 0 {
        prepared.enter_first(job)?;
        run.write_folder("start", &state.trainer.model.files()?)?;
    }
    let before = evaluate_before(job, run, &mut state, tokenizer)?;

    clock.count_outside(&mut state.counters.seconds);
    let (ended, mut journal) = run_loop(job, config, run, prepared, &mut state, tokenizer)?;

    let measured = evaluate_after(job, before, &mut state, tokenizer, &mut journal)?;
    if state.trainer.model.layout().lora().is_some() {
        run.write_folder("adapter", &state.trainer.model.published_files(None)?)?;
    }
    run.write_folder("final", &state.trainer.model.merged()?.published_files(config.model.save_dtype.float_type())?)?;
    report(config, run, clock, &mut state.counters, ended, measured)
}

/// Reaches the vLLM servers of the config, or starts them. `longest` is the longest sequence that they sample, in tokens.
fn servers(job: &Job, run: &RunFolder, policy: &Policy, longest: usize) -> Result<VllmEngine, TrainError> {
    let config = &job.config;
    let activity = Activity::default();
    let _shown = Progress::watch(job.output, "vLLM", &activity);
    let _checking = activity.phase("checking servers", 0, "");
    if let Some(start) = config.sampling.vllm.as_ref().and_then(|vllm| vllm.start.as_ref()) {
        let log = run.path().join("vllm-0.log");
        job.output.say(&format!("vLLM servers are started: {}; a log is {}", start.count, log.display()));
    }
    let model = job.model.as_ref().map_or_else(|| Path::new(""), |source| source.path.as_path());
    let device = ComputeDevice::with_precision(&config.device, config.precision)?;
    let is_float32 = device.is_float32() && !policy.is_quantised();
    VllmEngine::start(VllmSetup { sampling: &config.sampling, run: run.path(), model, longest, is_float32 }, policy)
}

/// The evaluation before training; `None` without data to evaluate on.
pub fn evaluate_before<T: Trainer>(
    job: &mut Job,
    run: &RunFolder,
    state: &mut TrainState<T>,
    tokenizer: &Tokenizer,
) -> Result<Option<PolicyEvaluation>, TrainError> {
    if job.heldout.is_empty() && job.suites.is_empty() {
        return Ok(None);
    }
    let done = state.counters.step;
    let before = evaluate_once(run, "before.json", done, || evaluate(job, state, tokenizer))?;
    announce(job.output, "before", &before);
    Ok(Some(before))
}

/// The evaluation after training beside the one before it; `None` if there was none.
pub fn evaluate_after<T: Trainer>(
    job: &mut Job,
    before: Option<PolicyEvaluation>,
    state: &mut TrainState<T>,
    tokenizer: &Tokenizer,
    journal: &mut Journal,
) -> Result<Option<BeforeAfter<PolicyEvaluation>>, TrainError> {
    let Some(before) = before else { return Ok(None) };
    let step = state.counters.step;
    let after = journal.once(step, "after", || evaluate(job, state, tokenizer))?;
    announce(job.output, "after", &after);
    Ok(Some(BeforeAfter { before, after }))
}

/// The report of a run that has ended.
pub fn report(
    config: &Config,
    run: &RunFolder,
    clock: ProcessClock,
    counters: &mut Counters,
    ended: String,
    measured: Option<BeforeAfter<PolicyEvaluation>>,
) -> Result<Report, TrainError> {
    let records = run.records(METRICS, counters.step)?.read()?;
    let last = &records[records.len().saturating_sub(LAST_STEPS)..];
    let hints = hints(last, config.sampling.max_tokens);
    let trend = Trend::of(&records);
    clock.count_outside(&mut counters.seconds);
    Ok(Report { measured, trend, hints, ..Report::new(counters, config, ended) })
}

/// Shows the evaluation of a policy; `when` is `before` or `after`, relative to training. As text, only the evaluation
/// before training is shown, because the report contains the one after it.
fn announce(output: OutputMode, when: &str, evaluation: &PolicyEvaluation) {
    let PolicyEvaluation { sampled, greedy, suites } = evaluation;
    output.event("evaluation", json!({ "when": when, "sampled": sampled, "greedy": greedy, "suites": suites }));
    if let (Some(sampled), Some(greedy), "before") = (sampled.get("all"), greedy.get("all"), when) {
        let (sampled, greedy) = (percent(sampled.percent() / 100.0), percent(greedy.percent() / 100.0));
        output.say(&format!("held-out accuracy before training: sampled {sampled} %, greedy {greedy} %"));
    }
}

/// Prepares a run whose policy is in this process.
fn prepare_local<'a>(
    job: &mut Job,
    run: &'a RunFolder,
    resume: ResumePoint,
    state: &mut TrainState,
) -> Result<Prepared<'a>, TrainError> {
    let config = &job.config.clone();
    let TrainState { trainer: LocalTrainer { model, .. }, counters } = state;
    job.suites.iter().try_for_each(|suite| suite.check_context(model))?;
    let demonstrations = demonstrations(model, &job.demonstrations, config.data.format)
        .map_err(|source| TrainError::Data { key: "data.demonstrations", source })?;
    let input = PolicyInput { tokenizer: &model.tokenizer, positions: model.decoder.config().max_position_embeddings };
    prepare(job, run, resume, input, demonstrations, counters, |counters, lengths| {
        plan_memory(counters, config, &model.decoder, lengths);
        Ok(())
    })
}

/// Runs the train loop; returns why it ended, and the journal.
fn run_loop(
    job: &mut Job,
    config: &Config,
    run: &RunFolder,
    prepared: Prepared,
    state: &mut TrainState,
    tokenizer: &Tokenizer,
) -> Result<(String, Journal), TrainError> {
    if config.train.method == Method::Grpo {
        state.trainer.reference = Reference::open(run, state, prepared.checkpoint.as_ref(), config)?;
        let ended = grpo_loop(job, config, run, prepared, state, tokenizer)?;
        // Its memory is free for the evaluation after training.
        state.trainer.reference = Reference::None;
        return Ok(ended);
    }
    let Prepared { journal, demonstrations, .. } = prepared;
    let log = metrics_log(job, config, run, state.counters.step)?;
    let mut training = TrainLoop { run, config, journal, log, interrupted: job.interrupted };
    let (data, rewards) = (&demonstrations[..], &mut job.rewards);
    let (heldout, suites) = (&job.heldout[..], &mut job.suites[..]);
    let ended = training.run(state, &mut Sft { config, data, rewards, heldout, suites })?;
    Ok((ended, training.journal))
}

/// Runs the loop of reinforcement learning; returns why it ended, and the journal.
pub fn grpo_loop<T: Trainer>(
    job: &mut Job,
    config: &Config,
    run: &RunFolder,
    prepared: Prepared,
    state: &mut TrainState<T>,
    tokenizer: &Tokenizer,
) -> Result<(String, Journal), TrainError> {
    let Prepared { checkpoint, tool_health, journal, mixture, evolution, assignments, .. } = prepared;
    let checkpoint = checkpoint.as_ref();
    let done = state.counters.step;
    let log = metrics_log(job, config, run, done)?;
    let mut training = TrainLoop { run, config, journal, log, interrupted: job.interrupted };
    let (heldout, suites) = (&job.heldout[..], &mut job.suites[..]);
    let rollout_files = RolloutFiles::open(run, disk(config), done)?;
    let weights = LearnedWeights::load(checkpoint, config, &job.train, &job.rewards)?;
    let collector = Collector {
        config,
        prompts: TrainingPrompts { examples: &job.train, tokenizer, format: config.data.format },
        heldout,
        mixture,
        rewards: &mut job.rewards,
        tool_health,
        evolution,
        weights,
        preferences: &job.preferences,
        assignments,
        next: next_batch(checkpoint)?,
    };
    let ended = training.run(state, &mut Grpo { collector, rollout_files, heldout, suites })?;
    Ok((ended, training.journal))
}

/// The log of step records, with the progress in the terminal. `done` is the number of steps done.
fn metrics_log(job: &Job, config: &Config, run: &RunFolder, done: u64) -> Result<MetricsLog, TrainError> {
    let progress = progress(job, "train", config.train.steps, done);
    let progress = progress.with_a_line_per_step().showing(job.rewards.activity());
    MetricsLog::open(run, METRICS, done, true, progress)
}
