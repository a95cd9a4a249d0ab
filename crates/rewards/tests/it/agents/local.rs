use std::sync::Arc;

use rlar_net::llm::{ChatReply, ChatRequest, Llm, LlmError};
use rlar_oracles::{model, needs_models};
use rlar_rewards::LocalLlm;
use rlar_rewards::ToolCard;
use rlar_rewards::agents::offered::OfferedTool;
use rlar_rewards::agents::select::select;
use serde_json::json;

use super::{Watched, agents, counts, rows};

/// A model whose replies are cut short, to save time.
#[derive(Debug)]
struct Short(LocalLlm);

impl Llm for Short {
    fn chat(&self, request: &ChatRequest) -> Result<ChatReply, LlmError> {
        self.0.chat(&ChatRequest { max_tokens: 24, ..request.clone() })
    }

    fn name(&self) -> String {
        self.0.name()
    }
}

/// A model with 135 million parameters cannot do the task: its replies are read, and then the builtin agent decides.
#[needs_models]
#[test]
fn the_builtin_agent_replaces_a_local_model_that_is_too_small() {
    let path = model!("SmolLM2-135M-Instruct.Q4_1.gguf");
    let watched = Watched::new(Arc::new(Short(LocalLlm::load(&path, "cpu").unwrap())));
    let agents = agents(watched.clone());
    let examples = rows(&[json!({ "id": "a", "prompt": "1 + 1 =", "reference": "2", "domain": "sums" })]);
    let labels = agents.classify(&[&examples[0]]);
    assert!(!labels.label_of(&examples[0]).is_empty());
    let cards = ["exact", "strict"].map(|name| {
        let card = json!({
            "name": name, "kind": "builtin", "builtin": "exact_match", "role": "correctness", "tasks": ["math"],
            "measures": "Whether the reply is the reference.", "needs_reference": true, "range": [0, 1], "origin": "test",
        });
        ToolCard::parse("tool.yaml".as_ref(), &card.to_string()).unwrap()
    });
    let offered = [OfferedTool::unmeasured(&cards[0]), OfferedTool::unmeasured(&cards[1])];
    let chosen = select(agents.llm.as_ref().unwrap(), &examples[0], "math", &offered);
    let is_offered = |tool: &str| cards.iter().any(|card| card.name == tool);
    assert!(chosen.as_ref().map_or(true, |s| s.assignment.tools.iter().all(|t| is_offered(&t.tool))), "{chosen:?}");
    let classify = counts(&agents, "classify");
    assert!(classify.fallbacks == 1 || classify.requests <= 3, "{classify:?}");
    println!("classify {classify:?}, select {:?}", counts(&agents, "select"));
}
