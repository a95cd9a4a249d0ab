//! A policy's run: warm-up, then GRPO or more supervised fine-tuning, measured before and after.

use std::collections::BTreeSet;

use rlar_policy::PolicyError;
use rlar_rewards::agents::Agents;
use rlar_rewards::worker::{Request, Worker};
use rlar_run::RunFolder;

use crate::TrainError;
use crate::batch::Source;
use crate::begin::Begin;
use crate::config::{Agent, Method};
use crate::evolution::{Evolution, Evolved};
use crate::grpo::{Grpo, health, pending};
use crate::job::Job;
use crate::log::{Log, Rollouts};
use crate::measure::{measure, once};
use crate::mixture::Mixture;
use crate::reference::Reference;
use crate::report::Report;
use crate::setup::{bar, disk, first_policy, keep_fitting, longest, mixture, prompt_tokens_of};
use crate::sft::{Sft, demonstrations};
use crate::trainer::Loop;
use crate::warmup::warm_up;

/// Trains a policy to the job's end.
pub fn train(job: &mut Job, run: &RunFolder, begin: Begin) -> Result<Report, TrainError> {
    let config = &job.config.clone();
    let mut state = begin.state(config, || first_policy(job))?;
    state.model.tokenizer.pin_today(state.ledger.began);
    let prompts = prompt_tokens_of(&state.model, &job.train, config, "data.train")?;
    let measured = prompt_tokens_of(&state.model, &job.heldout, config, "data.heldout")?;
    keep_fitting(&mut job.heldout, &measured);
    let mixture = mixture(job, &prompts)?;
    let data = demonstrations(&state.model, &job.demonstrations, config.data.format)
        .map_err(|source| TrainError::Data { key: "data.demonstrations", source })?;
    let checkpoint = begin.checkpoint.clone();
    let journal = begin.start(run, &mut state, config, longest(&prompts, &data, config))?;
    // The agents choose while the policy warms up.
    let worker = job.agents.take().map(|agents| start(agents, job, run, &mixture)).transpose()?;
    warm_up(&mut state, job, run, &data)?;
    let done = state.ledger.step;
    let mut journal = journal;
    let evolution = match worker {
        Some(worker) => {
            let watch = config.rewards.evolve.clone();
            let (shown, evolved) = (job.demonstrations.clone(), Evolved::of(checkpoint.as_ref())?);
            let rewards = &mut job.rewards;
            let mut evolution = Evolution::resume(run, worker, watch, shown, evolved, rewards, &job.train)?;
            if done == 0 {
                let is_replayed = journal.reaches(1);
                evolution.enter(rewards, &job.train, &mut journal, 0, is_replayed)?;
            }
            Some(evolution)
        }
        None => None,
    };
    if done == 0 {
        run.write_folder("start", &state.model.files()?)?;
    }
    let before =
        if job.heldout.is_empty() { None } else { Some(once(run, "before.json", done, || measure(job, &mut state))?) };

    let log = Log::open(run, "metrics.jsonl", done, true, bar(job, "train", config.train.steps, done))?;
    let mut training = Loop { run, config, journal, log, interrupted: job.interrupted };
    let heldout = &job.heldout;
    let health = health(checkpoint.as_ref())?;
    health.suspended.iter().for_each(|tool| job.rewards.suspend(tool));
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
            &mut Grpo { source, heldout, reference, rollouts, pending: pending(checkpoint.as_ref())? },
        )?
    } else {
        training.run(&mut state, &mut Sft { source, heldout, data: &data })?
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

/// Starts the agents, which remember in the run's folder what they were told, and asks for the tools of all prompts in the
/// order in which they will be drawn.
fn start(agents: Agents, job: &Job, run: &RunFolder, mixture: &Mixture) -> Result<Worker, TrainError> {
    let agents = agents.remembering(run.path())?;
    let worker = Worker::start(agents, job.rewards.library().clone());
    let worker = worker.map_err(|e| PolicyError::Request(format!("cannot start the agents' thread: {e}")))?;
    if job.config.rewards.agent == Agent::Llm {
        let mut seen = BTreeSet::new();
        let order = mixture.draw(mixture.len(), 0, job.config.seed).into_iter().chain(0..job.train.len());
        let prompts = order.filter(|place| seen.insert(*place)).map(|place| (place, job.train[place].clone()));
        worker.ask(Request::Select(prompts.collect()));
    }
    Ok(worker)
}
