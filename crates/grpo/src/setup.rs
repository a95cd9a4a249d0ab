//! What happens around the loop: the run's inputs, the model it starts from, the tools it is given, how it is measured.

use std::fs;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rlar_data::Example;
use rlar_eval::{Accuracy, Protocol, accuracy, prompt_tokens};
use rlar_policy::chat::local_seconds;
use rlar_policy::{Decoder, Moments, Policy, PolicyError, Tokenizer, device_in, free_memory};
use rlar_rewards::{Assignment, Orchestrator, RewardError};
use rlar_run::{Checkpoint, Disk, Progress, RunError, RunFolder, sha256};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::config::{Config, Estimator, KlEstimator, Method, Metric};
use crate::job::Job;
use crate::learner::Learner;
use crate::memory::{Sizes, TrainingPlan};
use crate::report::Measured;
use crate::sft::Demonstration;
use crate::state::{FORMAT, Ledger, Seconds, State};
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
pub fn threads(checkpoint: Option<&Checkpoint>) -> Result<(), TrainError> {
    let Some(checkpoint) = checkpoint else { return Ok(()) };
    let json: Value = serde_json::from_slice(&checkpoint.read("state.json")?)?;
    let Some(wanted) = json["threads"].as_u64() else { return Ok(()) };
    // Refused where the pool runs already; then it must have the right size.
    let _ = rayon::ThreadPoolBuilder::new().num_threads(wanted as usize).build_global();
    let have = rayon::current_num_threads() as u64;
    if have != wanted {
        let message = format!("was computed by {wanted} threads and there are {have}; set RAYON_NUM_THREADS={wanted}");
        return Err(TrainError::Checkpoint { path: checkpoint.path.clone(), message });
    }
    Ok(())
}

/// The policy before the first step: loaded, or made with random weights.
pub fn first_policy(job: &Job) -> Result<Policy, TrainError> {
    let config = &job.config;
    let place = device_in(&config.device, config.precision)?;
    match (&config.model.path, &config.model.scratch) {
        (Some(path), _) => {
            let policy = Policy::load(path.as_ref(), &place)?;
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
            Ok(Policy::random(model, tokenizer, schedule::mix(&[config.seed, 1]), &place)?)
        }
        (None, None) => Err(PolicyError::Request("`model` names no policy".into()).into()),
    }
}

/// The state of a model before its first step.
pub fn fresh<M: Learner>(model: M, config: &Config) -> Result<State<M>, TrainError> {
    let moments = Moments::zeros(model.decoder()?);
    Ok(State { model, moments, ledger: first_ledger(config) })
}

