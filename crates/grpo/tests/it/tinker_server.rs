//! A server on loopback that speaks the Tinker API as SkyRL 0.3.0 does, with a policy of this process behind it: it trains LoRA
//! adapters, samples from them, and keeps their checkpoints. How it averages losses can be chosen, and it has faults.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Response, Uri};
use flate2::Compression;
use flate2::write::GzEncoder;
use rlar_grpo::engine::local::micro_batches::{LossGradients, add_gradient, log_probs};
use rlar_grpo::engine::tinker::{PassTotals, ServerLoss};
use rlar_grpo::engine::trainer::PassOptions;
use rlar_policy::{
    AdamW, ComputeDevice, Finish, GenerationRequest, Gradients, Lora, Moments, Policy, Sampling, SavedActivations,
    Sequence,
};
use serde_json::{Value, json};

use crate::loopback::LoopbackServer;

/// The name of the base model on the server.
pub const BASE: &str = "served-base";

/// The largest rank of an adapter.
const MAX_RANK: u64 = 8;

pub const OPTIONS: PassOptions =
    PassOptions { temperature: 1.0, tokens_per_micro_batch: 4096, saved: SavedActivations::All, seed: 0 };

/// The adapter that the server makes.
pub fn lora(rank: usize) -> Lora {
    let targets = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"];
    let target_modules = targets.map(str::to_owned).to_vec();
    Lora { r: rank, lora_alpha: 32.0, target_modules, lora_dropout: 0.0, use_rslora: false }
}

/// What is wrong with the server.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// The key that it asks for.
    pub key: Option<String>,
    /// Further models that it offers.
    pub further_models: Vec<String>,
    /// What is wrong with its answers.
    pub wrong: Option<Wrong>,
    /// The acknowledgement of the optimizer step with this number, from 1, gets lost after the step.
    pub loses_step: Option<usize>,
}

/// What is wrong with the answers of a server.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Wrong {
    /// It multiplies every loss by this.
    Factor(f64),
    /// It divides by all positions of a sequence instead of those that count.
    CountsAllPositions,
    /// It does not say the norm of a step's gradient.
    HidesNorm,
    /// Its tokenizer takes every token for the one with the next number.
    ShiftsTokens,
    /// The log-probs of passes with gradients begin with NaN.
    Nan,
    /// The last log-prob of passes with gradients is missing.
    FewLogProbs,
}

/// A model that is trained.
#[derive(Clone)]
pub struct Served {
    pub policy: Policy,
    pub moments: Moments,
    /// Passes since the last step.
    passes: Vec<Pass>,
}

/// The data of a pass with gradients.
#[derive(Clone)]
struct Pass {
    data: Vec<Datum>,
    clip: [f64; 2],
}

/// A sequence of a pass.
#[derive(Clone)]
struct Datum {
    first: Vec<u32>,
    targets: Vec<u32>,
    weights: Vec<f64>,
    logprobs: Vec<f64>,
    advantages: Vec<f64>,
}

impl Datum {
    fn sequence(&self) -> Sequence<'_> {
        Sequence { prompt: &self.first, completion: &self.targets }
    }

    fn counted(&self) -> usize {
        self.weights.iter().filter(|weight| **weight > 0.0).count()
    }
}

pub struct State {
    base: Policy,
    loss: ServerLoss,
    pub faults: Faults,
    pub models: BTreeMap<String, Served>,
    /// Number of models created.
    created: usize,
    /// The model of every sampling session.
    samplers: Vec<String>,
    pub checkpoints: BTreeMap<String, Served>,
    archives: BTreeMap<String, Vec<u8>>,
    results: Vec<Value>,
    /// Paths of all requests, apart from heartbeats and questions after results.
    pub calls: Vec<String>,
}

/// A server that runs until it is dropped.
pub struct StandIn {
    pub url: String,
    state: Arc<Mutex<State>>,
    _server: LoopbackServer,
}

/// An answer.
struct Answer {
    status: u16,
    content_type: &'static str,
    body: Vec<u8>,
    location: Option<String>,
}

fn json_answer(status: u16, value: &Value) -> Answer {
    Answer { status, content_type: "application/json", body: value.to_string().into_bytes(), location: None }
}

