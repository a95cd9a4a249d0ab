//! A server on loopback that answers the calls of vLLM 0.32 as they were measured, with a policy of this process behind it:
//! it loads weights from folders, and keeps of every prompt which weights computed its keys and values.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Response, Uri};
use rlar_policy::{ComputeDevice, Finish, GenerationRequest, Policy, Sampling};
use serde_json::{Value, json};

use crate::loopback::LoopbackServer;

/// The name under which the base model is served.
pub const BASE: &str = "policy";

/// The path of the call that samples.
pub const GENERATE: &str = "/inference/v1/generate";

/// What is wrong with the server.
#[derive(Clone, Default)]
pub struct Faults {
    /// Replaces the answers of calls by these, by path: a status and a body.
    pub answers: BTreeMap<&'static str, (u16, String)>,
    /// A reset of the prefix cache says that it succeeded, and does nothing.
    pub keeps_cache: bool,
    /// Number of next completions that break off in the middle of the answer.
    pub cut: usize,
    /// Number of next completions that end with `abort`.
    pub aborted: usize,
    /// Number of next completions that are never answered.
    pub unanswered: usize,
    /// A label that completions have instead of the server's.
    pub label: Option<Value>,
    /// A log-prob that the last token of every completion has.
    pub last_log_prob: Option<f64>,
    /// Completions have one log-prob less than tokens.
    pub few_log_probs: bool,
    /// Changes the answer of `/server_info`.
    pub info: Option<fn(&mut Value)>,
    /// Number that is added to every token id of the tokenizer.
    pub token_shift: u32,
    /// Longest sequence.
    pub max_model_len: Option<usize>,
}

/// The state of the server.
pub struct State {
    folder: PathBuf,
    base: Policy,
    adapters: BTreeMap<String, Policy>,
    label: String,
    is_paused: bool,
    /// The weights that computed the keys and values of a prompt, by model and prompt.
    cache: BTreeMap<(String, Vec<u32>), Policy>,
    /// The key that `/v1` and `/inference` ask for.
    pub key: Option<String>,
    pub faults: Faults,
    /// The paths of the calls, in order.
    pub calls: Vec<String>,
    /// The names of the models that sampled.
    pub sampled_by: BTreeSet<String>,
}

/// A server that runs until it is dropped.
pub struct StandIn {
    pub url: String,
    state: Arc<Mutex<State>>,
    _server: LoopbackServer,
}

fn load(folder: &Path) -> Option<Policy> {
    Policy::load(folder, &ComputeDevice::new("cpu").unwrap()).ok()
}

impl StandIn {
    /// Serves the model in a folder.
    pub fn start(folder: &Path, faults: Faults) -> Self {
        let state = State {
            folder: folder.to_owned(),
            base: load(folder).unwrap(),
            adapters: BTreeMap::new(),
            label: "default".into(),
            is_paused: false,
            cache: BTreeMap::new(),
            key: None,
            faults,
            calls: Vec::new(),
            sampled_by: BTreeSet::new(),
        };
        let state = Arc::new(Mutex::new(state));
        let shared = state.clone();
        let handler = move |uri: Uri, headers: HeaderMap, body: Bytes| {
            let body: Value = serde_json::from_slice(&body).unwrap_or_default();
            let mut state = shared.lock().unwrap();
            let is_answered = uri.path() != GENERATE || !take_one(&mut state.faults.unanswered);
            let response = is_answered.then(|| {
                let (status, text) = state.answer(uri.path(), &headers, &body);
                let response = Response::builder().status(status).header("content-type", "application/json");
                response.body(Body::from(text)).unwrap()
            });
            async move {
                match response {
                    Some(response) => response,
                    None => std::future::pending().await,
                }
            }
        };
        let server = LoopbackServer::start(Router::new().fallback(handler));
        Self { url: server.url.clone(), state, _server: server }
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// The paths of the calls since the last time.
    pub fn take_calls(&self) -> Vec<String> {
        std::mem::take(&mut self.state().calls)
    }

    /// Restarts the server: it has the weights of its own folder again, and no label.
    pub fn restart(&self) {
        self.state().restart();
    }
}

fn error(status: u16, message: &str) -> (u16, String) {
    (status, json!({ "error": { "message": message, "type": "Error", "param": null, "code": status } }).to_string())
}

impl State {
    fn restart(&mut self) {
        self.base = load(&self.folder).unwrap();
        self.adapters.clear();
        self.cache.clear();
        self.label = "default".into();
        self.is_paused = false;
    }

