//! What the agents make of what language models answer: good answers, bad ones, and those of attackers. The answers stand in
//! `tests/exchanges`.

mod classify;
mod fetch;
mod hostile;
mod local;
mod monitor;
mod retrieve;
mod select;
mod synthesise;
mod worker;

use std::path::Path;
use std::sync::{Arc, Mutex};

use rlar_data::{Example, Needs, read_examples};
use rlar_net::llm::{ChatReply, ChatRequest, Llm, LlmError, Replay};
use rlar_rewards::ToolContext;
use rlar_rewards::agents::Agents;
use rlar_rewards::agents::ask::{Asker, Counts};
use rlar_sandbox::{Packages, SandboxError, SandboxLimits};
use serde_json::{Value, json};

/// The scripted answers of a file.
fn exchanges(name: &str) -> Arc<dyn Llm> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/exchanges").join(name).with_extension("yaml");
    Arc::new(Replay::load(&path).unwrap())
}

/// A language model whose questions are kept, and which may fail.
struct Watched {
    inner: Arc<dyn Llm>,
    asked: Mutex<Vec<ChatRequest>>,
    /// From which question on it fails, and how.
    fails: Option<(usize, fn() -> LlmError)>,
}

impl std::fmt::Debug for Watched {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Watched")
    }
}

impl Watched {
    fn new(inner: Arc<dyn Llm>) -> Arc<Self> {
        Arc::new(Self { inner, asked: Mutex::default(), fails: None })
    }

    fn failing(inner: Arc<dyn Llm>, from: usize, how: fn() -> LlmError) -> Arc<Self> {
        Arc::new(Self { inner, asked: Mutex::default(), fails: Some((from, how)) })
    }

    /// The questions that were answered.
    fn asked(&self) -> Vec<ChatRequest> {
        self.asked.lock().unwrap().clone()
    }
}

impl Llm for Watched {
    fn chat(&self, request: &ChatRequest) -> Result<ChatReply, LlmError> {
        let before = self.asked.lock().unwrap().len();
        if let Some((_, how)) = self.fails.filter(|(from, _)| before >= *from) {
            return Err(how());
        }
        let reply = self.inner.chat(request)?;
        self.asked.lock().unwrap().push(request.clone());
        Ok(reply)
    }

    fn name(&self) -> String {
        self.inner.name()
    }
}

/// Agents that run no program.
fn agents(llm: Arc<dyn Llm>) -> Agents {
    let means = ToolContext {
        sandbox: Err(SandboxError::Refused("nothing runs here".into())),
        packages: Packages::default(),
        limits: SandboxLimits::default(),
        device: "cpu".into(),
        llm: None,
        hub: None,
    };
    Agents { asker: Some(Asker::new(llm)), hub: None, webs: Vec::new(), means, secrets: Vec::new() }
}

/// Agents that run what is written.
fn running(llm: Arc<dyn Llm>) -> Agents {
    Agents { means: crate::means(), ..agents(llm) }
}

/// What was asked in a role.
fn counts(agents: &Agents, role: &str) -> Counts {
    agents.tally().get(role).copied().unwrap_or_default()
}

fn rows(rows: &[Value]) -> Vec<Example> {
    let text: Vec<String> = rows.iter().map(Value::to_string).collect();
    read_examples("rows.jsonl".as_ref(), &text.join("\n"), Needs::Prompt).unwrap()
}

/// Prompts that ask to count letters, with the right answers.
fn letters(domain: &str) -> Vec<Example> {
    let row = |(i, (letter, word, count)): (usize, (&str, &str, &str))| {
        let prompt = format!("How many times does {letter} occur in {word}?");
        json!({ "id": format!("{domain}-{i}"), "prompt": prompt, "reference": count, "domain": domain })
    };
    let asked = [("b", "bo-ba-lu", "2"), ("a", "na-na-ra", "3"), ("l", "la-la-li-lo", "4"), ("o", "mo-ta", "1")];
    rows(&asked.into_iter().enumerate().map(row).collect::<Vec<_>>())
}
