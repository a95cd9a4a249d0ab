//! A decoder small enough to check exhaustively, with every size odd.

use rlar_policy::ops::{Ops, Products};
use rlar_policy::{ComputeDevice, Decoder, ModelConfig, Policy, Tokenizer};
use serde_json::{Value, json};

pub fn json() -> Value {
    json!({
        "model_type": "llama", "vocab_size": 290, "hidden_size": 24, "intermediate_size": 40,
        "num_hidden_layers": 2, "num_attention_heads": 6, "num_key_value_heads": 2, "head_dim": 10,
        "max_position_embeddings": 64, "rope_theta": 10000.0, "rms_norm_eps": 1e-5,
    })
}

pub fn policy_on(ops: Ops) -> Policy {
    policy_of(ops, 7)
}

pub fn policy_with_seed(seed: u64) -> Policy {
    policy_of(Ops::Fused(Products::Single), seed)
}

fn policy_of(ops: Ops, seed: u64) -> Policy {
    let cpu = ComputeDevice::new("cpu").unwrap();
    let texts = ["one two three four five", "12 and 34 make 46", "a quick brown fox"];
    let tokenizer = Tokenizer::train(texts, 290).unwrap();
    Policy::random(ModelConfig::new(json()).unwrap(), tokenizer, seed, &ComputeDevice { ops, ..cpu }).unwrap()
}

pub fn policy() -> Policy {
    policy_on(Ops::Fused(Products::Single))
}

pub fn decoder(ops: Ops) -> Decoder {
    policy_on(ops).decoder
}
