//! A server made after the sources of SkyRL, whose model is one number. The number shows every pass and every step that was
//! done twice, not at all, or in another order.
//!
//! `recognises_repeats`: as `create_future` in `skyrl/tinker/api.py` of commit a9564572, which gives a request with a known
//! `(model_id, seq_id)` its first future, and answers 409 if its content differs, and as 0.4.0. Otherwise as 0.3.0, which does not
//! read `seq_id`.
//!
//! `form`: JSON as 0.3.0; or protobuf as 0.4.0, which has no `forward`, answers 415 to a pass in JSON, gives results of passes as
//! protobuf, loads weights only as a model's first request, and reads the numbers of passes and steps alone.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::protobuf::{self, PROTOBUF};
use crate::serve::{self, Received, Reply, Served};

pub const BASE: &str = "tiny-llama";

/// The form of passes and their results.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    #[default]
    Json,
    Protobuf,
}

/// How a server behaves.
#[derive(Clone, Copy, Debug, Default)]
pub struct Kind {
    pub recognises_repeats: bool,
    pub form: Form,
}

impl Kind {
    /// A server of every kind.
    pub fn all() -> impl Iterator<Item = Self> {
        let forms = [Form::Json, Form::Protobuf];
        [true, false].into_iter().flat_map(move |repeats| forms.map(|form| Self { recognises_repeats: repeats, form }))
    }
}

#[derive(Default)]
pub struct State {
    pub kind: Kind,
    /// Results, by their request's number.
    results: Vec<Value>,
    known: HashMap<(String, u64), KnownRequest>,
    pub models: BTreeMap<String, ServedModel>,
    checkpoints: BTreeMap<String, f64>,
    pub heartbeats: u64,
    pub is_session_forgotten: bool,
    /// Number of passes with gradients and of steps that were done for a number that had been done before.
    pub done_twice: u64,
    /// The calls of all requests but heartbeats: their paths, and `forward` for a pass without gradients wherever it arrives.
    pub paths: Vec<String>,
    /// Number of passes that were refused because of their form.
    pub wrong_forms: u64,
}

struct KnownRequest {
    request: Value,
    id: usize,
}

/// A model whose only weight is a number.
#[derive(Clone, Debug, Default)]
pub struct ServedModel {
    pub weight: f64,
    gradient: f64,
    pub passes: u64,
    pub steps: u64,
    numbers: Vec<u64>,
}

/// Starts a server that takes passes as JSON.
pub fn start(recognises_repeats: bool) -> (Served, Arc<Mutex<State>>) {
    start_kind(Kind { recognises_repeats, form: Form::Json })
}

/// Starts a server.
pub fn start_kind(kind: Kind) -> (Served, Arc<Mutex<State>>) {
    let state = Arc::new(Mutex::new(State { kind, ..State::default() }));
    let shared = state.clone();
    (serve::serve(move |received| shared.lock().unwrap().answer(&received)), state)
}

impl State {
    pub fn answer(&mut self, received: &Received) -> Reply {
        let mut body = received.json();
        if received.path == "session_heartbeat" {
            self.heartbeats += 1;
            if self.is_session_forgotten {
                return serve::json(404, &json!({"detail": "Session not found"}));
            }
            return serve::json(200, &json!({"type": "session_heartbeat"}));
        }
        let mut path = received.path.as_str();
        if self.kind.form == Form::Protobuf {
            let is_protobuf = received.headers.get("content-type").is_some_and(|kind| kind == PROTOBUF);
            match path {
                "forward" => return self.wrong_form(path, 404, "Not Found"),
                "forward_backward" if !is_protobuf => {
                    return self.wrong_form(path, 415, "forward_backward requires a application/x-protobuf body");
                }
                "forward_backward" => {
                    body = protobuf::pass_request(&received.body);
                    path = if protobuf::is_forward_only(&received.body) { "forward" } else { path };
                }
                _ => {}
            }
        }
        self.paths.push(path.to_owned());
        let (status, value) = self.call(path, &body);
        if self.kind.form == Form::Protobuf && status == 200 && value.get("loss_fn_outputs").is_some() {
            return Reply { body: protobuf::pass_result(&value), ..serve::text(200, PROTOBUF, "") };
        }
        serve::json(status, &value)
    }

    fn wrong_form(&mut self, path: &str, status: u16, detail: &str) -> Reply {
        self.paths.push(path.to_owned());
        self.wrong_forms += 1;
        serve::json(status, &json!({"detail": detail}))
    }

