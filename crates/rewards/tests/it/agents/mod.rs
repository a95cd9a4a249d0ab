//! The agents with scripted language models, whose replies are good, bad or hostile. The replies are in `tests/exchanges`.

mod background;
mod classify;
mod eligible;
mod fetch;
mod hostile;
mod local;
mod monitor;
mod retrieve;
mod select;
mod synthesise;
mod task_labels;

use std::path::Path;
use std::sync::{Arc, Mutex};

use rlar_data::{Example, Needs, read_examples};
use rlar_net::llm::{ChatReply, ChatRequest, Llm, LlmError, Replay};
use rlar_rewards::ToolContext;
use rlar_rewards::agents::Agents;
use rlar_rewards::agents::client::{LlmClient, RoleUsage};
use rlar_sandbox::{Packages, SandboxError, SandboxLimits};
use serde_json::{Value, json};

/// The scripted replies of a file.
fn exchanges(name: &str) -> Arc<dyn Llm> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/exchanges").join(name).with_extension("yaml");
    Arc::new(Replay::load(&path).unwrap())
}

/// A language model whose requests are recorded, and which may fail.
struct Watched {
    inner: Arc<dyn Llm>,
    requests: Mutex<Vec<ChatRequest>>,
    /// The number of requests after which it fails, and the error.
    fails: Option<(usize, fn() -> LlmError)>,
}

impl std::fmt::Debug for Watched {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Watched")
    }
}

impl Watched {
    fn new(inner: Arc<dyn Llm>) -> Arc<Self> {
        Arc::new(Self { inner, requests: Mutex::default(), fails: None })
    }

    fn failing(inner: Arc<dyn Llm>, from: usize, how: fn() -> LlmError) -> Arc<Self> {
        Arc::new(Self { inner, requests: Mutex::default(), fails: Some((from, how)) })
    }

    /// The requests that were answered, in order.
    fn requests(&self) -> Vec<ChatRequest> {
        self.requests.lock().unwrap().clone()
    }
}

impl Llm for Watched {
    fn chat(&self, request: &ChatRequest) -> Result<ChatReply, LlmError> {
        let before = self.requests.lock().unwrap().len();
        if let Some((_, how)) = self.fails.filter(|(from, _)| before >= *from) {
            return Err(how());
        }
        let reply = self.inner.chat(request)?;
        self.requests.lock().unwrap().push(request.clone());
        Ok(reply)
    }

    fn name(&self) -> String {
        self.inner.name()
    }
}

/// Agents that cannot run programs.
fn agents(llm: Arc<dyn Llm>) -> Agents {
    let context = ToolContext {
        sandbox: Err(SandboxError::Refused("nothing runs here".into())),
        packages: Packages::default(),
        limits: SandboxLimits::default(),
        device: "cpu".into(),
        llm: None,
        judge_log: std::sync::Arc::default(),
        hub: None,
        functions: std::sync::Arc::default(),
    };
    Agents { llm: Some(LlmClient::new(llm)), hub: None, webs: Vec::new(), context, secrets: Vec::new() }
}

/// Agents that run the programs that the model writes.
fn running(llm: Arc<dyn Llm>) -> Agents {
    Agents { context: crate::context(), ..agents(llm) }
}

/// The usage of a role.
fn counts(agents: &Agents, role: &str) -> RoleUsage {
    agents.usage().get(role).copied().unwrap_or_default()
}

fn rows(rows: &[Value]) -> Vec<Example> {
    let text: Vec<String> = rows.iter().map(Value::to_string).collect();
    read_examples("rows.jsonl".as_ref(), text.join("\n").as_bytes(), Needs::Prompt).unwrap()
}

/// Prompts about the number of letters in a word, with the right answers.
fn letters(domain: &str) -> Vec<Example> {
    let row = |(i, (letter, word, count)): (usize, (&str, &str, &str))| {
        let prompt = format!("How many times does {letter} occur in {word}?");
        json!({ "id": format!("{domain}-{i}"), "prompt": prompt, "reference": count, "domain": domain })
    };
    let words = [("b", "bo-ba-lu", "2"), ("a", "na-na-ra", "3"), ("l", "la-la-li-lo", "4"), ("o", "mo-ta", "1")];
    rows(&words.into_iter().enumerate().map(row).collect::<Vec<_>>())
}