    fn answer(&mut self, path: &str, headers: &HeaderMap, body: &Value) -> (u16, String) {
        self.calls.push(path.to_owned());
        let is_guarded = path.starts_with("/v1") || path.starts_with("/inference");
        let sent = headers.get("authorization").and_then(|value| value.to_str().ok());
        if let Some(key) = self.key.as_ref().filter(|_| is_guarded)
            && sent != Some(&format!("Bearer {key}"))
        {
            return (401, json!({ "error": "Unauthorized" }).to_string());
        }
        if let Some((_, answer)) = self.faults.answers.iter().find(|(at, _)| **at == path) {
            return answer.clone();
        }
        let done = || (200, "\"Success\"".to_owned());
        match path {
            "/health" => (200, String::new()),
            // Not a call of vLLM: a process in front of this server was started.
            "/restart" => {
                self.restart();
                done()
            }
            "/version" => (200, json!({ "version": "0.32.0" }).to_string()),
            "/v1/models" => (200, self.models().to_string()),
            "/server_info" => (200, self.info().to_string()),
            "/tokenize" => {
                let tokens = self.base.tokenizer.encode(body["prompt"].as_str().unwrap()).unwrap();
                let tokens: Vec<u32> = tokens.into_iter().map(|token| token + self.faults.token_shift).collect();
                (200, json!({ "count": tokens.len(), "tokens": tokens }).to_string())
            }
            "/weight_info" => (200, json!({ "weight_version": self.label }).to_string()),
            "/update_weight_version" => {
                body["new_version"].as_str().unwrap().clone_into(&mut self.label);
                done()
            }
            "/pause" | "/resume" => {
                self.is_paused = path == "/pause";
                done()
            }
            "/reset_prefix_cache" => {
                if !self.faults.keeps_cache {
                    self.cache.clear();
                }
                (200, json!({ "success": true }).to_string())
            }
            "/v1/load_lora_adapter" => self.load_adapter(&body["lora_name"], &body["lora_path"]),
            "/v1/unload_lora_adapter" => match self.adapters.remove(body["lora_name"].as_str().unwrap()) {
                Some(_) => done(),
                None => error(404, "The lora adapter cannot be found."),
            },
            "/collective_rpc" => match load(Path::new(body["kwargs"]["weights_path"].as_str().unwrap())) {
                Some(policy) => {
                    self.base = policy;
                    (200, json!({ "results": [null] }).to_string())
                }
                None => error(500, "no such folder"),
            },
            GENERATE => self.generate(body),
            _ => (404, json!({ "detail": "Not Found" }).to_string()),
        }
    }

    fn models(&self) -> Value {
        let length = self.faults.max_model_len.unwrap_or(512);
        let base = json!({ "id": BASE, "parent": null, "max_model_len": length });
        let adapter = |name: &String| json!({ "id": name, "parent": BASE, "max_model_len": null });
        let models: Vec<Value> = std::iter::once(base).chain(self.adapters.keys().map(adapter)).collect();
        json!({ "data": models })
    }

    fn info(&self) -> Value {
        let mut info = json!({ "vllm_config": {
            "model_config": { "logprobs_mode": "processed_logprobs" }, "lora_config": { "max_lora_rank": 8 },
        } });
        if let Some(change) = self.faults.info {
            change(&mut info);
        }
        info
    }

    fn load_adapter(&mut self, name: &Value, folder: &Value) -> (u16, String) {
        let (name, folder) = (name.as_str().unwrap(), folder.as_str().unwrap());
        if self.adapters.contains_key(name) {
            return error(400, "has already been loaded");
        }
        let Some(policy) = load(Path::new(folder)) else {
            return error(404, &format!("Loading lora {name} failed: No adapter found for {folder}"));
        };
        self.adapters.insert(name.to_owned(), policy);
        (200, format!("Success: LoRA adapter '{name}' added successfully."))
    }

    fn generate(&mut self, body: &Value) -> (u16, String) {
        assert!(!self.is_paused, "a paused vLLM never answers");
        let (model, asked) = (body["model"].as_str().unwrap(), &body["sampling_params"]);
        let weights = if model == BASE { Some(&self.base) } else { self.adapters.get(model) };
        let Some(weights) = weights.cloned() else {
            return error(404, &format!("The model `{model}` does not exist."));
        };
        self.sampled_by.insert(model.to_owned());
        let prompt: Vec<u32> = serde_json::from_value(body["token_ids"].clone()).unwrap();
        let mut policy = self.cache.entry((model.to_owned(), prompt.clone())).or_insert(weights).clone();
        policy.tokenizer.set_eos(serde_json::from_value(asked["stop_token_ids"].clone()).unwrap());
        let sampling = Sampling {
            temperature: asked["temperature"].as_f64().unwrap() as f32,
            max_tokens: asked["max_tokens"].as_u64().unwrap() as usize,
            stop: serde_json::from_value(asked["stop"].clone()).unwrap_or_default(),
            ..Sampling::default()
        };
        let seeds = vec![asked["seed"].as_u64().unwrap()];
        let replies = policy.engine(1).generate(&[GenerationRequest { prompt, seeds }], &sampling).unwrap();
        let reply = &replies[0][0];
        let end = if reply.finish == Finish::Length { "length" } else { "stop" };
        let is_aborted = take_one(&mut self.faults.aborted);
        let entry = |(token, log_prob): (&u32, &f32)| json!({ "token_id": token, "logprob": log_prob });
        let mut content: Vec<Value> = reply.tokens.iter().zip(&reply.log_probs).map(entry).collect();
        if let Some(log_prob) = self.faults.last_log_prob {
            content.last_mut().unwrap()["logprob"] = log_prob.into();
        }
        if self.faults.few_log_probs {
            content.pop();
        }
        let spans = json!([{ "version": self.label, "start": 0, "end": reply.tokens.len() }]);
        let text = json!({ "choices": [{
            "index": 0,
            "finish_reason": if is_aborted { "abort" } else { end },
            "token_ids": reply.tokens,
            "logprobs": { "content": content },
            "weight_versions": self.faults.label.clone().unwrap_or(spans),
        }] })
        .to_string();
        let shown = if take_one(&mut self.faults.cut) { text.len() / 2 } else { text.len() };
        (200, text[..shown].to_owned())
    }
}

/// Whether a count is more than 0; then it goes down.
fn take_one(count: &mut usize) -> bool {
    let is_left = *count > 0;
    *count = count.saturating_sub(1);
    is_left
}
