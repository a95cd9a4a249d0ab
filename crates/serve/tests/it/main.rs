//! A real server on the loopback address, and clients that behave well or badly.
// Scores in these tests are exact.
#![allow(clippy::unwrap_used, clippy::float_cmp)]

mod badly_behaved;
mod client;
mod formats;
mod library_changes;
mod llm_choices;
mod overload;
mod retries;
mod scripted;
mod statuses;
mod stopping;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rlar_rewards::{Library, Orchestrator, OrchestratorConfig, STORE, Store, ToolContext};
use rlar_sandbox::SandboxLimits;
use rlar_serve::{LoadedRewards, RewardServer, RewardSource, ServeOptions};
use serde_json::{Value, json};

use crate::client::{Client, HttpAnswer};
use crate::scripted::Scripted;

/// A card of a judge that asks the scripted model, and scores from 0 to 1.
const JUDGE: &str = "kind: judge\nrole: quality\ntasks: [dialogue]\nneeds_reference: false\nrange: [0, 1]\n\
                     judge: { rubric: r }\n";

/// A card of the builtin that compares numbers.
const NUMBERS: &str = "kind: builtin\nbuiltin: numeric_match\nrole: correctness\ntasks: [expressions]\n\
                       needs_reference: true\nrange: [0, 1]\n";

/// Writes a tool's card into a library's folder.
fn write_tool(folder: &Path, name: &str, rest: &str) {
    fs::create_dir_all(folder.join(name)).unwrap();
    let card = format!("name: {name}\nmeasures: m\norigin: test\n{rest}");
    fs::write(folder.join(name).join("tool.yaml"), card).unwrap();
}

/// A folder with the tools `numbers` and `judge`.
fn two_tools() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    write_tool(folder.path(), "numbers", NUMBERS);
    write_tool(folder.path(), "judge", JUDGE);
    folder
}

/// Longest wait of the tests' servers for another process that is writing to the score cache.
const CACHE_PATIENCE: Duration = Duration::from_millis(100);

/// The tools of a folder without admission, with a scripted model for judges and the cache beside the tools.
fn source(folder: &Path, llm: Arc<Scripted>) -> RewardSource {
    let folder: PathBuf = folder.to_owned();
    let loaded = folder.clone();
    let load = move || {
        let library = Library::load(&loaded).map_err(|error| error.to_string())?;
        let context = ToolContext { llm: Some(llm.clone()), ..ToolContext::new(SandboxLimits::default()) };
        let config = OrchestratorConfig { allow_unadmitted: true, ..OrchestratorConfig::default() };
        let store = Store::open_waiting(&loaded.join(STORE), CACHE_PATIENCE);
        let rewards = Orchestrator::new(library, context, config).with_store(store);
        Ok(LoadedRewards { rewards, agents: None, settings: String::new() })
    };
    RewardSource { load: Box::new(load), folder: Some(folder) }
}

/// Options of which tests change what they are about: the library is only looked at when it is asked for.
fn options() -> ServeOptions {
    ServeOptions { watch: None, ..ServeOptions::default() }
}

fn start(options: ServeOptions, folder: &Path, llm: &Arc<Scripted>) -> RewardServer {
    RewardServer::start(options, source(folder, llm.clone())).unwrap()
}

/// A server of the two tools, whose judge gives every reply its best score.
fn plain_server(folder: &tempfile::TempDir) -> RewardServer {
    start(options(), folder.path(), &scripted::always(10))
}

/// Sends items to `/v1/rewards`.
fn ask(server: &RewardServer, items: &Value) -> HttpAnswer {
    Client::of(server).post("/v1/rewards", &json!({ "items": items }))
}

/// The answers to items.
fn results(server: &RewardServer, items: &Value) -> Vec<Value> {
    let answer = ask(server, items);
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["results"].as_array().unwrap().clone()
}

/// An item that the tool `numbers` scores.
fn sum(reply: &str) -> Value {
    json!({ "prompt": "2 + 2 =", "reference": "4", "response": reply })
}

/// An item that the judge scores.
fn chat(reply: &str) -> Value {
    json!({ "prompt": "Say something kind.", "response": reply, "tools": ["judge"] })
}
