//! Compares the inputs of a resumed run (config, data, model, tools, suites) with those at its start; a run with other
//! inputs is not continued.

use std::collections::BTreeMap;
use std::path::Path;

use rlar_data::{Example, ExampleList};
use rlar_eval::suite::SuiteEval;
use rlar_run::{JOURNAL, RunError, RunFolder, StreamedHash, fingerprint, sha256};
use serde_json::{Value, json};

use crate::TrainError;
use crate::config::Config;
use crate::run::job::Job;

/// Config keys that may change when a run is resumed, because they do not change what the steps compute: where a run
/// writes and its limits of time, tokens, failures and requests.
const MAY_CHANGE: [&str; 17] = [
    "run",
    "model.save_dtype",
    "sampling.vllm",
    "train.max_minutes",
    "train.max_tokens",
    "train.flat_steps",
    "train.tinker.server",
    "train.tinker.api_key_env",
    "train.tinker.deadline",
    "rewards.failure_limit",
    "rewards.store",
    "rewards.llm.max_tokens",
    "rewards.llm.max_cost",
    "rewards.llm.deadline",
    "rewards.llm.first_token",
    "rewards.llm.next_token",
    "rewards.llm.concurrency",
];

/// The file in a run's folder with the hashes of its inputs.
const INPUTS: &str = "inputs.json";

/// The key of [`INPUTS`] with the commits of models of the Hub, by their names in the config.
const HUB: &str = "hub";

/// The commits of the models of the Hugging Face Hub with which the run in a folder began, by their names in its config.
/// Empty if the folder holds no run or its config names no such model.
pub fn hub_commits(folder: &Path) -> Result<BTreeMap<String, String>, TrainError> {
    let path = folder.join(INPUTS);
    let text = match std::fs::read(&path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(source) => return Err(RunError::Io { path, action: "cannot read", source }.into()),
    };
    let inputs: Value = serde_json::from_slice(&text)?;
    Ok(inputs.get(HUB).map(|commits| serde_json::from_value(commits.clone())).transpose()?.unwrap_or_default())
}

