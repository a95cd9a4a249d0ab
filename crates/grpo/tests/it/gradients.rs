//! The gradient of a model's weights, on a tiny random one.

use std::collections::BTreeMap;

use rlar_data::Example;
use rlar_grpo::Config;
use rlar_grpo::algorithm::advantage::advantages;
use rlar_grpo::engine::local::micro_batches::{LossGradients, add_gradient};
use rlar_grpo::engine::local::trainer::LocalTrainer;
use rlar_grpo::engine::trainer::PassOptions;
use rlar_grpo::rollouts::batch::Batch;
use rlar_grpo::rollouts::drawn_prompts::{DrawnPrompt, DrawnPrompts};
use rlar_grpo::rollouts::rollout::{Group, Rollout};
use rlar_grpo::update::policy_update::{OldAndRefLogProbs, policy_update, scores_with_kl};
use rlar_grpo::update::train_state::{Counters, TrainState};
use rlar_policy::{ComputeDevice, Finish, Gradients, ModelConfig, Policy, SavedActivations, Sequence, Tokenizer};
use rlar_rewards::{Failure, Outcome, Scores, ToolScore};
use serde_json::json;

fn policy() -> Policy {
    let tokenizer = Tokenizer::train(["1 + 2 = 3", "12 - 7 = 5"], 270).unwrap();
    let config = ModelConfig::new(json!({
        "model_type": "llama", "vocab_size": tokenizer.vocab_size(), "hidden_size": 32, "intermediate_size": 64,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64,
        "rope_theta": 10_000.0, "rms_norm_eps": 1e-5, "tie_word_embeddings": true,
    }));
    Policy::random(config.unwrap(), tokenizer, 5, &ComputeDevice::new("cpu").unwrap()).unwrap()
}

/// Twelve replies to four prompts.
fn sequences() -> Vec<(Vec<u32>, Vec<u32>)> {
    let token = |a: usize, b: usize| ((a * 31 + b * 17) % 250) as u32;
    let prompt = |p: usize| (0..5 + p).map(|i| token(p, i)).collect::<Vec<_>>();
    (0..12).map(|i| (prompt(i / 3), (0..=i % 5).map(|t| token(i + 40, t)).collect())).collect()
}

fn weights(tokens_per_micro_batch: usize, saved: SavedActivations) -> BTreeMap<String, Vec<f32>> {
    let owned = sequences();
    let sequences: Vec<Sequence> = owned.iter().map(|(p, c)| Sequence { prompt: p, completion: c }).collect();
    let first: Vec<usize> = owned.iter().scan(0, |at, (_, c)| Some(std::mem::replace(at, *at + c.len()))).collect();
    let options = PassOptions { temperature: 1.0, tokens_per_micro_batch, saved, seed: 0 };
    let policy = policy();
    let mut gradients = Gradients::default();
    add_gradient(&mut gradients, &policy.decoder, &sequences, options, |range, known| {
        let grad = |i: usize| ((first[range.start] + i) % 7) as f32 - 3.0;
        let grads: Vec<f32> = (0..known.log_probs.len()).map(grad).collect();
        LossGradients { entropies: grads.iter().map(|g| g * 0.1).collect(), log_probs: grads }
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
    let big = weights(100_000, SavedActivations::All);
    for (tokens, keep) in [(1, SavedActivations::All), (20, SavedActivations::All), (37, SavedActivations::LayerInputs)]
    {
        let off = relative_error(&big, &weights(tokens, keep));
        assert!(off < 1e-5, "{tokens} tokens at a time: relative error {off}");
    }
}

/// A reply with its log-probs under the policy, and the outcome of one tool.
fn rollout(prompt: &[u32], tokens: &[u32], outcome: Outcome) -> Rollout {
    let scored = policy().decoder.log_probs(&[Sequence { prompt, completion: tokens }], 1.0);
    let log_probs = rlar_policy::floats(&scored.log_probs);
    Rollout {
        tokens: tokens.to_vec(),
        drawn_log_probs: log_probs.clone(),
        log_probs,
        text: String::new(),
        finish: Finish::Stop,
        scores: Scores { tools: vec![ToolScore::new("tool".into(), 1.0, outcome)] },
        audit: None,
    }
}

/// The weights after an update on groups of replies to two prompts.
fn updated(groups: [Vec<Rollout>; 2], settings: &serde_json::Value) -> Vec<f32> {
    let config: Config = serde_json::from_value(json!({
        "version": 1, "model": { "path": "m" }, "data": { "train": "t" }, "algorithm": settings,
    }))
    .unwrap();
    let mut state = TrainState::fresh(LocalTrainer::new(policy()).unwrap());
    state.counters = Counters { tokens_per_micro_batch: 4096, ..state.counters };
    let groups = groups.into_iter().enumerate().map(|(example, replies)| Group { example, replies }).collect();
    let batch = Batch { groups, cursor: 2, ..Batch::default() };
    let log_probs = OldAndRefLogProbs::new(&state, &batch, &drawn(), &config).unwrap();
    let advantages = advantages(&scores_with_kl(&batch, &log_probs, &config), &config.algorithm);
    policy_update(&mut state, &batch, &drawn(), &log_probs, &advantages, &config, 1e-2).unwrap();
    state.trainer.model.weights().entries().flat_map(|(_, w)| w.clone()).collect()
}

fn prompts() -> Vec<Vec<u32>> {
    vec![vec![7, 8, 9], vec![40, 41]]
}

/// The two prompts as a batch has them.
fn drawn() -> DrawnPrompts {
    let prompt = |tokens| DrawnPrompt { example: Example::new("", ""), tokens };
    prompts().into_iter().map(prompt).enumerate().collect()
}

#[test]
fn a_failed_reply_moves_no_parameter_whatever_its_group_does() {
    let prompts = prompts();
    let group = |example: usize, outcomes: Vec<Outcome>| -> Vec<Rollout> {
        let reply = |(i, o): (usize, Outcome)| rollout(&prompts[example], &[60 + i as u32, 61, 62 + i as u32], o);
        outcomes.into_iter().enumerate().map(reply).collect()
    };
    let scored = Outcome::Scored;
    let failed = || Outcome::Failed(Failure::Exception("broken".into()));
    let abstained = || Outcome::Abstained("not mine".into());
    for settings in [
        json!({}),
        json!({ "entropy_bonus": 0.1 }),
        json!({ "advantage": "reinforce_plus_plus_baseline", "aggregate": "sequence_mean" }),
        json!({ "surrogate": "gspo", "aggregate": "sequence_sum" }),
    ] {
        let clean = [group(0, vec![scored(1.0), scored(0.0), scored(0.25)]), group(1, vec![scored(0.0), scored(1.0)])];
        let clean_weights = updated(clean.clone(), &settings);
        let mut with = clean.clone();
        with[0].extend(group(0, vec![failed(), abstained(), failed()]).into_iter().map(|mut r| {
            r.tokens.reverse();
            r
        }));
        let with_weights = updated(with, &settings);
        assert!(clean_weights == with_weights, "{settings}: failed replies changed the weights");
        let mut as_zero = clean.clone();
        as_zero[0].extend(group(0, vec![scored(0.0)]));
        assert!(clean_weights != updated(as_zero, &settings), "{settings}: the check cannot fail");
        // A group with a single scored reply changes nothing.
        let mut lonely = clean.clone();
        lonely[1] = group(1, vec![failed(), scored(1.0)]);
        let mut gone = clean;
        gone[1] = group(1, vec![failed(), failed()]);
        assert!(updated(lonely, &settings) == updated(gone, &settings), "{settings}");
    }
}
