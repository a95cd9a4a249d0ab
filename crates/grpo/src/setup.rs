//! What happens around the loop: the policy it starts from, the tools it is given, how it is measured.

use std::time::Instant;

use rlar_eval::{Protocol, accuracy, prompt_tokens};
use rlar_policy::{Moments, Policy, PolicyError, Tokenizer, device_in};
use rlar_run::{RunError, RunFolder, sha256};
use serde_json::{Value, json};

use crate::config::Config;
use crate::job::Job;
use crate::report::Measured;
use crate::state::{Seconds, State};
use crate::{TrainError, schedule};

/// The state before the first step: a policy loaded, or made with random weights.
pub fn fresh(job: &Job) -> Result<State, TrainError> {
    let config = &job.config;
    let place = device_in(&config.device, config.precision)?;
    let policy = match (&config.model.path, &config.model.scratch) {
        (Some(path), _) => {
            let policy = Policy::load(path.as_ref(), &place)?;
            match &config.model.lora {
                None => policy,
                Some(lora) => {
                    let base = std::path::absolute(path).unwrap_or_else(|_| path.into());
                    policy.adapt(lora.lora(), schedule::mix(&[config.seed, 1]), base)?
                }
            }
        }
        (None, Some(scratch)) => {
            let texts =
                job.demonstrations.iter().flat_map(|e| [Some(e.prompt()), e.demonstration.as_deref()]).flatten();
            let tokenizer = Tokenizer::train(texts, scratch.vocab_size)?;
            let model = scratch.model(tokenizer.vocab_size()).map_err(PolicyError::Request)?;
            Policy::random(model, tokenizer, schedule::mix(&[config.seed, 1]), &place)?
        }
        (None, None) => return Err(PolicyError::Request("`model` names no policy".into()).into()),
    };
    let moments = Moments::zeros(&policy.decoder);
    Ok(State { warmup: 0, step: 0, policy, moments, seconds: Seconds::default() })
}

/// Refuses prompts that the policy has no room for, before any work is lost to one.
pub fn prompts_fit(policy: &Policy, job: &Job) -> Result<(), TrainError> {
    for example in job.train.iter().chain(&job.heldout) {
        prompt_tokens(policy, example, job.config.data.format)?;
    }
    Ok(())
}

/// Opens the record of a run's inputs, or compares it on a resume: the resolved config, and hashes of the
/// data and of every tool. Where a run writes may change.
pub fn same_inputs(run: &RunFolder, job: &Job) -> Result<(), TrainError> {
    let resolved = |text: &[u8]| -> Result<Value, TrainError> {
        let config: Config = serde_yaml::from_slice(text).map_err(|e| changed(run, &format!("config.yaml: {e}")))?;
        Ok(serde_json::to_value(config)?)
    };
    let tools = job.rewards.library().cards().map(|c| (&c.name, job.rewards.library().identity(&c.name)));
    let hash = |examples: &[rlar_data::Example]| Ok::<_, TrainError>(sha256(&serde_json::to_vec(examples)?));
    let inputs = json!({
        "train": hash(&job.train)?,
        "heldout": hash(&job.heldout)?,
        "demonstrations": hash(&job.demonstrations)?,
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
    if ["run", "train.max_minutes"].contains(&path) || old == new {
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

/// Chooses the tools of every prompt and writes the choices with their reasons, and the tools themselves.
pub fn assign(run: &RunFolder, job: &mut Job) -> Result<(), TrainError> {
    let mut lines = Vec::new();
    for example in job.train.iter().chain(&job.heldout) {
        serde_json::to_writer(&mut lines, job.rewards.assign(example)?)?;
        lines.push(b'\n');
    }
    run.write("assignments.jsonl", &lines)?;
    let library = job.rewards.library();
    for card in library.cards() {
        run.write_folder(&format!("library/{}", card.name), &library.files(&card.name))?;
    }
    Ok(())
}

/// The frozen reference: the policy as it was before the first step of reinforcement learning, kept in the
/// run as `start/`.
pub fn reference(run: &RunFolder, state: &State, config: &Config) -> Result<Policy, TrainError> {
    if state.step == 0 {
        run.write_folder("start", &state.policy.files()?)?;
        return Ok(state.policy.clone());
    }
    Ok(Policy::load(&run.path().join("start"), &device_in(&config.device, config.precision)?)?)
}

/// Held-out accuracy before the first step, measured once per run.
pub fn before(run: &RunFolder, start: &Policy, job: &mut Job, state: &mut State) -> Result<Measured, TrainError> {
    match run.read("before.json") {
        Ok(bytes) if state.step > 0 => Ok(serde_json::from_slice(&bytes)?),
        Err(e) if !matches!(&e, RunError::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound) => {
            Err(e.into())
        }
        _ => {
            let before = measure(start, job, state)?;
            run.write("before.json", &serde_json::to_vec_pretty(&before)?)?;
            Ok(before)
        }
    }
}

/// Held-out accuracy, sampled and greedy.
pub fn measure(policy: &Policy, job: &mut Job, state: &mut State) -> Result<Measured, TrainError> {
    let clock = Instant::now();
    let config = &job.config;
    let examples = &job.heldout[..config.eval.examples(job.heldout.len())];
    let mut one = |protocol: &Protocol| Ok::<_, TrainError>(accuracy(policy, examples, &mut job.rewards, protocol)?.0);
    let [sampled, greedy] = config.protocols();
    let measured = Measured { sampled: one(&sampled)?, greedy: one(&greedy)? };
    state.seconds.evaluation += clock.elapsed().as_secs_f64();
    Ok(measured)
}
