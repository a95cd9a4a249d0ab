//! A policy's run: warm-up, then GRPO or more supervised fine-tuning, measured before and after.

use std::sync::atomic::Ordering;
use std::time::Instant;

use rlar_data::Example;
use rlar_policy::{Moments, Policy, device_in};
use rlar_run::{Checkpoint, Files, Journal, RunFolder};
use serde_json::Value;

use crate::batch::{Batch, Source};
use crate::config::{Config, KlEstimator, Method};
use crate::grpo::Grpo;
use crate::job::Job;
use crate::learn::descent;
use crate::log::{Log, Rollouts};
use crate::report::Report;
use crate::rollout::Group;
use crate::setup::{self, bar, measure, once, prompt_tokens_of, share};
use crate::sft::{self, Demonstration, SftStep, demonstrations};
use crate::state::State;
use crate::trainer::{Course, Loop};
use crate::{TrainError, optimizer, schedule};

/// Trains a policy to the job's end.
pub fn train(job: &mut Job, run: &RunFolder, checkpoint: Option<&Checkpoint>) -> Result<Report, TrainError> {
    let config = &job.config.clone();
    let mut state = match checkpoint {
        Some(checkpoint) => State::load(checkpoint, config)?,
        None => setup::fresh(setup::first_policy(job)?, config)?,
    };
    state.model.tokenizer.pin_today(state.ledger.began);
    let prompts = prompt_tokens_of(&state.model, &job.train, config)?;
    prompt_tokens_of(&state.model, &job.heldout, config)?;
    let demonstrations = demonstrations(&state.model, &job.demonstrations, config.data.format)?;
    if checkpoint.is_none() {
        let longest = setup::longest(&prompts, &demonstrations, config);
        setup::plan_memory(&mut state.ledger, config, &state.model.decoder, longest);
    }
    warm_up(&mut state, job, run, &demonstrations)?;
    if state.ledger.step == 0 {
        run.write_folder("start", &state.model.files()?)?;
    }
    let started = match job.heldout.is_empty() {
        true => None,
        false => Some(once(run, "before.json", state.ledger.step, || measure(job, &mut state))?),
    };

    let log = Log::open(
        run,
        "metrics.jsonl",
        state.ledger.step,
        true,
        bar(job, "train", config.train.steps, state.ledger.step),
    )?;
    let mut training = Loop {
        run,
        config,
        journal: run.journal(checkpoint.map(|_| state.ledger.step))?,
        log,
        interrupted: job.interrupted,
    };
    let source = Source { config, examples: &job.train, prompts: &prompts, rewards: &mut job.rewards };
    let anchor = anchor(run, &state, checkpoint, config)?;
    let ended = if config.train.method == Method::Grpo {
        let reference = anchor.as_ref().map(|p| p.decoder.clone());
        let lora_base = anchor.is_none() && config.algorithm.kl.estimator != KlEstimator::None;
        let reference = if lora_base { Some(state.model.decoder.unadapted()) } else { reference };
        let grpo = Grpo { source, reference, pending: pending(checkpoint)? };
        let rollouts = Rollouts::open(run, setup::disk(config), state.ledger.step)?;
        let mut course = GrpoCourse { grpo, heldout: &job.heldout, rollouts, anchor: None };
        if state.ledger.reference > 0 {
            course.anchor = anchor;
        }
        let ended = training.run(&mut state, &mut course)?;
        training.checkpoint(&state, &mut course)?;
        ended
    } else {
        let mut course = SftCourse { source, heldout: &job.heldout, data: &demonstrations };
        let ended = training.run(&mut state, &mut course)?;
        training.checkpoint(&state, &mut course)?;
        ended
    };
    training.log.finish();
    drop(training);
    let after = if started.is_some() { Some(measure(job, &mut state)?) } else { None };
    if state.model.layout().lora().is_some() {
        run.write_folder("adapter", &state.model.files()?)?;
    }
    run.write_folder("final", &state.model.merged()?.files()?)?;
    let ledger = &state.ledger;
    let best = if config.run.keep_best > 0 { ledger.best.first().copied() } else { None };
    Ok(Report {
        measured: started.zip(after),
        preferred: None,
        steps: ledger.step,
        ended: ended.0,
        best,
        seconds: ledger.seconds,
    })
}

/// Supervised steps up to the start of reinforcement learning, which begins with fresh moments.
fn warm_up(state: &mut State, job: &Job, run: &RunFolder, data: &[Demonstration]) -> Result<(), TrainError> {
    let config = &job.config;
    let (w, steps) = (&config.warmup, config.warmup.steps);
    if state.ledger.step > 0 {
        return Ok(());
    }
    let mut log =
        Log::open(run, "warmup.jsonl", state.ledger.warmup, false, bar(job, "warm-up", steps, state.ledger.warmup))?;
    while state.ledger.warmup < steps {
        let clock = Instant::now();
        let (place, floor) = (state.ledger.warmup, w.learning_rate * 0.1);
        let peak = w.learning_rate - floor;
        let lr = floor + schedule::learning_rate(peak, place, steps, steps / 10, schedule::Decay::Cosine);
        let descent = descent(config, 1.0, state.ledger.tokens_at_a_time, place);
        let step = SftStep { number: place + 1, place, batch: w.batch, seed: config.seed, lr, descent };
        let record = sft::step(state, &optimizer(config), data, step)?;
        state.ledger.warmup += 1;
        state.ledger.seconds.warmup += clock.elapsed().as_secs_f64();
        log.step(record)?;
        if state.ledger.warmup == steps && config.train.method == Method::Grpo {
            state.moments = Moments::zeros(&state.model.decoder);
        }
        let stop = job.interrupted.load(Ordering::SeqCst);
        // Warm-up steps are short: ten checkpoints, the last at the end.
        if stop || state.ledger.warmup == steps || state.ledger.warmup.is_multiple_of(steps.div_ceil(10)) {
            log.sync()?;
            state.save(&run.checkpoints(), &|| Ok(Vec::new()))?;
            run.checkpoints().keep(config.run.keep_last, &[])?;
        }
        if stop {
            log.finish();
            return Err(TrainError::Interrupted { warmup: state.ledger.warmup, step: 0 });
        }
    }
    log.finish();
    Ok(())
}

