//! What a run was started with: a resume with anything else is refused.

use std::path::Path;

use rlar_data::Example;
use rlar_eval::suite::SuiteEval;
use rlar_run::{JOURNAL, RunFolder, fingerprint, sha256};
use serde_json::{Value, json};

use crate::TrainError;
use crate::config::Config;
use crate::run::job::Job;

/// Opens the record of a run's inputs, or compares it on a resume: the resolved config, and hashes of the
/// data and of every tool. Where a run writes may change.
pub fn same_inputs(run: &RunFolder, job: &Job, resumed: bool) -> Result<(), TrainError> {
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
        "suites": job.suites.iter().map(SuiteEval::fingerprint).collect::<Vec<_>>(),
        "tools": tools.map(|(name, identity)| json!([name, identity])).collect::<Vec<_>>(),
    });
    if resumed {
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
    let model = job.config.model.path.as_ref().and_then(|p| Path::new(p).canonicalize().ok());
    let own = run.path().canonicalize().ok();
    if let Some(model) = model.filter(|m| own.is_some_and(|own| m.starts_with(own))) {
        let message = "the model to start from lies in the run's own folder, which the run writes anew; choose another \
                       `run.folder` (`--run`)";
        return Err(TrainError::Checkpoint { path: model, message: message.into() });
    }
    // An earlier start's journal must not be taken for that of these inputs, whenever this one is killed.
    run.clear(&[JOURNAL])?;
    run.write("inputs.json", &serde_json::to_vec_pretty(&inputs)?)?;
    let config = serde_yaml::to_string(&job.config).map_err(|e| changed(run, &e.to_string()))?;
    Ok(run.write("config.yaml", config.as_bytes())?)
}

/// The first thing that differs, and how. Where a run writes and how long it may take are not its inputs.
fn difference(old: &Value, new: &Value, path: &str) -> Option<String> {
    const FREE: [&str; 10] = [
        "run",
        "train.max_minutes",
        "train.max_tokens",
        "train.flat_steps",
        "rewards.failure_limit",
        "rewards.store",
        "rewards.llm.max_tokens",
        "rewards.llm.max_cost",
        "rewards.llm.deadline",
        "rewards.llm.concurrency",
    ];
    if FREE.contains(&path) || old == new {
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
    // An adapter cannot be adapted again.
    let hint = if start.join("config.json").exists() {
        format!(", from its warm-up's end with `--model {}`", start.display())
    } else {
        String::new()
    };
    TrainError::Changed { path, what: what.to_owned(), hint }
}
