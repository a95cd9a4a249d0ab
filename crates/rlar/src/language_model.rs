//! The language model of a config (`rewards.llm`), which everything that a command does shares.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use anyhow::Result;
use rlar_net::llm::Llm;
use rlar_rewards::LlmConfig;

use crate::error::message;
use crate::setup::LoadedConfig;
use crate::{assets, model};

/// The key of the local language model of agents and judges.
pub const LOCAL: &str = "rewards.llm.local";

/// The language model that was opened last; `None` if none was.
static OPENED: Mutex<Option<OpenedModel>> = Mutex::new(None);

/// A language model with the configuration that it was opened from.
struct OpenedModel {
    /// Path of the file that holds the configuration.
    path: PathBuf,
    config: LlmConfig,
    llm: Weak<dyn Llm>,
}

/// Opens the language model that `rewards.llm` of a config describes. As long as the model is in use, the same model is
/// returned again: its recording has one writer, its budget counts all requests, and a local model is in memory once. An
/// error names the line of the key.
pub fn open(loaded: &LoadedConfig, config: &LlmConfig) -> Result<Arc<dyn Llm>> {
    let mut opened = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
    let known = opened.as_ref().filter(|model| model.path == loaded.path && model.config == *config);
    if let Some(llm) = known.and_then(|model| model.llm.upgrade()) {
        return Ok(llm);
    }
    let llm = open_anew(loaded, config)?;
    *opened = Some(OpenedModel { path: loaded.path.clone(), config: config.clone(), llm: Arc::downgrade(&llm) });
    Ok(llm)
}

fn open_anew(loaded: &LoadedConfig, llm: &LlmConfig) -> Result<Arc<dyn Llm>> {
    let exchanges = |name: &str| {
        let found = assets::exchanges(&loaded.path, name)?;
        Ok((found.path, found.text.into_owned()))
    };
    let mut llm = llm.clone();
    if let Some(name) = &mut llm.local {
        let found = model::find_beside(&loaded.path, name, &loaded.hub_commits);
        let found = found.map_err(|error| loaded.problem(LOCAL, message(&error)))?;
        *name = found.path.to_string_lossy().into_owned();
    }
    let key = if llm.replay.is_some() { "rewards.llm.replay" } else { "rewards.llm" };
    llm.open(&exchanges).map_err(|error| loaded.problem(key, error.to_string()))
}