/// For a new run, writes the resolved config and hashes of data, model, tools and suites to the run's folder. For a
/// resumed run, compares them with those in the folder; a difference is an error.
pub fn check_inputs(run: &RunFolder, job: &Job, is_resumed: bool) -> Result<(), TrainError> {
    let resolved = |text: &[u8]| -> Result<Value, TrainError> {
        let config: Config = serde_yaml::from_slice(text).map_err(|e| changed(run, &format!("config.yaml: {e}")))?;
        Ok(serde_json::to_value(config)?)
    };
    let tools = job.rewards.library().cards().map(|c| (&c.name, job.rewards.library().identity(&c.name)));
    let mut functions = serde_json::Map::new();
    for function in &job.config.rewards.python {
        // Files by their names, so that a message about a changed one names it.
        let files = job.rewards.library().files(function.tool_name()).into_iter();
        let files = files
            .filter(|(name, _)| Path::new(name).extension().is_some_and(|extension| extension == "py"))
            .map(|(name, text)| (name, sha256(text.as_bytes())));
        functions.insert(function.tool_name().to_owned(), json!(files.collect::<BTreeMap<_, _>>()));
    }
    let hash = |examples: &[Example]| Ok::<_, TrainError>(sha256(&serde_json::to_vec(examples)?));
    let others = json!({
        "train": hash_of_list(&job.train)?,
        "heldout": hash(&job.heldout)?,
        "demonstrations": hash(&job.demonstrations)?,
        "preferences": sha256(&serde_json::to_vec(&(&job.preferences, &job.heldout_preferences))?),
        "model": job.model.as_ref().map(|model| fingerprint(&model.path)).transpose()?,
        "suites": job.suites.iter().map(SuiteEval::fingerprint).collect::<Vec<_>>(),
        "tools": tools.map(|(name, identity)| json!([name, identity])).collect::<Vec<_>>(),
    });
    // Runs without functions and models of the Hub have the same inputs as those of earlier versions.
    let mut inputs = json!({});
    if !functions.is_empty() {
        inputs["functions"] = functions.into();
    }
    if !job.hub_commits.is_empty() {
        inputs[HUB] = json!(job.hub_commits);
    }
    for (key, value) in others.as_object().into_iter().flatten() {
        inputs[key] = value.clone();
    }
    if is_resumed {
        let config = serde_yaml::to_string(&job.config).map_err(|e| changed(run, &e.to_string()))?;
        let (old_config, config) = (resolved(&run.read("config.yaml")?)?, resolved(config.as_bytes())?);
        let old_inputs: Value = serde_json::from_slice(&run.read(INPUTS)?)?;
        let found = difference(&old_config, &config, "").or_else(|| difference(&old_inputs, &inputs, "inputs"));
        return match found {
            Some(difference) => Err(changed(run, &difference)),
            None => Ok(()),
        };
    }
    let model = job.model.as_ref().and_then(|model| model.path.canonicalize().ok());
    let folder = run.path().canonicalize().ok();
    if let Some(model) = model.filter(|m| folder.is_some_and(|folder| m.starts_with(folder))) {
        let message = "the model to start from lies in the run's folder, which the run overwrites; choose another `run.folder` \
                       (`--run`)";
        return Err(TrainError::Checkpoint { path: model, message: message.into() });
    }
    // The journal is removed first: if this start is killed, the journal of an earlier run must not be taken for its
    // own.
    run.clear(&[JOURNAL])?;
    run.write(INPUTS, &serde_json::to_vec_pretty(&inputs)?)?;
    let config = serde_yaml::to_string(&job.config).map_err(|e| changed(run, &e.to_string()))?;
    Ok(run.write("config.yaml", config.as_bytes())?)
}

/// SHA-256 of the JSON list of the examples, in hexadecimal.
fn hash_of_list(examples: &ExampleList) -> Result<String, TrainError> {
    let mut hash = StreamedHash::default();
    let mut before: &[u8] = b"[";
    examples.for_each(
        |example| serde_json::to_vec(&example),
        |json| -> Result<(), TrainError> {
            hash.update(before);
            hash.update(&json?);
            before = b",";
            Ok(())
        },
    )?;
    let end: &[u8] = if examples.is_empty() { b"[]" } else { b"]" };
    hash.update(end);
    Ok(hash.finish())
}

/// The first difference between two JSON values, as text; `None` if they differ only in keys that may change.
fn difference(old: &Value, new: &Value, path: &str) -> Option<String> {
    if MAY_CHANGE.contains(&path) || old == new {
        return None;
    }
    if let (Some(was), Some(is)) = (old.as_object(), new.as_object()) {
        let below = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
        let keys = is.keys().chain(was.keys().filter(|k| !is.contains_key(*k)));
        return keys.into_iter().find_map(|k| difference(&old[k], &new[k], &below(k)));
    }
    let (was, is) = (old.to_string(), new.to_string());
    if let Some(function) = path.strip_prefix("inputs.functions.") {
        let (function, file) = function.split_once('.').unwrap_or((function, ""));
        return Some(format!("`{file}` of the function `{function}` was changed"));
    }
    Some(if was.len().max(is.len()) < 60 {
        format!("`{path}` was {was} and is {is} now")
    } else {
        format!("`{path}` differs")
    })
}

fn changed(run: &RunFolder, what: &str) -> TrainError {
    let path = run.path().to_owned();
    let start = path.join("start");
    // The folder of a LoRA adapter has no `config.json`, and cannot be the base of another adapter.
    let hint = if start.join("config.json").exists() {
        format!(", from the end of its warm-up with `--model {}`", start.display())
    } else {
        String::new()
    };
    TrainError::Changed { path, what: what.to_owned(), hint }
}