/// The plan for memory of a model whose longest sequence has `longest` tokens.
pub fn plan(config: &Config, decoder: &Decoder, longest: usize) -> TrainingPlan {
    let layout = decoder.layout();
    let keep = crate::learn::descent(config, 1.0, 0, 0).keep;
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
fn first_ledger(config: &Config) -> Ledger {
    Ledger {
        format: FORMAT,
        version: env!("CARGO_PKG_VERSION").into(),
        method: config.train.method,
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

/// The tokens of every prompt; one that the policy has no room for is refused before any work is lost to it.
pub fn prompt_tokens_of(policy: &Policy, examples: &[Example], config: &Config) -> Result<Vec<Vec<u32>>, TrainError> {
    let tokens = |e| prompt_tokens(policy, e, config.data.format);
    Ok(examples.iter().map(tokens).collect::<Result<_, _>>()?)
}

/// Tokens of the longest sequence that is learned from.
pub fn longest(prompts: &[Vec<u32>], demonstrations: &[Demonstration], config: &Config) -> usize {
    let drawn = prompts.iter().map(|p| p.len() + config.sampling.max_tokens);
    drawn.chain(demonstrations.iter().map(Demonstration::len)).max().unwrap_or(1)
}

/// Opens the record of a run's inputs, or compares it on a resume: the resolved config, and hashes of the
/// data and of every tool. Where a run writes may change.
pub fn same_inputs(run: &RunFolder, job: &Job) -> Result<(), TrainError> {
    let resolved = |text: &[u8]| -> Result<Value, TrainError> {
        let config: Config = serde_yaml::from_slice(text).map_err(|e| changed(run, &format!("config.yaml: {e}")))?;
        Ok(serde_json::to_value(config)?)
    };
    let tools = job.rewards.library().cards().map(|c| (&c.name, job.rewards.library().identity(&c.name)));
    let hash = |examples: &[Example]| Ok::<_, TrainError>(sha256(&serde_json::to_vec(examples)?));
    let inputs = json!({
        "train": hash(&job.train)?,
        "heldout": hash(&job.heldout)?,
        "demonstrations": hash(&job.demonstrations)?,
        "preferences": sha256(&serde_json::to_vec(&(&job.preferences, &job.heldout_preferences))?),
        "model": job.config.model.path.as_ref().map(|p| fingerprint(Path::new(p))).transpose()?,
        "tools": tools.map(|(name, identity)| json!([name, identity])).collect::<Vec<_>>(),
    });
    if job.resume && run.checkpoints().any()? {
        let config = serde_yaml::to_string(&job.config).map_err(|e| changed(run, &e.to_string()))?;
        let pairs = [
            (resolved(&run.read("config.yaml")?)?, resolved(config.as_bytes())?),
            (serde_json::from_slice(&run.read("inputs.json")?)?, inputs),
        ];
        let [(config, now), (inputs, given)] = &pairs;
        return match difference(config, now, "").or_else(|| difference(inputs, given, "inputs")) {
            Some(difference) => Err(changed(run, &difference)),
            None => Ok(()),
        };
    }
    run.write("inputs.json", &serde_json::to_vec_pretty(&inputs)?)?;
    let config = serde_yaml::to_string(&job.config).map_err(|e| changed(run, &e.to_string()))?;
    Ok(run.write("config.yaml", config.as_bytes())?)
}

/// The first thing that differs, and how. Where a run writes and how long it may take are not its inputs.
fn difference(old: &Value, new: &Value, path: &str) -> Option<String> {
    if ["run", "train.max_minutes", "train.max_tokens", "rewards.failure_limit"].contains(&path) || old == new {
        return None;
    }
    if let (Some(was), Some(is)) = (old.as_object(), new.as_object()) {
        let below = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
        let keys = is.keys().chain(was.keys().filter(|k| !is.contains_key(*k)));
        return keys.into_iter().find_map(|k| difference(&old[k], &new[k], &below(k)));
    }
    let (was, is) = (old.to_string(), new.to_string());
    Some(if was.len().max(is.len()) < 60 {
        format!("`{path}` was {was} and is {is} now")
    } else {
        format!("`{path}` differs")
    })
}

fn changed(run: &RunFolder, what: &str) -> TrainError {
    let path = run.path().to_owned();
    let start = path.join("start");
    let hint = if start.exists() {
        format!(", from its warm-up's end with `--model {}`", start.display())
    } else {
        String::new()
    };
    TrainError::Changed { path, what: what.to_owned(), hint }
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
        job.rewards.recall(examples().zip(made).collect())?;
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
        run.write_folder(&format!("library/{}", card.name), &library.files(&card.name))?;
    }
    Ok(())
}

/// Held-out accuracy, sampled and greedy.
pub fn measure(job: &mut Job, state: &mut State) -> Result<Measured, TrainError> {
    let clock = Instant::now();
    let config = &job.config;
    let examples = &job.heldout[..config.eval.examples(job.heldout.len())];
    let mut one =
        |protocol: &Protocol| Ok::<_, TrainError>(accuracy(&state.model, examples, &mut job.rewards, protocol)?.0);
    let [sampled, greedy] = config.protocols();
    let measured = Measured { sampled: one(&sampled)?, greedy: one(&greedy)? };
    state.ledger.seconds.evaluation += clock.elapsed().as_secs_f64();
    Ok(measured)
}

/// The share of right answers to held-out examples by the metric that decides, and the same by kind; nothing without
/// such examples. Where tools left more answers without a score than `rewards.failure_limit` allows, there is no accuracy.
pub fn share(
    policy: &Policy,
    heldout: &[Example],
    rewards: &mut Orchestrator,
    config: &Config,
) -> Result<Option<Value>, TrainError> {
    if heldout.is_empty() {
        return Ok(None);
    }
    let examples = &heldout[..config.eval.examples(heldout.len())];
    let [sampled, greedy] = config.protocols();
    let protocol = if config.eval.metric == Metric::Sampled { sampled } else { greedy };
    let (kinds, _) = accuracy(policy, examples, rewards, &protocol)?;
    let share = |a: &Accuracy| a.percent() / 100.0;
    let by_kind: serde_json::Map<_, _> = kinds.iter().map(|(kind, a)| (kind.clone(), json!(share(a)))).collect();
    let all = kinds.get("all").copied().unwrap_or_default();
    let known = all.unscored as f64 <= config.rewards.failure_limit * all.answers as f64;
    Ok(Some(json!({ "accuracy": known.then(|| share(&all)), "unscored": all.unscored, "kinds": by_kind })))
}

/// What is measured before the first step, once per run: kept in a file of the run.
pub fn once<T: Serialize + DeserializeOwned>(
    run: &RunFolder,
    file: &str,
    step: u64,
    measure: impl FnOnce() -> Result<T, TrainError>,
) -> Result<T, TrainError> {
    match run.read(file) {
        Ok(bytes) if step > 0 => Ok(serde_json::from_slice(&bytes)?),
        Err(e) if !matches!(&e, RunError::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound) => {
            Err(e.into())
        }
        _ => {
            let measured = measure()?;
            run.write(file, &serde_json::to_vec_pretty(&measured)?)?;
            Ok(measured)
        }
    }
}

/// What tells a model on disk from another: names and sizes of its files, and a hash of the first and last megabyte of
/// each.
fn fingerprint(path: &Path) -> Result<Value, TrainError> {
    let io = |path: &Path| {
        let path = path.to_owned();
        move |source| RunError::Io { path, action: "cannot read", source }
    };
    let mut files = vec![path.to_owned()];
    if path.is_dir() {
        let entries = fs::read_dir(path).map_err(io(path))?.collect::<Result<Vec<_>, _>>().map_err(io(path))?;
        files = entries.into_iter().map(|e| e.path()).filter(|p| p.is_file()).collect();
        files.sort();
    }
    let print = |file: &PathBuf| {
        let mut open = fs::File::open(file).map_err(io(file))?;
        let size = open.metadata().map_err(io(file))?.len();
        let mut ends = vec![0; size.min(1 << 20) as usize];
        open.read_exact(&mut ends).map_err(io(file))?;
        let mut last = Vec::new();
        open.seek(SeekFrom::Start(size.saturating_sub(1 << 20))).map_err(io(file))?;
        open.read_to_end(&mut last).map_err(io(file))?;
        ends.extend(last);
        let name = file.file_name().map(|n| n.to_string_lossy().into_owned());
        Ok(json!([name, size, sha256(&ends)]))
    };
    files.iter().map(print).collect::<Result<Vec<Value>, TrainError>>().map(Value::Array)
}
