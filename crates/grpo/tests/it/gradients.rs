//! The gradient of a model's weights, on a tiny random one.

use std::collections::BTreeMap;

use rlar_grpo::update::{Descent, Slopes, gradient};
use rlar_policy::{Keep, ModelConfig, Policy, Sequence, Tokenizer, device};
use serde_json::json;

fn policy() -> Policy {
    let tokenizer = Tokenizer::train(["1 + 2 = 3", "12 - 7 = 5"], 270).unwrap();
    let config = ModelConfig::new(json!({
        "model_type": "llama", "vocab_size": tokenizer.vocab_size(), "hidden_size": 32, "intermediate_size": 64,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64,
        "rope_theta": 10_000.0, "rms_norm_eps": 1e-5, "tie_word_embeddings": true,
    }));
    Policy::random(config.unwrap(), tokenizer, 5, &device("cpu").unwrap()).unwrap()
}

/// Twelve replies to four prompts.
fn sequences() -> Vec<(Vec<u32>, Vec<u32>)> {
    let token = |a: usize, b: usize| ((a * 31 + b * 17) % 250) as u32;
    let prompt = |p: usize| (0..5 + p).map(|i| token(p, i)).collect::<Vec<_>>();
    (0..12).map(|i| (prompt(i / 3), (0..1 + i % 5).map(|t| token(i + 40, t)).collect())).collect()
}

fn weights(tokens: usize, keep: Keep) -> BTreeMap<String, Vec<f32>> {
    let owned = sequences();
    let sequences: Vec<Sequence> = owned.iter().map(|(p, c)| Sequence { prompt: p, completion: c }).collect();
    let first: Vec<usize> = owned.iter().scan(0, |at, (_, c)| Some(std::mem::replace(at, *at + c.len()))).collect();
    let descent = Descent { temperature: 1.0, tokens, keep, seed: 0 };
    let policy = policy();
    let gradients = gradient(&policy.decoder, &sequences, descent, |piece, log_probs, _| {
        let slope = |i: usize| ((first[piece.start] + i) % 7) as f32 - 3.0;
        let slopes: Vec<f32> = (0..log_probs.len()).map(slope).collect();
        Slopes { by_entropy: slopes.iter().map(|s| s * 0.1).collect(), by_log_prob: slopes }
    });
    gradients.to_map()
}

fn relative_error(a: &BTreeMap<String, Vec<f32>>, b: &BTreeMap<String, Vec<f32>>) -> f64 {
    let pairs = || a.iter().flat_map(|(name, x)| x.iter().zip(&b[name]));
    let off: f64 = pairs().map(|(x, y)| f64::from(x - y).powi(2)).sum();
    let whole: f64 = pairs().map(|(x, _)| f64::from(*x).powi(2)).sum();
    assert!(whole > 0.0);
    (off / whole).sqrt()
}

#[test]
fn accumulated_over_micro_batches_the_gradient_is_that_of_the_big_batch() {
    let big = weights(100_000, Keep::Everything);
    for (tokens, keep) in [(1, Keep::Everything), (20, Keep::Everything), (37, Keep::LayerInputs)] {
        let off = relative_error(&big, &weights(tokens, keep));
        assert!(off < 1e-5, "{tokens} tokens at a time: relative error {off}");
    }
}
