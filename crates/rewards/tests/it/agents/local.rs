use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::Arc;

use rlar_net::llm::{ChatMessage, ChatReply, ChatRequest, Llm, LlmError, runaway_repetition};
use rlar_oracles::{model, needs_models};
use rlar_policy::{ComputeDevice, ModelConfig, Policy, Tokenizer};
use rlar_rewards::agents::offered::OfferedTool;
use rlar_rewards::agents::select::select;
use rlar_rewards::{Exchanges, LlmConfig, LocalLlm, RewardError, ToolCard};
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
    let watched = Watched::new(Arc::new(Short(LocalLlm::load(&path, "cpu", 2).unwrap())));
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

/// Writes a chat model with random weights.
fn random_chat_model(folder: &Path) {
    chat_model(folder, 256, false);
}

/// Writes a chat model with random weights. Of one with tied embeddings, a token is likely to follow itself.
fn chat_model(folder: &Path, positions: usize, is_tied: bool) {
    let config = ModelConfig::new(json!({
        "model_type": "llama", "vocab_size": 300, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": positions, "tie_word_embeddings": is_tied,
        "rope_theta": 10000.0, "rms_norm_eps": 1e-5,
    }));
    let tokenizer = Tokenizer::train(["France Italy Peru Japan Kenya Norway capital of a country"], 300).unwrap();
    let policy = Policy::random(config.unwrap(), tokenizer, 0, &ComputeDevice::new("cpu").unwrap()).unwrap();
    for (name, bytes) in policy.files().unwrap() {
        fs::write(folder.join(name), bytes).unwrap();
    }
    let template = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}";
    fs::write(folder.join("chat_template.jinja"), template).unwrap();
}

/// Requests that wait at the same time share a batch, and what their prompts have in common is read once.
#[test]
fn many_callers_of_a_local_model_get_the_replies_that_each_would_get_alone() {
    let folder = tempfile::tempdir().unwrap();
    random_chat_model(folder.path());
    let countries = ["France", "Italy", "Peru", "Japan", "Kenya", "Norway"];
    let message = |role: &str, content: &str| ChatMessage { role: role.into(), content: content.into() };
    let request = |i: usize| ChatRequest {
        messages: vec![
            message("system", "You name the capital of a country, and nothing else."),
            message("user", countries[i % countries.len()]),
        ],
        // Two ways to sample, which cannot share a batch.
        temperature: if i.is_multiple_of(2) { 0.0 } else { 0.9 },
        max_tokens: 20,
        task: i.to_string(),
        ..ChatRequest::default()
    };
    let llm = LocalLlm::load(folder.path(), "cpu", 4).unwrap();
    let requests: Vec<ChatRequest> = (0..24).map(request).collect();
    let together: Vec<ChatReply> = std::thread::scope(|scope| {
        let llm = &llm;
        let ask = |request| scope.spawn(move || llm.chat(request).unwrap());
        let asked: Vec<_> = requests.iter().map(ask).collect();
        asked.into_iter().map(|asked| asked.join().unwrap()).collect()
    });
    for (request, reply) in requests.iter().zip(&together) {
        let alone = LocalLlm::load(folder.path(), "cpu", 1).unwrap().chat(request).unwrap();
        assert_eq!(*reply, alone);
    }
    let texts: BTreeSet<&str> = together.iter().map(|reply| reply.text.as_str()).collect();
    assert!(texts.len() > 6, "{texts:?}");
    // A request that cannot be answered harms none of the others.
    let long = ChatRequest { messages: vec![message("user", &"France ".repeat(300))], ..request(0) };
    std::thread::scope(|scope| {
        let failed = scope.spawn(|| llm.chat(&long));
        assert_eq!(llm.chat(&requests[0]).unwrap(), together[0]);
        assert!(matches!(failed.join().unwrap(), Err(LlmError::ContextTooLong { .. })));
    });
}

#[test]
fn a_reply_that_repeats_itself_without_end_is_cut() {
    let folder = tempfile::tempdir().unwrap();
    chat_model(folder.path(), 4096, true);
    // Without what its layers add, every token follows itself.
    let file = folder.path().join("model.safetensors");
    let mut bytes = fs::read(&file).unwrap();
    let start = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: BTreeMap<String, serde_json::Value> = serde_json::from_slice(&bytes[8..start]).unwrap();
    for (_, tensor) in header.iter().filter(|(name, _)| name.contains("o_proj") || name.contains("down_proj")) {
        let [begin, end] = [0, 1].map(|i| start + tensor["data_offsets"][i].as_u64().unwrap() as usize);
        bytes[begin..end].fill(0);
    }
    fs::write(&file, bytes).unwrap();
    let llm = LocalLlm::load(folder.path(), "cpu", 2).unwrap();
    let messages = vec![ChatMessage { role: "user".into(), content: "The capital of France".into() }];
    let reply = llm.chat(&ChatRequest { messages, max_tokens: 4000, ..ChatRequest::default() }).unwrap();
    assert_eq!(reply.finish, "repetition", "{reply:?}");
    assert!(reply.completion_tokens < 4000 && !reply.text.is_empty(), "{reply:?}");
    assert_eq!(runaway_repetition(&reply.text), None, "one unit is left");
}

/// Opens a local model as a config does.
fn opened(folder: &Path, context: Option<u64>) -> Arc<dyn Llm> {
    let no_exchanges = |name: &str| -> Result<Exchanges, RewardError> { panic!("{name} is asked for") };
    let config = LlmConfig { local: Some(folder.display().to_string()), context, ..LlmConfig::default() };
    config.open(&no_exchanges).unwrap()
}

#[test]
fn prompt_and_reply_of_a_local_model_share_the_context_that_is_configured() {
    let folder = tempfile::tempdir().unwrap();
    random_chat_model(folder.path());
    let request = |country: &str| ChatRequest {
        messages: vec![ChatMessage { role: "user".into(), content: format!("The capital of {country}") }],
        max_tokens: 20,
        ..ChatRequest::default()
    };
    let whole = opened(folder.path(), None);
    let replies = ["France", "Italy", "Peru", "Japan"].map(|country| whole.chat(&request(country)).unwrap());
    assert!(replies.iter().any(|reply| reply.completion_tokens > 3), "{replies:?}");
    for (country, reply) in ["France", "Italy", "Peru", "Japan"].into_iter().zip(replies) {
        let limited = opened(folder.path(), Some(reply.prompt_tokens + 3)).chat(&request(country)).unwrap();
        let expected = (reply.prompt_tokens, reply.completion_tokens.min(3));
        assert_eq!((limited.prompt_tokens, limited.completion_tokens), expected);
        let (full, error) =
            (reply.prompt_tokens, opened(folder.path(), Some(reply.prompt_tokens)).chat(&request(country)));
        let Err(LlmError::ContextTooLong { prompt_tokens, context, .. }) = error else { panic!("{error:?}") };
        assert_eq!((prompt_tokens, context), (Some(full), Some(full)));
    }
    let contexts = [None, Some(100), Some(100_000)].map(|context| opened(folder.path(), context).context());
    assert_eq!(contexts, [Some(256), Some(100), Some(256)], "the agents cut their prompts to this length");
}
