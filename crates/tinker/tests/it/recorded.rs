//! The examples against exchanges of SkyRL 0.3.0 that `tests/recorded/README.md` tells how to record: the client sends what
//! the server took then, and reads what it answered.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Arc, Mutex};

use rlar_tinker::{TinkerError, TinkerServer};
use safetensors::SafeTensors;
use serde_json::{Value, json};

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
        let sent = json!({"method": received.method, "path": received.path, "body": received.json()});
        if exchange["request"] != sent {
            self.differences.push(format!("recorded {}, received {sent}", exchange["request"]));
        }
        let answer = &exchange["answer"];
        let location = answer["location"].as_str().map(|path| path.replace("http://SERVER", url));
        let status = answer["status"].as_u64().unwrap_or(599) as u16;
        let mut reply = match (answer.get("json"), answer["hex"].as_str()) {
            (Some(value), _) => serve::json(status, value),
            (None, Some(hex)) => Reply { body: bytes(hex), ..serve::text(status, "application/octet-stream", "") },
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

/// Serves a recording.
fn replay(name: &str) -> (Served, Arc<Mutex<Recording>>) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recorded").join(name);
    let text = std::fs::read_to_string(path).unwrap();
    let exchanges = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
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
