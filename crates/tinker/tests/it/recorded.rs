//! The examples against exchanges of SkyRL 0.3.0 and 0.4.0 that `tests/recorded/README.md` tells how to record: the client sends what
//! the server took then, and reads what it answered.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Arc, Mutex};

use rlar_tinker::{
    Body, Codec, Datum, DatumOutput, LossFunction, PassKind, PassRequest, ProtobufCodec, SampledSequence, StopReason,
    TinkerError, TinkerServer,
};
use safetensors::SafeTensors;
use serde_json::{Value, json};

use crate::protobuf::{self, PROTOBUF};
use crate::serve::{self, Received, Reply, Served, settings};

#[path = "../../examples/refusals.rs"]
#[allow(dead_code)]
mod refusals;
#[path = "../../examples/train.rs"]
#[allow(dead_code)]
mod train;

/// What is left of a recording, and how a request differed from it.
#[derive(Default)]
struct Recording {
    exchanges: VecDeque<Value>,
    differences: Vec<String>,
}

impl Recording {
    fn answer(&mut self, received: &Received, url: &str) -> Reply {
        if received.path == "session_heartbeat" {
            return serve::json(200, &json!({"type": "session_heartbeat"}));
        }
        let exchange = self.exchanges.pop_front().unwrap_or_default();
        let is_protobuf = received.headers.get("content-type").is_some_and(|kind| kind == PROTOBUF);
        let sent = if is_protobuf {
            json!({"method": received.method, "path": received.path, "type": PROTOBUF, "hex": hex(&received.body)})
        } else {
            json!({"method": received.method, "path": received.path, "body": received.json()})
        };
        if exchange["request"] != sent {
            self.differences.push(format!("recorded {}, received {sent}", exchange["request"]));
        }
        let answer = &exchange["answer"];
        let location = answer["location"].as_str().map(|path| path.replace("http://SERVER", url));
        let status = answer["status"].as_u64().unwrap_or(599) as u16;
        let mut reply = match (answer.get("json"), answer["hex"].as_str()) {
            (Some(value), _) => serve::json(status, value),
            (None, Some(hex)) => {
                let kind = if answer["type"] == PROTOBUF { PROTOBUF } else { "application/octet-stream" };
                Reply { body: bytes(hex), ..serve::text(status, kind, "") }
            }
            (None, None) => serve::text(status, "text/plain", answer["text"].as_str().unwrap_or_default()),
        };
        reply.location = location;
        reply
    }
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().map(|b| char::from(b).to_digit(16).unwrap() as u8).collect();
    digits.chunks(2).map(|two| (two[0] << 4) | two[1]).collect()
}

fn hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 0xf]);
    digits.map(|digit| char::from_digit(digit.into(), 16).unwrap()).collect()
}

/// The exchanges of a recording.
fn exchanges(name: &str) -> VecDeque<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recorded").join(name);
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Serves a recording.
fn replay(name: &str) -> (Served, Arc<Mutex<Recording>>) {
    let exchanges = exchanges(name);
    let recording = Arc::new(Mutex::new(Recording { exchanges, ..Recording::default() }));
    let shared = recording.clone();
    let served = serve::serve(move |received| {
        let url = format!("http://{}", received.headers["host"].to_str().unwrap());
        shared.lock().unwrap().answer(&received, &url)
    });
    (served, recording)
}

fn assert_complete(recording: &Mutex<Recording>) {
    let recording = recording.lock().unwrap();
    assert!(recording.differences.is_empty(), "{}", recording.differences.join("\n"));
    assert!(recording.exchanges.is_empty(), "{} exchanges were not asked for", recording.exchanges.len());
}

