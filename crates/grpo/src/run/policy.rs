//! The run of a policy: supervised warm-up, then reinforcement learning or supervised fine-tuning, with an evaluation
//! before and after.

use std::collections::BTreeSet;
use std::path::Path;

use rlar_policy::PolicyError;
use rlar_rewards::agents::Agents;
use rlar_rewards::agents::background::{AgentRequest, BackgroundAgents};
use rlar_rewards::domain;
use rlar_run::{Checkpoint, Journal, OutputMode, RunFolder, percent};
use serde_json::json;

use crate::TrainError;
use crate::config::{Agent, Config, Method, SamplingEngine};
use crate::engine::local::reference::Reference;
use crate::engine::local::trainer::LocalTrainer;
use crate::engine::vllm::{VllmEngine, VllmSetup};
use crate::report::assignment_log::AssignmentLog;
use crate::report::final_report::{BeforeAfter, PolicyEvaluation, Report, Trend};
use crate::report::hints::{LAST_STEPS, hints};
use crate::report::metrics_log::{METRICS, MetricsLog};
use crate::report::rollout_files::RolloutFiles;
use crate::rollouts::collect::{Collector, next_batch, tool_health};
use crate::rollouts::drawn_prompts::TrainingPrompts;
use crate::rollouts::evolution::{Evolution, EvolutionState, StepContext};
use crate::rollouts::learned_weights::LearnedWeights;
use crate::rollouts::mixture::Mixture;
use crate::rollouts::tool_health::ToolHealth;
use crate::run::job::Job;
use crate::run::lengths::{Lengths, prompt_lengths, retain_fitting};
use crate::run::reply_lengths::warn_of_long_replies;
use crate::run::resume::ResumePoint;
use crate::run::setup::{disk, first_policy, mixture, progress};
use crate::run::warmup::warm_up;
use crate::train_loop::TrainLoop;
use crate::train_loop::grpo::Grpo;
use crate::train_loop::held_out::{evaluate, evaluate_once};
use crate::train_loop::sft::{Demonstration, Sft, demonstrations};
use crate::update::train_state::{ProcessClock, TrainState};

/// The data and state that a run of a policy prepares before its first step.
struct Prepared<'a> {
    checkpoint: Option<Checkpoint>,
    tool_health: ToolHealth,
    journal: Journal,
    mixture: Mixture,
    demonstrations: Vec<Demonstration>,
    evolution: Option<Evolution<'a>>,
    assignments: Option<AssignmentLog>,
    /// Length of the longest prompt with the longest possible reply, in tokens.
    longest_sampled: usize,
}

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
    let mut prepared = Prepared { assignments, ..prepare(job, run, resume, &mut state)? };
    if config.sampling.engine == SamplingEngine::Vllm {
        let longest = prepared.longest_sampled;
        let model = job.model.as_ref().map_or_else(|| Path::new(""), |source| source.path.as_path());
        let setup = VllmSetup { sampling: &config.sampling, run: run.path(), model, longest };
        state.trainer.servers = Some(VllmEngine::start(setup, &state.trainer.model)?);
    }
    warm_up(&mut state, job, run, &prepared.demonstrations)?;
    let done = state.counters.step;
    if let (Some(evolution), 0) = (&mut prepared.evolution, done) {
        let is_replayed = prepared.journal.reaches(1);
        let examples = &job.train;
        let context = StepContext { config, rewards: &mut job.rewards, examples, step: 0, is_replayed };
        evolution.enter(context, &mut prepared.journal)?;
    }
    if done == 0 {
        run.write_folder("start", &state.trainer.model.files()?)?;
    }
    let before = if job.heldout.is_empty() && job.suites.is_empty() {
        None
    } else {
        let before = evaluate_once(run, "before.json", done, || evaluate(job, &mut state))?;
        announce(job.output, "before", &before);
        Some(before)
    };

    clock.count_outside(&mut state.counters.seconds);
    let (ended, mut journal) = run_loop(job, config, run, prepared, &mut state)?;

    let measured = match before {
        Some(before) => {
            let step = state.counters.step;
            let after = journal.once(step, "after", || evaluate(job, &mut state))?;
            announce(job.output, "after", &after);
            Some(BeforeAfter { before, after })
        }
        None => None,
    };
    if state.trainer.model.layout().lora().is_some() {
        run.write_folder("adapter", &state.trainer.model.published_files(None)?)?;
    }
    run.write_folder("final", &state.trainer.model.merged()?.published_files(config.model.save_dtype.float_type())?)?;
    let records = run.records(METRICS, state.counters.step)?.read()?;
    let last = &records[records.len().saturating_sub(LAST_STEPS)..];
    let hints = hints(last, config.sampling.max_tokens);
    let trend = Trend::of(&records);
    clock.count_outside(&mut state.counters.seconds);
    Ok(Report { measured, trend, hints, ..Report::new(&state.counters, config, ended) })
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