impl StandIn {
    /// Serves the model in a folder.
    pub fn start(folder: &Path, loss: ServerLoss, faults: Faults) -> Self {
        let state = State {
            base: Policy::load(folder, &ComputeDevice::new("cpu").unwrap()).unwrap(),
            loss,
            faults,
            models: BTreeMap::new(),
            created: 0,
            samplers: Vec::new(),
            checkpoints: BTreeMap::new(),
            archives: BTreeMap::new(),
            results: Vec::new(),
            calls: Vec::new(),
        };
        let state = Arc::new(Mutex::new(state));
        let shared = state.clone();
        let handler = move |uri: Uri, headers: HeaderMap, body: Bytes| {
            let body: Value = serde_json::from_slice(&body).unwrap_or_default();
            let path = uri.path().strip_prefix("/api/v1/").unwrap().to_owned();
            let answer = shared.lock().unwrap().answer(&path, &headers, &body);
            let mut response = Response::builder().status(answer.status).header("content-type", answer.content_type);
            if let Some(location) = answer.location {
                response = response.header("location", location);
            }
            let response = response.body(Body::from(answer.body)).unwrap();
            async move { response }
        };
        let server = LoopbackServer::start(Router::new().fallback(handler));
        Self { url: server.url.clone(), state, _server: server }
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

impl State {
    fn answer(&mut self, path: &str, headers: &HeaderMap, body: &Value) -> Answer {
        let sent = headers.get("x-api-key").and_then(|value| value.to_str().ok());
        if self.faults.key.is_some() && sent != self.faults.key.as_deref() {
            return json_answer(401, &json!({ "detail": "Invalid API key" }));
        }
        if !matches!(path, "session_heartbeat" | "retrieve_future") {
            self.calls.push(path.to_owned());
        }
        if let Some(rest) = path.strip_prefix("training_runs/") {
            let download = path.replace("/archive", "/download");
            if download != path {
                let location = Some(format!("/api/v1/{download}"));
                return Answer { location, ..json_answer(302, &Value::Null) };
            }
            let parts: Vec<&str> = rest.split('/').collect();
            let archive = self.archives[&format!("{}/{}", parts[0], parts[2])].clone();
            return Answer { status: 200, content_type: "application/gzip", body: archive, location: None };
        }
        let (status, value) = self.call(path, body);
        let steps = self.calls.iter().filter(|call| *call == "optim_step").count();
        if path == "optim_step" && self.faults.loses_step == Some(steps) {
            return json_answer(502, &json!({ "detail": "the connection to the upstream was lost" }));
        }
        json_answer(status, &value)
    }

    fn call(&mut self, path: &str, body: &Value) -> (u16, Value) {
        let text = |key: &str| body[key].as_str().unwrap_or_default().to_owned();
        match path {
            "healthz" => (200, json!({ "status": "ok" })),
            "session_heartbeat" => (200, json!({ "type": "session_heartbeat" })),
            "create_session" => (200, json!({ "type": "create_session", "session_id": "session-1" })),
            "get_server_capabilities" => {
                let names = std::iter::once(BASE).chain(self.faults.further_models.iter().map(String::as_str));
                let models: Vec<Value> = names.map(|name| json!({ "model_name": name })).collect();
                (200, json!({ "supported_models": models }))
            }
            "retrieve_future" => match &self.results[text("request_id").parse::<usize>().unwrap()] {
                failed if failed.get("error").is_some() => (400, json!({ "detail": failed["error"] })),
                result => (200, result.clone()),
            },
            "create_model" => self.create_model(body),
            "asample" => {
                let model = self.samplers[text("sampling_session_id").parse::<usize>().unwrap()].clone();
                let result = self.sample(&model, body);
                self.acknowledge(result)
            }
            _ => {
                let id = text("model_id");
                if !self.models.contains_key(&id) {
                    return (404, json!({ "detail": "Model not found" }));
                }
                match self.of_model(path, &id, body) {
                    Ok(result) => self.acknowledge(result),
                    Err((status, why)) => (status, json!({ "detail": why })),
                }
            }
        }
    }

    fn acknowledge(&mut self, result: Value) -> (u16, Value) {
        self.results.push(result);
        let id = (self.results.len() - 1).to_string();
        (200, json!({ "future_id": id, "status": "pending", "request_id": id }))
    }

    fn create_model(&mut self, body: &Value) -> (u16, Value) {
        let rank = body["lora_config"]["rank"].as_u64().unwrap();
        if rank > MAX_RANK {
            return self.acknowledge(json!({ "error": format!("LoRA rank {rank} must be between 1 and {MAX_RANK}") }));
        }
        let seed = body["lora_config"]["seed"].as_u64().unwrap();
        let policy = self.base.clone().adapt(lora(rank as usize), seed, Path::new(BASE).to_owned().into()).unwrap();
        let moments = Moments::zeros(&policy.decoder);
        let id = format!("model_{}", self.created);
        self.created += 1;
        self.models.insert(id.clone(), Served { policy, moments, passes: Vec::new() });
        let (status, mut value) = self.acknowledge(json!({ "model_id": id, "base_model": BASE }));
        value["model_id"] = id.into();
        (status, value)
    }

    /// Does what a request about a model asks for; otherwise a status and why.
    fn of_model(&mut self, path: &str, id: &str, body: &Value) -> Result<Value, (u16, String)> {
        let model = self.models[id].clone();
        let named = |kind: &str| format!("tinker://{id}/{kind}/{}", body["path"].as_str().unwrap_or_default());
        Ok(match path {
            "forward" => self.pass(id, &body["forward_input"], false),
            "forward_backward" => self.pass(id, &body["forward_backward_input"], true),
            "optim_step" => self.step(id, &body["adam_params"]),
            "save_weights" => {
                if self.checkpoints.insert(named("weights"), model).is_some() {
                    return Err((409, "Checkpoint already exists".into()));
                }
                json!({ "path": named("weights"), "type": "save_weights" })
            }
            "load_weights" => {
                let Some(saved) = self.checkpoints.get(body["path"].as_str().unwrap()).cloned() else {
                    return Err((404, "Checkpoint not found".into()));
                };
                self.models.insert(id.to_owned(), saved);
                json!({ "type": "load_weights" })
            }
            "save_weights_for_sampler" if body["path"].is_string() => {
                self.archives.insert(format!("{id}/{}", body["path"].as_str().unwrap()), archive(&model.policy));
                json!({ "path": named("sampler_weights") })
            }
            "save_weights_for_sampler" => {
                self.samplers.push(id.to_owned());
                json!({ "sampling_session_id": (self.samplers.len() - 1).to_string() })
            }
            "unload_model" => {
                self.models.remove(id);
                json!({ "model_id": id, "status": "unloaded" })
            }
            other => return Err((404, format!("{other}: nothing there"))),
        })
    }

    /// The log-probs of a pass, whose data are kept until the next step if it has gradients.
    fn pass(&mut self, id: &str, input: &Value, has_gradients: bool) -> Value {
        let data: Vec<Datum> = input["data"].as_array().unwrap().iter().map(datum).collect();
        let model = self.models.get_mut(id).unwrap();
        let sequences: Vec<Sequence> = data.iter().map(Datum::sequence).collect();
        let known = log_probs(&model.policy.decoder, &sequences, OPTIONS).log_probs;
        let mut start = 0;
        let mut outputs = Vec::new();
        for sequence in &sequences {
            let mut values: Vec<Value> =
                known[start..start + sequence.completion.len()].iter().map(|x| json!(x)).collect();
            start += sequence.completion.len();
            if has_gradients && self.faults.wrong == Some(Wrong::Nan) {
                values[0] = Value::Null;
            }
            if has_gradients && self.faults.wrong == Some(Wrong::FewLogProbs) {
                values.pop();
            }
            let length = values.len();
            outputs.push(json!({ "logprobs": { "data": values, "dtype": "float32", "shape": [length] } }));
        }
        if has_gradients {
            let bound = |key: &str, none: f64| input["loss_fn_config"][key].as_f64().unwrap_or(none);
            let clip = [bound("clip_low_threshold", 0.0), bound("clip_high_threshold", f64::INFINITY)];
            model.passes.push(Pass { data, clip });
        }
        json!({ "loss_fn_output_type": "scalar", "loss_fn_outputs": outputs, "metrics": {} })
    }

    /// Takes a step with the gradients of all passes since the last one.
    fn step(&mut self, id: &str, adam: &Value) -> Value {
        let (loss, wrong) = (self.loss, self.faults.wrong);
        let own_factor = if let Some(Wrong::Factor(factor)) = wrong { factor } else { 1.0 };
        let model = self.models.get_mut(id).unwrap();
        let passes = std::mem::take(&mut model.passes);
        let all: Vec<(&Datum, [f64; 2])> = passes.iter().flat_map(|p| p.data.iter().map(|d| (d, p.clip))).collect();
        let totals = PassTotals { sequences: all.len(), targets: all.iter().map(|(datum, _)| datum.counted()).sum() };
        let sequences: Vec<Sequence> = all.iter().map(|(datum, _)| datum.sequence()).collect();
        let mut gradients = Gradients::default();
        add_gradient(&mut gradients, &model.policy.decoder, &sequences, OPTIONS, |range, known| {
            let mut grads = Vec::new();
            for (datum, clip) in &all[range] {
                let counts_all = wrong == Some(Wrong::CountsAllPositions);
                let divisor = if counts_all { datum.targets.len() } else { datum.counted() };
                let factor = loss.factor(divisor, totals) * own_factor;
                for (i, weight) in datum.weights.iter().enumerate() {
                    let ratio = (f64::from(known.log_probs[grads.len()]) - datum.logprobs[i]).exp();
                    let advantage = datum.advantages[i];
                    let bounded = ratio.clamp(clip[0], clip[1]) * advantage;
                    let has_gradient = ratio * advantage <= bounded;
                    grads.push(if has_gradient { (-factor * weight * ratio * advantage) as f32 } else { 0.0 });
                }
            }
            LossGradients { log_probs: grads, entropies: Vec::new() }
        });
        let number = |key: &str| adam[key].as_f64().unwrap() as f32;
        let adamw = AdamW {
            beta1: number("beta1"),
            beta2: number("beta2"),
            eps: number("eps"),
            weight_decay: number("weight_decay"),
            max_norm: 0.0,
        };
        let norm = adamw.step(&mut model.policy.decoder, &mut model.moments, gradients, number("learning_rate"));
        let mut metrics = json!({ "skyrl.ai/grad_norm": norm, "skyrl.ai/learning_rate": number("learning_rate") });
        if wrong == Some(Wrong::HidesNorm) {
            metrics.as_object_mut().unwrap().remove("skyrl.ai/grad_norm");
        }
        json!({ "metrics": metrics })
    }

    fn sample(&self, model: &str, body: &Value) -> Value {
        let asked = &body["sampling_params"];
        let mut policy = self.models[model].policy.clone();
        let stop_texts: Vec<String> = serde_json::from_value(asked["stop"].clone()).unwrap_or_default();
        policy.tokenizer.set_eos(serde_json::from_value(asked["stop"].clone()).unwrap_or_default());
        let first = asked["seed"].as_u64().unwrap();
        let seeds = (0..body["num_samples"].as_u64().unwrap()).map(|i| first + i).collect();
        let prompt = serde_json::from_value(body["prompt"]["chunks"][0]["tokens"].clone()).unwrap();
        let sampling = Sampling {
            temperature: asked["temperature"].as_f64().unwrap() as f32,
            max_tokens: asked["max_tokens"].as_u64().unwrap() as usize,
            ..Sampling::default()
        };
        let replies = policy.engine(8).generate(&[GenerationRequest { prompt, seeds }], &sampling).unwrap();
        let sequence = |reply: &rlar_policy::Sample| {
            let shown = |end: usize| {
                let shift = u32::from(self.faults.wrong == Some(Wrong::ShiftsTokens));
                let tokens: Vec<u32> = reply.tokens[..end].iter().map(|token| token + shift).collect();
                policy.tokenizer.decode(&tokens).unwrap()
            };
            let stopped = (1..=reply.tokens.len()).find(|end| stop_texts.iter().any(|text| shown(*end).contains(text)));
            let end = stopped.unwrap_or(reply.tokens.len());
            let is_stop = stopped.is_some() || reply.finish != Finish::Length;
            json!({
                "tokens": reply.tokens[..end], "logprobs": reply.plain_log_probs[..end],
                "stop_reason": if is_stop { "stop" } else { "length" },
            })
        };
        json!({ "sequences": replies[0].iter().map(sequence).collect::<Vec<_>>(), "prompt_logprobs": null })
    }
}

fn datum(value: &Value) -> Datum {
    let inputs = &value["loss_fn_inputs"];
    let numbers = |key: &str| serde_json::from_value::<Vec<f64>>(inputs[key]["data"].clone()).unwrap_or_default();
    let tokens: Vec<u32> = serde_json::from_value(value["model_input"]["chunks"][0]["tokens"].clone()).unwrap();
    let targets: Vec<u32> = serde_json::from_value(inputs["target_tokens"]["data"].clone()).unwrap();
    // The input is the sequence without its last token.
    assert_eq!(tokens[1..], targets[..targets.len() - 1]);
    let first = tokens[..1].to_vec();
    let (weights, logprobs, advantages) = (numbers("weights"), numbers("logprobs"), numbers("advantages"));
    Datum { first, targets, weights, logprobs, advantages }
}

/// The archive with an adapter, whose config names no modules, as SkyRL writes it.
fn archive(policy: &Policy) -> Vec<u8> {
    let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    for (name, mut content) in policy.files().unwrap() {
        if name == "adapter_config.json" {
            let mut config: Value = serde_json::from_slice(&content).unwrap();
            config["target_modules"] = Value::Null;
            content = config.to_string().into_bytes();
        }
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        tar.append_data(&mut header, name, content.as_slice()).unwrap();
    }
    tar.into_inner().unwrap().finish().unwrap()
}