#[tokio::test]
async fn a_training_with_skyrl_0_3_0() {
    let (served, recording) = replay("train.jsonl");
    let server = TinkerServer::new(settings(&served.url())).unwrap();
    let training = train::train(&server, 2, 4).await.unwrap();
    assert_complete(&recording);
    assert_eq!(training.rewards.len(), 2);
    assert!(training.logprob_gap > 0.0 && training.logprob_gap < 1e-4, "{}", training.logprob_gap);
    assert!(training.checkpoint_gap < 1e-6, "{}", training.checkpoint_gap);
    assert!(!training.recognises_repeats, "SkyRL 0.3.0 does not read seq_id");
    assert_adapter(&training);
}

/// What the two examples' recordings have in common, whatever the form of passes.
fn assert_adapter(training: &train::Training) {
    let config: Value = serde_json::from_slice(&training.adapter.config).unwrap();
    assert_eq!(config["peft_type"], "LORA");
    assert_eq!(config["r"], 4);
    let tensors = SafeTensors::deserialize(&training.adapter.weights).unwrap();
    let name = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight";
    assert_eq!(tensors.tensor(name).unwrap().shape(), [4, 32]);
    // SkyRL leaves the modules out; without them PEFT would load a part.
    let modules = ["down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj"];
    assert_eq!(config["target_modules"], json!(modules));
}

#[tokio::test]
async fn a_training_with_skyrl_0_4_0() {
    let (served, recording) = replay("train-0.4.0.jsonl");
    let server = TinkerServer::new(settings(&served.url())).unwrap();
    let training = train::train(&server, 2, 4).await.unwrap();
    assert_complete(&recording);
    assert_eq!(server.pass_type(), Some(PROTOBUF));
    assert_eq!(training.rewards.len(), 2);
    assert!(training.logprob_gap > 0.0 && training.logprob_gap < 1e-4, "{}", training.logprob_gap);
    assert!(training.checkpoint_gap < 1e-6, "{}", training.checkpoint_gap);
    assert!(training.recognises_repeats, "SkyRL 0.4.0 reads seq_id");
    assert_adapter(&training);
}

#[tokio::test]
async fn what_skyrl_0_3_0_refuses() {
    let (served, recording) = replay("refusals.jsonl");
    let mut settings = settings(&served.url());
    // As in the recording: the result with NaN is asked for so often.
    settings.retries.tries = 7;
    let errors = refusals::refusals(&TinkerServer::new(settings).unwrap()).await.unwrap();
    assert_complete(&recording);
    let [model, rank, nowhere, twice, infinite] = errors.as_slice() else { panic!("{errors:?}") };
    assert!(matches!(model, TinkerError::WrongModel { .. }), "{model}");
    assert!(matches!(rank, TinkerError::ModelRefused { rank: 4096, .. }), "{rank}");
    assert!(matches!(nowhere, TinkerError::Refused { status: 404, .. }), "{nowhere}");
    assert!(matches!(twice, TinkerError::Refused { status: 409, .. }), "{twice}");
    assert!(matches!(infinite, TinkerError::Failed { message, .. } if message.contains("NaN")), "{infinite}");
    assert!(rank.to_string().contains("must be between 1 and"), "{rank}");
}

#[tokio::test]
async fn what_skyrl_0_4_0_refuses() {
    let (served, recording) = replay("refusals-0.4.0.jsonl");
    let server = TinkerServer::new(settings(&served.url())).unwrap();
    let errors = refusals::refusals(&server).await.unwrap();
    assert_complete(&recording);
    let [model, rank, nowhere, twice, infinite] = errors.as_slice() else { panic!("{errors:?}") };
    assert!(matches!(model, TinkerError::WrongModel { .. }), "{model}");
    assert!(matches!(rank, TinkerError::ModelRefused { rank: 4096, .. }), "{rank}");
    assert!(matches!(nowhere, TinkerError::Refused { status: 404, .. }), "{nowhere}");
    assert!(matches!(twice, TinkerError::Refused { status: 409, .. }), "{twice}");
    // Where 0.3.0 gives no result at all.
    assert!(matches!(infinite, TinkerError::NotFinite { what, .. } if what == "loss 1 of datum 0"), "{infinite}");
}

