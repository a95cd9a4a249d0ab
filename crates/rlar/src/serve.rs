//! `rlar serve`: the rewards of a config or a library over HTTP, until SIGTERM or Ctrl-C.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use rlar_data::ScoredPart;
use rlar_grpo::Agent;
use rlar_net::llm::Llm;
use rlar_rewards::{STORE, Store};
use rlar_serve::{AccessToken, LoadedRewards, RewardServer, RewardSource, ServeError, ServeOptions};

use crate::cli::ServeArguments;
use crate::error::{BadRequestExt, bad_request, message};
use crate::output::print;
use crate::rewards;
use crate::setup;

/// Share of a tool's scores that may fail when neither the command line nor a config says it.
const FAILURE_LIMIT: f64 = 0.5;

/// Longest wait for another process that is writing to the score cache. It is shorter than the time by which answers may
/// exceed their deadline, so that a locked file costs no answer.
const CACHE_PATIENCE: Duration = Duration::from_secs(1);

/// Prints the server's address, and serves until a signal ends it.
pub fn run(arguments: &ServeArguments) -> Result<()> {
    let token = token(&arguments.token_env)?;
    let address = SocketAddr::new(arguments.host, arguments.port);
    if token.is_none() && !address.ip().is_loopback() {
        return Err(bad_request(format!(
            "--host {}: other machines can reach this address, and whoever reaches it gets rewards given and programs run; \
             set the environment variable {} to a token (`openssl rand -hex 32` makes one), or serve at 127.0.0.1",
            arguments.host, arguments.token_env
        )));
    }
    let ServedRewards { source, scored, failure_limit } = match &arguments.config {
        Some(config) => from_config(config, arguments).bad_request()?,
        None => from_library(arguments)?,
    };
    let options = ServeOptions {
        address,
        token,
        queue: arguments.queue as usize,
        workers: arguments.workers as usize,
        on_failure: arguments.on_failure,
        failure_limit: arguments.failure_limit.unwrap_or(failure_limit),
        webhook: arguments.alert_webhook.clone(),
        scored,
        ..ServeOptions::default()
    };
    let server = match RewardServer::start(options, source) {
        Err(error @ (ServeError::Options(_) | ServeError::Library(_))) => return Err(error).bad_request(),
        started => started?,
    };
    // Before the address is known to anybody who may send one.
    let signals = server.listen().context("cannot wait for signals")?;
    print(format!("{}\n", server.url()))?;
    server.wait(signals, arguments.until_eof).context("cannot wait for signals")?;
    server.stop();
    Ok(())
}

/// The token in an environment variable; `None` if the variable is not set or empty.
fn token(variable: &str) -> Result<Option<AccessToken>> {
    let Ok(text) = std::env::var(variable) else { return Ok(None) };
    if text.trim().is_empty() {
        return Ok(None);
    }
    let token = AccessToken::new(&text);
    token.map(Some).map_err(|why| bad_request(format!("the environment variable {variable}: {why}")))
}

/// What is served, and what a config says about serving it.
struct ServedRewards {
    source: RewardSource,
    scored: ScoredPart,
    failure_limit: f64,
}

/// The tools of a config. The config is read now, so that what is wrong with it is said with its lines, and again whenever
/// its library has changed.
fn from_config(config: &Path, arguments: &ServeArguments) -> Result<ServedRewards> {
    let loaded = setup::load_rewards(config)?;
    let rewards = &loaded.config.rewards;
    let folder = rewards.library.as_deref().map(PathBuf::from).filter(|folder| folder.is_dir());
    let store = arguments.cache.clone().or_else(|| rewards.store.as_deref().map(PathBuf::from));
    let (scored, failure_limit) = (rewards.scored.clone().unwrap_or_default(), rewards.failure_limit);
    let config = config.to_owned();
    let load = move || load_config(&config, store.as_deref()).map_err(|error| message(&error));
    Ok(ServedRewards { source: RewardSource { load: Box::new(load), folder }, scored, failure_limit })
}

fn load_config(config: &Path, store: Option<&Path>) -> Result<LoadedRewards> {
    let loaded = setup::load_rewards(config)?;
    let (mut rewards, agents) = setup::orchestrator(&loaded, None)?;
    if let Some(store) = store {
        rewards.ensure_store(|| Store::open_waiting(store, CACHE_PATIENCE));
    }
    let agents = agents.filter(|_| loaded.config.rewards.agent == Agent::Llm);
    Ok(LoadedRewards { rewards, agents, settings: serde_json::to_string(&loaded.config.rewards)? })
}

/// The tools of a folder, or the built-in ones.
fn from_library(arguments: &ServeArguments) -> Result<ServedRewards> {
    let folder = arguments.library.clone();
    // Tells what is wrong with the folder before anything is started.
    setup::library(folder.as_deref()).bad_request()?;
    // A recording of exchanges can be opened only once.
    let llm = rewards::language_model(&arguments.tools).bad_request()?;
    let store = arguments.cache.clone().or_else(|| folder.as_deref().map(|folder| folder.join(STORE)));
    let (package, device) = (arguments.tools.package.clone(), arguments.device.clone());
    let options = LibraryOptions { folder: folder.clone(), package, device, llm, store };
    let load = move || options.load().map_err(|error| message(&error));
    let source = RewardSource { load: Box::new(load), folder };
    Ok(ServedRewards { source, scored: ScoredPart::default(), failure_limit: FAILURE_LIMIT })
}

/// What the tools of a folder are loaded with.
struct LibraryOptions {
    folder: Option<PathBuf>,
    package: Vec<String>,
    device: String,
    llm: Option<Arc<dyn Llm>>,
    store: Option<PathBuf>,
}

impl LibraryOptions {
    fn load(&self) -> Result<LoadedRewards> {
        let library = setup::library(self.folder.as_deref())?;
        let mut rewards = rewards::orchestrator_of(library, &self.package, &self.device, self.llm.clone());
        if let Some(store) = &self.store {
            rewards.ensure_store(|| Store::open_waiting(store, CACHE_PATIENCE));
        }
        let llm = self.llm.as_ref().map(|llm| llm.name()).unwrap_or_default();
        Ok(LoadedRewards { rewards, agents: None, settings: format!("{}\0{llm}", self.package.join("\0")) })
    }
}
