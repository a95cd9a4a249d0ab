//! A language model that chooses tools beside.

use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};

use rlar_net::llm::{ChatReply, ChatRequest, Llm, LlmError};
use rlar_rewards::agents::Agents;
use rlar_rewards::agents::client::LlmClient;
use rlar_rewards::{Library, Orchestrator, OrchestratorConfig, ToolContext};
use rlar_sandbox::SandboxLimits;
use rlar_serve::{LoadedRewards, RewardServer, RewardSource};
use serde_json::json;

use crate::{options, results};

/// Chooses the first offered tool by name that is no constraint, for the whole task, once the gate is open.
#[derive(Debug)]
struct Choosing {
    /// Gives an error when the gate is open.
    gate: Mutex<Receiver<()>>,
}

impl Llm for Choosing {
    fn chat(&self, request: &ChatRequest) -> Result<ChatReply, LlmError> {
        let _ = self.gate.lock().unwrap().recv();
        let lines = request.messages[1].content.lines().filter_map(|l| l.strip_prefix("- ")?.split_once(" ("));
        let tool = lines.filter(|(_, about)| !about.starts_with("constraint")).map(|(tool, _)| tool).min();
        let choice = json!({ "tools": [{ "tool": tool, "weight": 1.0 }], "task_decides": true, "reason": "first" });
        let text = choice.to_string();
        Ok(ChatReply { text, prompt_tokens: 10, completion_tokens: 5, finish: "stop".into(), calls: Vec::new() })
    }

    fn name(&self) -> String {
        "choosing".into()
    }
}

#[test]
fn fixed_rules_choose_until_the_language_model_has_answered() {
    let (open, gate) = channel();
    let llm: Arc<dyn Llm> = Arc::new(Choosing { gate: Mutex::new(gate) });
    let load = move || {
        let context = ToolContext { llm: Some(llm.clone()), ..ToolContext::new(SandboxLimits::default()) };
        let client = Some(LlmClient::new(llm.clone()));
        let agents = Agents { llm: client, hub: None, webs: Vec::new(), context: context.clone(), secrets: Vec::new() };
        let library = Library::curated().map_err(|error| error.to_string())?;
        let rewards = Orchestrator::new(library, context, OrchestratorConfig::default());
        Ok(LoadedRewards { rewards, agents: Some(agents), settings: String::new() })
    };
    let server = RewardServer::start(options(), RewardSource { load: Box::new(load), folder: None }).unwrap();
    let items = json!([{ "prompt": "2 + 2 =", "reference": "4", "response": "4", "domain": "sums" }]);
    for _ in 0..2 {
        let result = results(&server, &items).remove(0);
        assert_eq!((&result["chosen"]["by"], &result["chosen"]["pending"]), (&json!("builtin"), &json!(true)));
        assert_eq!((&result["reward"], &result["parts"][0]["tool"]), (&json!(1.0), &json!("numeric_match")));
    }
    drop(open);
    let result = loop {
        let result = results(&server, &items).remove(0);
        if result["chosen"]["by"] == "choosing" {
            break result;
        }
        std::thread::yield_now();
    };
    assert_eq!(result["chosen"]["pending"], false);
    assert_ne!(result["parts"][0]["tool"], "numeric_match");
}
