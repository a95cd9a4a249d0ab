//! A policy's run: warm-up, then GRPO or more supervised fine-tuning, measured before and after.

use std::collections::BTreeSet;

use rlar_policy::PolicyError;
use rlar_rewards::agents::Agents;
use rlar_rewards::agents::background::{Request, Worker};
use rlar_rewards::domain;
use rlar_run::RunFolder;

use crate::TrainError;
use crate::config::{Agent, Method};
use crate::report::log::{Log, Rollouts};
use crate::report::summary::Report;
use crate::rollouts::collect::Source;
use crate::rollouts::evolution::{Evolution, Evolved};
use crate::rollouts::mixture::Mixture;
use crate::run::job::Job;
use crate::run::resume::Begin;
use crate::run::setup::{bar, disk, first_policy, keep_fitting, longest, mixture, prompt_tokens_of};
use crate::run::warmup::warm_up;
use crate::train_loop::Loop;
use crate::train_loop::grpo::{Grpo, health, pending};
use crate::train_loop::held_out::{measure, once};
use crate::train_loop::sft::{Sft, demonstrations};
use crate::update::reference::Reference;

/// Trains a policy to the job's end.
pub fn train(job: &mut Job, run: &RunFolder, begin: Begin) -> Result<Report, TrainError> {
    let config = &job.config.clone();
    let mut state = begin.state(config, || first_policy(job))?;
    state.model.tokenizer.pin_today(state.ledger.began);
    let prompts = prompt_tokens_of(&state.model, &job.train, config, "data.train")?;
    let measured = prompt_tokens_of(&state.model, &job.heldout, config, "data.heldout")?;
    keep_fitting(&mut job.heldout, &measured);
    // Before any work is lost to it.
    job.suites.iter().try_for_each(|exam| exam.fits(&state.model))?;
    let mixture = mixture(job, &prompts)?;
    let data = demonstrations(&state.model, &job.demonstrations, config.data.format)
        .map_err(|source| TrainError::Data { key: "data.demonstrations", source })?;
    let checkpoint = begin.checkpoint.clone();
    let journal = begin.start(run, &mut state, config, longest(&prompts, &data, config))?;
    let health = health(checkpoint.as_ref())?;
    health.suspended.iter().for_each(|tool| job.rewards.suspend(tool));
    // The agents choose while the policy warms up.
    let mut evolution = match job.agents.take() {
        Some(agents) => Some(evolution(agents, job, run, &mixture, Evolved::of(checkpoint.as_ref())?)?),
        None => None,
    };
    warm_up(&mut state, job, run, &data)?;
    let done = state.ledger.step;
    let mut journal = journal;
    if let (Some(evolution), 0) = (&mut evolution, done) {
        let is_replayed = journal.reaches(1);
        evolution.enter(&mut job.rewards, &job.train, &mut journal, 0, is_replayed)?;
    }
    if done == 0 {
        run.write_folder("start", &state.model.files()?)?;
    }
    let before = if job.heldout.is_empty() && job.suites.is_empty() {
        None
    } else {
        Some(once(run, "before.json", done, || measure(job, &mut state))?)
    };

    let log = Log::open(run, "metrics.jsonl", done, true, bar(job, "train", config.train.steps, done))?;
    let mut training = Loop { run, config, journal, log, interrupted: job.interrupted };
    let heldout = &job.heldout;
    let source = Source {
        config,
        examples: &job.train,
        prompts: &prompts,
        mixture,
        heldout,
        rewards: &mut job.rewards,
        health,
        evolution,
    };
    let ended = if config.train.method == Method::Grpo {
        let reference = Reference::open(run, &state, checkpoint.as_ref(), config)?;
        let rollouts = Rollouts::open(run, disk(config), done)?;
        training.run(
            &mut state,
            &mut Grpo {
                source,
                heldout,
                exams: &mut job.suites,
                reference,
                rollouts,
                pending: pending(checkpoint.as_ref())?,
            },
        )?
    } else {
        training.run(&mut state, &mut Sft { source, heldout, exams: &mut job.suites, data: &data })?
    };

    let after = if before.is_some() {
        let step = state.ledger.step;
        Some(training.journal.once(step, "after", || measure(job, &mut state))?)
    } else {
        None
    };
    if state.model.layout().lora().is_some() {
        run.write_folder("adapter", &state.model.files()?)?;
    }
    run.write_folder("final", &state.model.merged()?.files()?)?;
    Ok(Report { measured: before.zip(after), ..Report::of(&state.ledger, config, ended) })
}

/// Takes up what agents had found, and starts them: they remember in the run's folder what they were told, know the tools that
/// there are by now, and are asked for the tools of all prompts that nobody has chosen for, in the order in which they will be
/// drawn.
fn evolution<'a>(
    agents: Agents,
    job: &mut Job,
    run: &'a RunFolder,
    mixture: &Mixture,
    state: Evolved,
) -> Result<Evolution<'a>, TrainError> {
    let mut library = job.rewards.library().clone();
    for tool in state.tools().filter(|tool| job.rewards.library().card(&tool.name).is_none()) {
        library.add_tool(tool, &run.path().join("library").join(&tool.name))?;
    }
    let worker = Worker::start(agents.remembering(run.path())?, library);
    let worker = worker.map_err(|e| PolicyError::Request(format!("cannot start the agents' thread: {e}")))?;
    let fixed: BTreeSet<String> = job.config.rewards.assign.keys().cloned().collect();
    if job.config.rewards.agent == Agent::Llm {
        let mut seen = BTreeSet::new();
        let order = mixture.draw(mixture.len(), 0, job.config.seed).into_iter().chain(0..job.train.len());
        let is_open = |place: &usize| {
            let name = domain(&job.train[*place]);
            !fixed.contains(name) && !state.has_chosen(*place, name)
        };
        let prompts = order.filter(|place| seen.insert(*place)).filter(is_open);
        worker.ask(Request::Select(prompts.map(|place| (place, job.train[place].clone())).collect()));
    }
    let shown = job.demonstrations.clone();
    Evolution::resume(run, worker, &job.config, shown, state, &mut job.rewards, &job.train)
}