/// Encodes the data, and refuses prompts that do not fit into the policy's context before time is spent on training.
/// Then starts the journal and the agents.
fn prepare<'a>(
    job: &mut Job,
    run: &'a RunFolder,
    resume: ResumePoint,
    state: &mut TrainState,
) -> Result<Prepared<'a>, TrainError> {
    let config = &job.config.clone();
    let prompts = prompt_lengths(&state.trainer.model, job.train.blocks(), config, "data.train")?;
    let heldout = std::iter::once(Ok(job.heldout.clone()));
    let heldout = prompt_lengths(&state.trainer.model, heldout, config, "data.heldout")?;
    retain_fitting(&mut job.heldout, &heldout);
    job.suites.iter().try_for_each(|suite| suite.check_context(&state.trainer.model))?;
    let mixture = mixture(job, &prompts)?;
    let demonstrations = demonstrations(&state.trainer.model, &job.demonstrations, config.data.format)
        .map_err(|source| TrainError::Data { key: "data.demonstrations", source })?;
    warn_of_long_replies(job, &state.trainer.model.tokenizer)?;
    let checkpoint = resume.checkpoint.clone();
    let longest_sampled = Lengths::of(&prompts, &[], config).longest;
    let journal = resume.start(run, state, config, Lengths::of(&prompts, &demonstrations, config))?;
    let tool_health = tool_health(checkpoint.as_ref())?;
    tool_health.suspended.iter().for_each(|tool| job.rewards.suspend(tool));
    // The agents choose tools during the supervised warm-up.
    let evolution = match job.agents.take() {
        Some(agents) => Some(start_agents(agents, job, run, &mixture, EvolutionState::load(checkpoint.as_ref())?)?),
        None => None,
    };
    Ok(Prepared {
        checkpoint,
        tool_health,
        journal,
        mixture,
        demonstrations,
        evolution,
        assignments: None,
        longest_sampled,
    })
}

/// Runs the train loop; returns why it ended, and the journal.
fn run_loop(
    job: &mut Job,
    config: &Config,
    run: &RunFolder,
    prepared: Prepared,
    state: &mut TrainState,
) -> Result<(String, Journal), TrainError> {
    let Prepared { checkpoint, tool_health, journal, mixture, demonstrations, evolution, assignments, .. } = prepared;
    let checkpoint = checkpoint.as_ref();
    let done = state.counters.step;
    let progress = progress(job, "train", config.train.steps, done);
    let progress = progress.with_a_line_per_step().showing(job.rewards.activity());
    let log = MetricsLog::open(run, METRICS, done, true, progress)?;
    let mut training = TrainLoop { run, config, journal, log, interrupted: job.interrupted };
    let (heldout, suites) = (&job.heldout[..], &mut job.suites[..]);
    let ended = if config.train.method == Method::Grpo {
        state.trainer.reference = Reference::open(run, state, checkpoint, config)?;
        let tokenizer = state.trainer.model.tokenizer.clone();
        let rollout_files = RolloutFiles::open(run, disk(config), done)?;
        let weights = LearnedWeights::load(checkpoint, config, &job.train, &job.rewards)?;
        let collector = Collector {
            config,
            prompts: TrainingPrompts { examples: &job.train, tokenizer: &tokenizer, format: config.data.format },
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
        // Its memory is free for the evaluation after training.
        state.trainer.reference = Reference::None;
        ended
    } else {
        let (data, rewards) = (&demonstrations[..], &mut job.rewards);
        training.run(state, &mut Sft { config, data, rewards, heldout, suites })?
    };
    Ok((ended, training.journal))
}

/// Starts the language-model agents in a thread of their own. They cache replies of the language model in the run's
/// folder, and know the new tools that earlier requests gave. With `rewards.agent: llm` they are asked for the tools of
/// all prompts for which they have not chosen yet, in the order in which the prompts will be drawn.
fn start_agents<'a>(
    agents: Agents,
    job: &mut Job,
    run: &'a RunFolder,
    mixture: &Mixture,
    state: EvolutionState,
) -> Result<Evolution<'a>, TrainError> {
    let mut library = job.rewards.library().clone();
    for tool in state.tools().filter(|tool| job.rewards.library().card(&tool.name).is_none()) {
        library.add_tool(tool, &run.path().join("library").join(&tool.name))?;
    }
    let background = BackgroundAgents::start(agents.with_cache(run.path())?, library);
    let background = background.map_err(|e| PolicyError::Request(format!("cannot start the agents' thread: {e}")))?;
    let assigned: BTreeSet<String> = job.config.rewards.assign.keys().cloned().collect();
    if job.config.rewards.agent == Agent::Llm {
        let mut seen = BTreeSet::new();
        let order = mixture.draw(mixture.len(), 0, job.config.seed).into_iter().chain(0..job.train.len());
        let mut prompts = Vec::new();
        for index in order.filter(|index| seen.insert(*index)) {
            let example = job.train.get(index)?;
            let name = domain(&example);
            if !assigned.contains(name) && !state.has_chosen(index, name) {
                prompts.push((index, example));
            }
        }
        background.submit(AgentRequest::SelectTools(prompts));
    }
    Evolution::resume(run, background, job, state)
}
