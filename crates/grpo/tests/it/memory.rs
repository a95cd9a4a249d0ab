//! The memory that training is planned to take.

use rlar_grpo::engine::local::memory_plan::{TrainingMemory, TrainingSizes};
use rlar_policy::{ComputeDevice, ModelConfig, Policy, SavedActivations, Tokenizer};
use serde_json::json;

fn policy() -> Policy {
    let tokenizer = Tokenizer::train(["1 + 2 = 3"], 270).unwrap();
    let config = ModelConfig::new(json!({
        "model_type": "llama", "vocab_size": tokenizer.vocab_size(), "hidden_size": 32, "intermediate_size": 64,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64,
        "rope_theta": 10_000.0, "rms_norm_eps": 1e-5, "tie_word_embeddings": true,
    }));
    Policy::random(config.unwrap(), tokenizer, 5, &ComputeDevice::new("cpu").unwrap()).unwrap()
}

fn plan(longest: usize, step: usize, chosen: Option<usize>, available: Option<u64>) -> TrainingMemory {
    let policy = policy();
    let sizes = TrainingSizes { weights: 100_000, trained: 25_000, copies: 1, longest, step };
    TrainingMemory::new(policy.decoder.config(), sizes, SavedActivations::All, chosen, available)
}

#[test]
fn a_job_with_small_steps_is_not_said_to_take_the_memory_of_large_ones() {
    let available = Some(16 << 30);
    let (small, large) = (plan(30, 500, None, available), plan(30, 1_000_000, None, available));
    // The micro-batches stay those of earlier builds: a step with fewer tokens than fit into one is one, either way.
    assert_eq!(small.tokens, large.tokens);
    assert_eq!((small.largest, large.largest), (500, large.tokens));
    assert_eq!(small.activations() * large.tokens as u64, large.activations() * 500);
    assert!(small.peak() < large.peak() && small.peak() == small.model + small.activations());
    assert!(small.to_string().contains("for 500 tokens at a time"), "{small}");
}

#[test]
fn a_sequence_that_is_longer_than_a_micro_batch_is_one() {
    assert_eq!(plan(30, 500, Some(1), None).largest, 30);
    assert_eq!(plan(30, 500, Some(100), None).largest, 100);
}

#[test]
fn sampling_and_training_take_turns() {
    let training = plan(30, 500, Some(500), None);
    let more = training.with_sampling(3 * training.activations());
    assert_eq!(more.peak(), more.model + 3 * training.activations());
    assert_eq!(training.with_sampling(1).peak(), training.peak());
    let scarce = plan(30, 500, Some(500), Some(training.peak() - 1));
    assert!(scarce.is_too_large() && scarce.to_string().contains("too little"), "{scarce}");
    assert!(!plan(30, 500, Some(500), Some(training.peak())).is_too_large());
}
