//! What happens before the loop: the model it starts from, its memory, its prompts, the tools it is given.

use std::time::Duration;

use rlar_data::Example;
use rlar_eval::{encode_prompt, leaves_room};
use rlar_policy::chat::local_seconds;
use rlar_policy::{ComputeDevice, Decoder, Moments, Policy, PolicyError, Tokenizer, free_memory};
use rlar_rewards::{Assignment, RewardError};
use rlar_run::{Disk, Progress, RunFolder};

use crate::config::{Config, Estimator, KlEstimator, Method};
use crate::rollouts::mixture::Mixture;
use crate::run::job::Job;
use crate::train_loop::sft::Demonstration;
use crate::update::memory_plan::{Sizes, TrainingPlan};
use crate::update::train_state::{FORMAT, Ledger, Seconds, State};
use crate::update::trainable::Learner;
use crate::{TrainError, schedule};

/// The progress bar of a phase.
pub fn bar(job: &Job, title: &str, total: u64, done: u64) -> Progress {
    if job.progress { Progress::new(title, total, done) } else { Progress::hidden() }
}

/// How long a full disk is waited for.
pub fn disk(config: &Config) -> Disk {
    Disk { wait: Duration::from_secs_f64(config.run.disk_wait) }
}

/// Computes with as many threads as the run did before, or as the machine has.
pub fn threads(run: &RunFolder, ledger: Option<&Ledger>) -> Result<(), TrainError> {
    let Some(wanted) = ledger.map(|l| l.threads) else { return Ok(()) };
    // Refused where the pool runs already; then it must have the right size.
    let _ = rayon::ThreadPoolBuilder::new().num_threads(wanted).build_global();
    let have = rayon::current_num_threads();
    if have != wanted {
        let message = format!("was computed by {wanted} threads and there are {have}; set RAYON_NUM_THREADS={wanted}");
        return Err(TrainError::Checkpoint { path: run.path().to_owned(), message });
    }
    Ok(())
}

/// The policy before the first step: loaded, or made with random weights.
pub fn first_policy(job: &Job) -> Result<Policy, TrainError> {
    let config = &job.config;
    let device = ComputeDevice::with_precision(&config.device, config.precision)?;
    match (&config.model.path, &config.model.scratch) {
        (Some(path), _) => {
            let policy = Policy::load(path.as_ref(), &device)?;
            let Some(lora) = &config.model.lora else { return Ok(policy) };
            let base = std::path::absolute(path).unwrap_or_else(|_| path.into());
            Ok(policy.adapt(lora.lora(), schedule::mix(&[config.seed, 1]), base)?)
        }
        (None, Some(scratch)) => {
            let shown = job.demonstrations.iter().flat_map(|e| {
                let said = e.messages.iter().map(|m| m.content.as_str());
                said.chain(e.demonstration.as_deref())
            });
            let preferred = job.preferences.iter().flat_map(|p| {
                let said = p.messages.iter().map(|m| m.content.as_str());
                said.chain([p.chosen.as_str(), p.rejected.as_str()])
            });
            let tokenizer = Tokenizer::train(shown.chain(preferred), scratch.vocab_size)?;
            let model = scratch.model(tokenizer.vocab_size()).map_err(PolicyError::Request)?;
            Ok(Policy::random(model, tokenizer, schedule::mix(&[config.seed, 1]), &device)?)
        }
        (None, None) => Err(PolicyError::Request("`model` names no policy".into()).into()),
    }
}

/// The state of a model before its first step.
pub fn fresh<M: Learner>(model: M) -> Result<State<M>, TrainError> {
    let moments = Moments::zeros(model.decoder()?);
    Ok(State { model, moments, ledger: first_ledger() })
}

/// The plan for memory of a model whose longest sequence has `longest` tokens.
pub fn plan(config: &Config, decoder: &Decoder, longest: usize) -> TrainingPlan {
    let layout = decoder.layout();
    let keep = crate::update::policy_update::descent(config, 1.0, 0, 0).keep;
    let trained = layout.trained().parameters();
    let kl = &config.algorithm.kl;
    let (has_reference, adapted) = (kl.estimator != KlEstimator::None, layout.lora().is_some());
    let grpo = config.train.method == Method::Grpo;
    // A reference, and the policy of the step before, are further copies of what is trained.
    let copies = usize::from(grpo && has_reference && !adapted) + usize::from(grpo && config.train.asynchronous);
    let sizes = Sizes { parameters: layout.parameters(), trained, copies, longest };
    let available = if config.device.starts_with("cuda") { None } else { free_memory() };
    // The model is in memory already.
    let available = available.map(|free| free + 4 * layout.parameters() as u64);
    TrainingPlan::new(decoder.config(), sizes, keep, config.train.micro_batch_tokens, available)
}

/// Plans the memory of a run that starts, and warns where there is too little.
pub fn plan_memory(ledger: &mut Ledger, config: &Config, decoder: &Decoder, longest: usize) {
    let plan = plan(config, decoder, longest);
    ledger.tokens_at_a_time = plan.tokens;
    if plan.is_too_large() {
        tracing::warn!("memory: {plan}");
    }
}

