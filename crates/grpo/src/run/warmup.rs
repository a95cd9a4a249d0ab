//! The warm-up: supervised steps before reinforcement learning.

use std::sync::atomic::Ordering;
use std::time::Instant;

use rlar_policy::Moments;
use rlar_run::RunFolder;

use crate::config::Method;
use crate::report::log::Log;
use crate::run::job::Job;
use crate::run::setup::bar;
use crate::train_loop::sft::{Demonstration, SftStep, step_down};
use crate::update::policy_update::descent;
use crate::update::train_state::State;
use crate::{TrainError, optimizer, schedule};

/// Supervised steps up to the start of reinforcement learning, which begins with fresh moments.
pub fn warm_up(state: &mut State, job: &Job, run: &RunFolder, data: &[Demonstration]) -> Result<(), TrainError> {
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
        let record = step_down(state, &optimizer(config), data, step)?;
        state.ledger.warmup += 1;
        state.ledger.seconds.warmup += clock.elapsed().as_secs_f64();
        log.step(record)?;
        if state.ledger.warmup == steps && config.train.method == Method::Grpo {
            state.moments = Moments::zeros(&state.model.decoder);
        }
        let stop = job.interrupted.load(Ordering::SeqCst);
        // Warm-up steps are short: ten checkpoints, the last at the end.
        if stop || state.ledger.warmup == steps || state.ledger.warmup.is_multiple_of(steps.div_ceil(10)) {
            let clock = Instant::now();
            log.sync()?;
            state.save(&run.checkpoints(), &|| Ok(Vec::new()))?;
            run.checkpoints().keep(config.run.keep_last, &[])?;
            state.ledger.seconds.keeping += clock.elapsed().as_secs_f64();
        }
        if stop {
            log.finish();
            return Err(TrainError::Interrupted { warmup: state.ledger.warmup, step: 0 });
        }
    }
    log.finish();
    Ok(())
}