fn floats(values: &Value) -> Vec<f32> {
    values.as_array().unwrap().iter().map(|value| value.as_f64().unwrap() as f32).collect()
}

fn integers(values: &Value) -> Vec<u32> {
    values.as_array().unwrap().iter().map(|value| value.as_u64().unwrap() as u32).collect()
}

/// The pass of a body in JSON, written as protobuf.
fn written(body: &Value) -> Vec<u8> {
    let (kind, input) = match body.get("forward_input") {
        Some(input) => (PassKind::Forward, input),
        None => (PassKind::ForwardBackward, &body["forward_backward_input"]),
    };
    let data = input["data"].as_array().unwrap().iter().map(|datum| {
        let inputs = &datum["loss_fn_inputs"];
        let optional = |name: &str| inputs.get(name).map(|tensor| floats(&tensor["data"]));
        Datum {
            tokens: integers(&datum["model_input"]["chunks"][0]["tokens"]),
            targets: integers(&inputs["target_tokens"]["data"]),
            weights: floats(&inputs["weights"]["data"]),
            logprobs: optional("logprobs"),
            advantages: optional("advantages"),
        }
    });
    let data: Vec<Datum> = data.collect();
    let config = |key: &str| input["loss_fn_config"][key].as_f64().unwrap() as f32;
    let loss = match input["loss_fn"].as_str() {
        Some("cross_entropy") => LossFunction::CrossEntropy,
        Some("importance_sampling") => LossFunction::ImportanceSampling,
        _ => LossFunction::Ppo { clip_low: config("clip_low_threshold"), clip_high: config("clip_high_threshold") },
    };
    let (model_id, seq_id) = (body["model_id"].as_str().unwrap(), body["seq_id"].as_u64().unwrap());
    ProtobufCodec.encode_pass(&PassRequest { kind, model_id, data: &data, loss, seq_id }).body.bytes
}

/// What a pass in protobuf says, with the settings of the loss as float32: the Python package writes them with more digits.
fn meaning(message: &[u8]) -> Value {
    let mut value = protobuf::pass_request(message);
    let input = &mut value["forward_backward_input"];
    if let Some(Value::Object(config)) = input.get_mut("loss_fn_config") {
        config.values_mut().for_each(|number| *number = json!(number.as_f64().unwrap() as f32));
        config.sort_keys();
    }
    value
}

/// `sdk.jsonl` is made by `scripts/engines/tinker/sdk_messages.py`.
#[test]
fn the_python_package_writes_the_same_passes_and_reads_the_same_results() {
    let (mut passes, mut results) = (0, 0);
    for line in exchanges("sdk.jsonl") {
        let Some(content) = line["hex"].as_str().map(bytes) else { continue };
        if let Some(body) = line.get("pass") {
            assert_eq!(meaning(&written(body)), meaning(&content), "{body}");
            passes += 1;
            continue;
        }
        let content = Body { content_type: PROTOBUF.into(), bytes: content };
        if let Some(outputs) = line.get("outputs") {
            let read = ProtobufCodec.decode_pass(&content).unwrap().data;
            let expected = outputs.as_array().unwrap().iter().map(|output| DatumOutput {
                logprobs: floats(&output["logprobs"]),
                losses: Some(floats(&output["elementwise_loss"])),
            });
            assert_eq!(read, expected.collect::<Vec<_>>());
        } else {
            let read = ProtobufCodec.decode_samples(&content).unwrap();
            let expected = line["samples"].as_array().unwrap().iter().map(|sequence| SampledSequence {
                tokens: integers(&sequence["tokens"]),
                logprobs: floats(&sequence["logprobs"]),
                stop_reason: if sequence["stop_reason"] == "stop" { StopReason::Stop } else { StopReason::Length },
            });
            assert_eq!(read, expected.collect::<Vec<_>>());
        }
        results += 1;
    }
    assert!(passes >= 8 && results >= 7, "{passes} passes, {results} results");
}
