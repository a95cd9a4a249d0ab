//! The client against exchanges of vLLM 0.32.0 that `tests/recorded/README.md` tells how to record: it sends what the server
//! took then, and reads what it answered.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use rlar_vllm::{EndReason, ServerFacts, TokensRequest, VllmError, VllmServer};
use serde_json::{Value, json};

use crate::serve::{Reply, Served, serve};

/// The recorded exchanges by name.
fn exchanges() -> BTreeMap<String, Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recorded/vllm-0.32.jsonl");
    let text = std::fs::read_to_string(path).unwrap();
    let named = |line: &str| {
        let exchange: Value = serde_json::from_str(line).unwrap();
        (exchange["name"].as_str().unwrap().to_owned(), exchange)
    };
    text.lines().map(named).collect()
}

/// A server that gives the recorded answer `name` to every request, and a place for the last request.
fn replay(name: &str) -> (Served, Arc<Mutex<Value>>) {
    let answer = exchanges()[name]["answer"].clone();
    let received = Arc::new(Mutex::new(Value::Null));
    let last = received.clone();
    let served = serve(move |request| {
        *last.lock().unwrap() = json!({ "method": request.method, "path": request.path, "body": request.body });
        let text = answer["text"].as_str().map_or_else(|| answer["json"].to_string(), str::to_owned);
        Reply { status: answer["status"].as_u64().unwrap() as u16, body: text }
    });
    (served, received)
}

/// Makes a call of a server that gives the recorded answer `name`, and checks that the call is the recorded one.
async fn replayed<T>(name: &str, call: impl AsyncFnOnce(VllmServer) -> T) -> T {
    let (served, received) = replay(name);
    let answer = call(served.client()).await;
    assert_eq!(*received.lock().unwrap(), exchanges()[name]["request"], "{name}");
    answer
}

/// The request that was recorded.
fn request(model: &str) -> TokensRequest {
    TokensRequest {
        model: model.to_owned(),
        prompt: (0..200).map(|i| (i * 37 + 11) % 256).collect(),
        max_tokens: 8,
        temperature: 1.0,
        seed: 14,
        stop_token_ids: vec![257],
        stop: Vec::new(),
    }
}

#[tokio::test]
async fn a_server_says_what_it_is() {
    assert_eq!(replayed("version", async |server| server.version().await).await.unwrap(), "0.32.0");
    let models = replayed("models", async |server| server.models().await).await.unwrap();
    assert_eq!((models[0].id.as_str(), &models[0].parent, models[0].max_model_len), ("policy", &None, Some(512)));
    let facts = replayed("server_info", async |server| server.facts().await).await.unwrap();
    let logprobs_mode = Some("processed_logprobs".to_owned());
    assert_eq!(
        facts,
        ServerFacts { logprobs_mode, has_lora: Some(true), max_lora_rank: Some(8), is_float32: Some(true) }
    );
    let text = "Größe 12 + 30 = 42\n  日本語 🙂";
    let tokens = replayed("tokenize", async |server| server.tokenize("policy", text).await).await.unwrap().unwrap();
    assert_eq!((tokens.len(), tokens[0]), (37, 38));
    assert_eq!(replayed("weight_info", async |server| server.weight_version().await).await.unwrap(), "default");
}

#[tokio::test]
async fn a_completion_has_its_log_probs_and_the_label_of_its_weights() {
    for (name, model) in [("base", "policy"), ("lora_1", "policy-s-1")] {
        let completion = replayed(name, async |server| server.generate(&request(model)).await).await.unwrap();
        assert_eq!((completion.tokens.len(), completion.end), (8, EndReason::Length));
        assert_eq!(completion.weight_versions, ["s-0"]);
        let recorded = &exchanges()[name]["answer"]["json"]["choices"][0];
        assert_eq!(json!(completion.tokens), recorded["token_ids"]);
        for (i, log_prob) in completion.log_probs.iter().enumerate() {
            let said = recorded["logprobs"]["content"][i]["logprob"].as_f64().unwrap();
            assert!((f64::from(*log_prob) - said).abs() < 1e-6, "{log_prob} {said}");
        }
    }
    let (served, _) = replay("stop_token");
    let stopped = served.client().generate(&request("policy")).await.unwrap();
    assert_eq!((stopped.end, stopped.tokens.last(), stopped.log_probs.len()), (EndReason::Stop, Some(&257), 270));
    let (served, _) = replay("aborted");
    assert_eq!(served.client().generate(&request("policy")).await.unwrap().end, EndReason::Aborted);
}

#[tokio::test]
async fn weights_are_replaced_by_the_recorded_calls() {
    replayed("pause", async |server| server.pause().await).await.unwrap();
    let path = "/models/lora1";
    replayed("load_lora", async |server| server.load_adapter("policy-s-1", path).await).await.unwrap();
    replayed("unload", async |server| server.unload_adapter("policy-s-1").await).await.unwrap();
    replayed("unload_again", async |server| server.unload_adapter("policy-s-1").await).await.unwrap();
    replayed("reload_p1", async |server| server.reload_weights("/models/p1").await).await.unwrap();
    replayed("set_version", async |server| server.set_weight_version("s-0").await).await.unwrap();
    replayed("reset", async |server| server.reset_prefix_cache().await).await.unwrap();
    replayed("resume", async |server| server.resume().await).await.unwrap();
}

#[tokio::test]
async fn refusals_say_what_vllm_said() {
    let (served, _) = replay("models_no_key");
    let error = served.client().models().await.unwrap_err();
    assert!(matches!(error, VllmError::KeyRefused { status: 401, .. }), "{error}");
    let (served, _) = replay("bad_route");
    let error = served.client().pause().await.unwrap_err();
    assert!(matches!(error, VllmError::NoSuchCall { .. }), "{error}");
    assert!(error.to_string().contains("VLLM_SERVER_DEV_MODE=1"), "{error}");
    let (served, _) = replay("wrong_model");
    let error = served.client().generate(&request("nope")).await.unwrap_err();
    assert!(matches!(error, VllmError::Refused { status: 404, .. }) && !error.is_the_requests_fault(), "{error}");
    let (served, _) = replay("too_long");
    let error = served.client().generate(&request("policy")).await.unwrap_err();
    assert!(error.is_the_requests_fault() && error.to_string().contains("maximum model length of 512"), "{error}");
    for (name, part, unknown) in [
        ("load_rank16", "LoRA rank 16 is greater than max_lora_rank 8", true),
        ("load_missing", "No adapter found for", false),
    ] {
        let (served, _) = replay(name);
        let error = served.client().load_adapter("a", "/x").await.unwrap_err();
        assert!(error.to_string().contains(part) && error.leaves_weights_unknown() == unknown, "{error}");
    }
    let (served, _) = replay("reset_while_running");
    let error = served.client().reset_prefix_cache().await.unwrap_err();
    assert!(matches!(error, VllmError::CacheNotReset { .. }), "{error}");
}