/// The ledger before the first step.
fn first_ledger() -> Ledger {
    Ledger {
        format: FORMAT,
        version: env!("CARGO_PKG_VERSION").into(),
        warmup: 0,
        step: 0,
        optimizer_steps: 0,
        cursor: 0,
        reply_tokens: 0,
        flat_steps: 0,
        best: Vec::new(),
        since_best: 0,
        reference: 0,
        tokens_at_a_time: 0,
        threads: rayon::current_num_threads(),
        began: local_seconds(),
        seconds: Seconds::default(),
    }
}

/// The tokens of every prompt, none of those that `data.min_prompt_tokens` and `data.max_prompt_tokens` leave out; one that
/// the policy has no room for is refused before any work is lost to it. `key` names the file in the config.
pub fn prompt_tokens_of(
    policy: &Policy,
    examples: &[Example],
    config: &Config,
    key: &'static str,
) -> Result<Vec<Vec<u32>>, TrainError> {
    let tokens = |e| {
        let tokens = encode_prompt(policy, e, config.data.format)?;
        if !config.data.fits(tokens.len()) {
            return Ok(Vec::new());
        }
        leaves_room(policy, e, tokens.len())?;
        Ok(tokens)
    };
    let prompts: Result<Vec<Vec<u32>>, _> = examples.iter().map(tokens).collect();
    let prompts = prompts.map_err(|source| TrainError::Data { key, source })?;
    let left_out = prompts.iter().filter(|p| p.is_empty()).count();
    if left_out == prompts.len() && left_out > 0 {
        let message = "`data.min_prompt_tokens` and `data.max_prompt_tokens` leave out every prompt".to_owned();
        return Err(TrainError::Data { key, source: PolicyError::Request(message) });
    }
    if left_out > 0 {
        tracing::warn!("{key}: {left_out} of {} prompts are left out for their length", prompts.len());
    }
    let (longest, room) = (prompts.iter().map(Vec::len).max(), policy.decoder.config().max_position_embeddings);
    if let Some(longest) = longest.filter(|n| n + config.sampling.max_tokens > room) {
        let left = room - longest;
        let most = config.sampling.max_tokens;
        tracing::warn!(
            "{key}: a prompt of {longest} tokens leaves {left} of the model's {room} positions for a reply, fewer than \
             `sampling.max_tokens`, {most}"
        );
    }
    Ok(prompts)
}

/// In which order the prompts of a job are drawn.
pub fn mixture(job: &Job, prompts: &[Vec<u32>]) -> Result<Mixture, TrainError> {
    let (domains, per_step, steps) =
        (&job.config.data.mixture, job.config.train.prompts as u64, job.config.train.steps);
    let mixture = Mixture::of(domains, &job.sizes, [per_step, steps], &|i| !prompts[i].is_empty());
    match mixture.gap(steps.saturating_mul(per_step)) {
        Some(draw) if job.config.train.method == Method::Grpo => {
            let step = draw / per_step;
            let message = format!("no domain has a prompt of a length that is wanted at step {step}");
            Err(TrainError::Data { key: "data.mixture", source: PolicyError::Request(message) })
        }
        _ => Ok(mixture),
    }
}

/// Leaves out examples whose prompts were.
pub fn keep_fitting(examples: &mut Vec<Example>, prompts: &[Vec<u32>]) {
    let mut kept = prompts.iter().map(|p| !p.is_empty());
    examples.retain(|_| kept.next().unwrap_or(true));
}

/// Tokens of the longest sequence that is learned from.
pub fn longest(prompts: &[Vec<u32>], demonstrations: &[Demonstration], config: &Config) -> usize {
    let drawn = prompts.iter().map(|p| p.len() + config.sampling.max_tokens);
    drawn.chain(demonstrations.iter().map(Demonstration::len)).max().unwrap_or(1)
}

/// Chooses the tools of every prompt and writes the choices with their reasons, and the tools themselves. A resumed run
/// keeps the choices that were made.
pub fn assign(run: &RunFolder, job: &mut Job, resumed: bool) -> Result<(), TrainError> {
    if job.config.train.method == Method::RewardModel {
        return Ok(());
    }
    let examples = || job.train.iter().chain(&job.heldout);
    if resumed {
        let text = run.read("assignments.jsonl")?;
        let lines = text.split(|b| *b == b'\n').filter(|l| !l.is_empty());
        let made = lines.map(serde_json::from_slice::<Assignment>).collect::<Result<Vec<_>, _>>()?;
        job.rewards.restore(examples().zip(made).collect())?;
        return Ok(());
    }
    let mut lines = Vec::new();
    for example in job.train.iter().chain(&job.heldout) {
        serde_json::to_writer(&mut lines, job.rewards.assign(example)?)?;
        lines.push(b'\n');
    }
    run.write("assignments.jsonl", &lines)?;
    let library = job.rewards.library();
    for card in library.cards() {
        let used = format!("\"{}\"", card.name);
        let asked = || lines.windows(used.len()).any(|w| w == used.as_bytes());
        if job.config.algorithm.advantage == Estimator::MaxRl && card.range[0] < 0.0 && asked() {
            let message = format!("scores from {} on, and `max_rl` needs scores of at least 0", card.range[0]);
            return Err(RewardError::Tool { tool: card.name.clone(), message }.into());
        }
        if asked() && !library.is_admitted(&card.name) {
            tracing::warn!("tool `{}` was not admitted, and `rewards.unadmitted` lets it score", card.name);
        }
        run.write_folder(&format!("library/{}", card.name), &library.files(&card.name))?;
    }
    Ok(())
}
