//! The supervised warm-up: steps of supervised fine-tuning before the training steps.

use std::sync::atomic::Ordering;
use std::time::Instant;

use rlar_policy::Moments;
use rlar_run::RunFolder;

use crate::config::{Config, Method};
use crate::report::metrics_log::MetricsLog;
use crate::report::step_record::SftMetrics;
use crate::run::job::Job;
use crate::run::setup::progress;
use crate::train_loop::announce_checkpoint;
use crate::train_loop::sft::{Demonstration, SftStep};
use crate::update::train_state::TrainState;
use crate::{TrainError, schedule};

/// Largest number of checkpoints that the supervised warm-up writes, unless interrupted; the last is at its end.
/// Warm-up steps are too short for a checkpoint every `run.checkpoint_every` steps.
const CHECKPOINTS: u64 = 10;

/// A record of the supervised warm-up: a line of `warmup.jsonl`.
#[derive(serde::Serialize)]
struct WarmupRecord {
    step: u64,
    #[serde(flatten)]
    metrics: SftMetrics,
}

/// Takes the steps of the supervised warm-up that are not done yet. Reinforcement learning then starts with zero
/// optimizer moments.
pub fn warm_up(state: &mut TrainState, job: &Job, run: &RunFolder, data: &[Demonstration]) -> Result<(), TrainError> {
    let config = &job.config;
    let steps = config.warmup.steps;
    if state.counters.step > 0 {
        return Ok(());
    }
    let done = state.counters.warmup;
    let mut log = MetricsLog::open(run, "warmup.jsonl", done, false, progress(job, "warm-up", steps, done))?;
    while state.counters.warmup < steps {
        let clock = Instant::now();
        let index = state.counters.warmup;
        let lr = learning_rate(config, index);
        let step = SftStep { number: index + 1, index, batch: config.warmup.batch, lr };
        let metrics = step.take(state, data, config)?;
        state.counters.warmup += 1;
        state.counters.seconds.warmup += clock.elapsed().as_secs_f64();
        log.write(step.number, &WarmupRecord { step: step.number, metrics })?;
        let is_last = state.counters.warmup == steps;
        if is_last && config.train.method == Method::Grpo {
            state.trainer.moments = Moments::zeros(&state.trainer.model.decoder);
        }
        let stop = job.interrupted.load(Ordering::SeqCst);
        if stop || is_last || state.counters.warmup.is_multiple_of(steps.div_ceil(CHECKPOINTS)) {
            let clock = Instant::now();
            log.sync()?;
            state.save(&run.checkpoints(), &|| Ok(Vec::new()))?;
            run.checkpoints().keep(config.run.keep_last, &[])?;
            announce_checkpoint(log.output(), run, state);
            state.counters.seconds.overhead += clock.elapsed().as_secs_f64();
        }
        if stop {
            log.finish();
            return Err(TrainError::Interrupted { warmup: state.counters.warmup, step: 0 });
        }
    }
    log.finish();
    Ok(())
}

/// Learning rate of step `index` (from 0): a linear rise over a tenth of the steps, then half a cosine down
/// to a tenth of the peak.
fn learning_rate(config: &Config, index: u64) -> f32 {
    let w = &config.warmup;
    let floor = w.learning_rate * 0.1;
    let decay = schedule::Decay::Cosine;
    floor + schedule::learning_rate(w.learning_rate - floor, index, w.steps, w.steps / 10, decay)
}