    fn call(&mut self, path: &str, body: &Value) -> (u16, Value) {
        let text = |key: &str| body[key].as_str().unwrap_or_default().to_owned();
        match path {
            "healthz" => (200, json!({"status": "ok"})),
            "get_server_capabilities" => (200, json!({"supported_models": [{"model_name": BASE}]})),
            "create_session" => (200, json!({"type": "create_session", "session_id": "session_1"})),
            "retrieve_future" => match text("request_id").parse::<usize>().ok().and_then(|i| self.results.get(i)) {
                Some(result) if result.get("error").is_some() => (400, json!({"detail": result["error"]})),
                Some(result) => (200, result.clone()),
                None => (404, json!({"detail": "Future not found"})),
            },
            "weights_info" if self.checkpoints.contains_key(&text("tinker_path")) => {
                (200, json!({"base_model": BASE, "is_lora": true, "lora_rank": 4}))
            }
            "create_model" => {
                let model_id = format!("model_{}", self.models.len());
                self.models.insert(model_id.clone(), ServedModel::default());
                let id = self.result(json!({"model_id": model_id, "base_model": BASE}));
                (200, json!({"model_id": model_id, "request_id": id.to_string()}))
            }
            "forward" | "forward_backward" | "optim_step" | "save_weights" | "load_weights" | "unload_model" => {
                self.numbered(path, body)
            }
            _ => (404, json!({"detail": format!("{path}: nothing there")})),
        }
    }

    /// A request with a number.
    fn numbered(&mut self, path: &str, body: &Value) -> (u16, Value) {
        let model_id = body["model_id"].as_str().unwrap_or_default().to_owned();
        let Some(mut model) = self.models.get(&model_id).cloned() else {
            return (404, json!({"detail": "Model not found"}));
        };
        let number = body["seq_id"].as_u64().unwrap_or_default();
        let key = (model_id.clone(), number);
        let is_protobuf = self.kind.form == Form::Protobuf;
        if path == "load_weights" && is_protobuf && self.known.keys().any(|(id, _)| *id == model_id) {
            return (400, json!({"detail": format!("LoadWeights is not permitted with seq_id {number}")}));
        }
        let is_read = !is_protobuf || matches!(path, "forward" | "forward_backward" | "optim_step");
        if let Some(known) = self.known.get(&key).filter(|_| is_read && self.kind.recognises_repeats) {
            if known.request != *body {
                return (409, json!({"detail": "Training request sequence number was reused"}));
            }
            return (200, json!({"future_id": known.id.to_string(), "request_id": known.id.to_string()}));
        }
        if matches!(path, "forward_backward" | "optim_step") {
            self.done_twice += u64::from(model.numbers.contains(&number));
            model.numbers.push(number);
        }
        let checkpoint = format!("tinker://{model_id}/weights/{}", body["path"].as_str().unwrap_or_default());
        let result = match path {
            "forward" => pass(&body["forward_input"]),
            "forward_backward" => {
                model.passes += 1;
                let input = &body["forward_backward_input"];
                let data = input["data"].as_array().into_iter().flatten();
                let advantages = data.map(|d| &d["loss_fn_inputs"]["advantages"]["data"]);
                model.gradient += advantages.filter_map(|list| list.as_array()?.last()?.as_f64()).sum::<f64>();
                pass(input)
            }
            "optim_step" => {
                model.steps += 1;
                let rate = body["adam_params"]["learning_rate"].as_f64().unwrap_or_default();
                // Not linear in the gradient, as Adam: a step too many or too few shows.
                model.weight = 0.5 * model.weight + rate * (1.0 + model.gradient);
                let norm = std::mem::take(&mut model.gradient).abs();
                json!({"metrics": {"skyrl.ai/grad_norm": norm}})
            }
            "save_weights" if self.checkpoints.contains_key(&checkpoint) => {
                return (409, json!({"detail": "Checkpoint already exists"}));
            }
            "save_weights" => {
                self.checkpoints.insert(checkpoint.clone(), model.weight);
                json!({"path": checkpoint, "type": "save_weights"})
            }
            "load_weights" => match self.checkpoints.get(body["path"].as_str().unwrap_or_default()) {
                Some(weight) => {
                    model.weight = *weight;
                    json!({"type": "load_weights"})
                }
                None => return (404, json!({"detail": "Checkpoint not found"})),
            },
            _ => json!({"model_id": model_id, "status": "unloaded", "type": "unload_model"}),
        };
        self.models.insert(model_id, model);
        let id = self.result(result);
        self.known.insert(key, KnownRequest { request: body.clone(), id });
        (200, json!({"future_id": id.to_string(), "status": "pending", "request_id": id.to_string()}))
    }

    fn result(&mut self, value: Value) -> usize {
        self.results.push(value);
        self.results.len() - 1
    }
}

/// The result of a pass: the log-prob -1 for every target.
fn pass(input: &Value) -> Value {
    let data = input["data"].as_array().into_iter().flatten();
    let outputs = data.map(|datum| {
        let length = datum["loss_fn_inputs"]["target_tokens"]["data"].as_array().map_or(0, Vec::len);
        json!({"logprobs": {"data": vec![-1.0; length], "dtype": "float32", "shape": [length]}})
    });
    json!({"loss_fn_output_type": "scalar", "loss_fn_outputs": outputs.collect::<Vec<_>>(), "metrics": {}})
}