/// The reference of the KL: the policy as it was when reinforcement learning began, or when it was last anchored. Nothing
/// without a KL, and nothing beside an adaptation that can be left out.
fn anchor(
    run: &RunFolder,
    state: &State,
    checkpoint: Option<&Checkpoint>,
    config: &Config,
) -> Result<Option<Policy>, TrainError> {
    let kl = &config.algorithm.kl;
    let adapted = state.model.layout().lora().is_some() && kl.reanchor_every == 0;
    if kl.estimator == KlEstimator::None || adapted || config.train.method != Method::Grpo {
        return Ok(None);
    }
    let place = device_in(&config.device, config.precision)?;
    match checkpoint {
        Some(checkpoint) if state.ledger.reference > 0 => {
            Ok(Some(Policy::load(&checkpoint.path.join("reference"), &place)?))
        }
        _ if state.ledger.step == 0 => Ok(Some(state.model.clone())),
        _ => Ok(Some(Policy::load(&run.path().join("start"), &place)?)),
    }
}

/// The batch that a checkpoint holds for the step after it.
fn pending(checkpoint: Option<&Checkpoint>) -> Result<Option<Batch>, TrainError> {
    let Some(checkpoint) = checkpoint.filter(|c| c.path.join(PENDING).exists()) else { return Ok(None) };
    Ok(Some(serde_json::from_slice(&checkpoint.read(PENDING)?)?))
}

const PENDING: &str = "pending.json";

/// GRPO with its rollouts on disk.
struct GrpoCourse<'a> {
    grpo: Grpo<'a>,
    heldout: &'a [Example],
    rollouts: Rollouts,
    /// The reference, once it is another than the policy at the start.
    anchor: Option<Policy>,
}

impl Course<Policy> for GrpoCourse<'_> {
    fn step(&mut self, state: &mut State, lr: f32, journal: &mut Journal) -> Result<Value, TrainError> {
        let stepped = self.grpo.step(state, lr, journal)?;
        let (config, step) = (self.grpo.source.config, state.ledger.step + 1);
        if step.is_multiple_of(config.run.rollouts_every) || step == 1 {
            let groups: Vec<&Group> = stepped.batch.drawn().collect();
            let unlearned = stepped.batch.replaced.iter().map(|g| vec![None; g.replies.len()]);
            let advantages: Vec<Vec<Option<f64>>> = stepped.advantages.into_iter().chain(unlearned).collect();
            self.rollouts.write(step, &groups, &advantages, self.grpo.source.examples)?;
        }
        let every = config.algorithm.kl.reanchor_every;
        if every > 0 && step.is_multiple_of(every) && self.grpo.reference.is_some() {
            state.ledger.reference = step;
            self.grpo.reference = Some(state.model.decoder.clone());
            self.anchor = Some(state.model.clone());
        }
        Ok(stepped.record)
    }

    fn measure(&mut self, model: &Policy) -> Result<Option<Value>, TrainError> {
        share(model, self.heldout, self.grpo.source.rewards, self.grpo.source.config)
    }

    fn sync(&mut self) -> Result<(), TrainError> {
        self.rollouts.sync()
    }

    fn files(&self) -> Result<Files, TrainError> {
        let mut files = Vec::new();
        if let Some(batch) = &self.grpo.pending {
            files.push((PENDING.to_owned(), serde_json::to_vec(batch)?));
        }
        if let Some(anchor) = &self.anchor {
            files.extend(anchor.files()?.into_iter().map(|(name, bytes)| (format!("reference/{name}"), bytes)));
        }
        Ok(files)
    }
}

/// Supervised fine-tuning.
struct SftCourse<'a> {
    source: Source<'a>,
    heldout: &'a [Example],
    data: &'a [Demonstration],
}

impl Course<Policy> for SftCourse<'_> {
    fn step(&mut self, state: &mut State, lr: f32, _: &mut Journal) -> Result<Value, TrainError> {
        let clock = Instant::now();
        let (config, ledger) = (self.source.config, &state.ledger);
        let place = ledger.warmup + ledger.step;
        let descent = descent(config, 1.0, ledger.tokens_at_a_time, place);
        let (number, batch) = (ledger.step + 1, config.train.batch);
        let step = SftStep { number, place, batch, seed: config.seed, lr, descent };
        let mut record = sft::step(state, &optimizer(config), self.data, step)?;
        let training = clock.elapsed().as_secs_f64();
        record["seconds"] = serde_json::json!({ "training": training });
        state.ledger.seconds.training += training;
        Ok(record)
    }

    fn measure(&mut self, model: &Policy) -> Result<Option<Value>, TrainError> {
        share(model, self.heldout, self.source.rewards, self.source.config)
    }

    fn sync(&mut self) -> Result<(), TrainError> {
        Ok(())
    }

    fn files(&self) -> Result<Files, TrainError> {
        Ok(Vec::new())
    }
}
