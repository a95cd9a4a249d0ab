//! One timed task per process, for `scripts/bench-policy.py`:
//!
//!     bench save SHAPE FOLDER [MODEL.gguf]     a model folder for both sides
//!     bench log-probs|train|generate FOLDER SEQUENCES TOKENS [full|layers]
//!     bench matmul                              the rate of a large f32 product
//!
//! Prints one line of JSON: the median time of a repetition, tokens per repetition, peak memory.
#![allow(clippy::print_stdout, clippy::unwrap_used)]

use std::path::Path;
use std::time::Instant;

use rlar_policy::ops::kernels::{View, matmul};
use rlar_policy::{
    AdamW, ComputeDevice, Engine, GenerationRequest, Gradients, ModelConfig, Moments, Policy, RewardModel, Sampling,
    SavedActivations, Sequence, Tokenizer,
};
use serde_json::json;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn shape(name: &str) -> serde_json::Value {
    let [layers, hidden, inner, heads, kv, vocab] = match name {
        "s" => [4, 128, 384, 4, 2, 512],
        "m10" => [6, 320, 896, 5, 5, 4096],
        "qwen3-0.6b" => [28, 1024, 3072, 16, 8, 151_936],
        _ => [30, 576, 1536, 9, 3, 49_152],
    };
    let mut json = json!({
        "model_type": "llama", "vocab_size": vocab, "hidden_size": hidden, "intermediate_size": inner,
        "num_hidden_layers": layers, "num_attention_heads": heads, "num_key_value_heads": kv,
        "max_position_embeddings": 2048, "tie_word_embeddings": true, "rms_norm_eps": 1e-5,
    });
    if name == "qwen3-0.6b" {
        json["model_type"] = "qwen3".into();
        json["head_dim"] = 128.into();
    }
    json
}

/// Peak resident memory in MB.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).unwrap_or("0");
    line.split_whitespace().next().and_then(|kb| kb.parse::<u64>().ok()).unwrap_or(0) / 1024
}

fn median(name: &str, tokens: usize, mut run: impl FnMut()) {
    run();
    let (mut times, clock) = (Vec::new(), Instant::now());
    while times.len() < 3 || (times.len() < 9 && clock.elapsed().as_secs_f64() < 10.0) {
        let clock = Instant::now();
        run();
        times.push(clock.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    let seconds = times[times.len() / 2];
    println!("{}", json!({ "task": name, "seconds": seconds, "tokens": tokens, "peak_mb": peak() }));
}

fn sequences(n: usize, t: usize, vocab: usize) -> Vec<Vec<u32>> {
    (0..n).map(|i| (0..t).map(|j| ((i * 7919 + j * 104_729 + 13) % vocab) as u32).collect()).collect()
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let device = ComputeDevice::new(&std::env::var("DEVICE").unwrap_or_else(|_| "cpu".into())).unwrap();
    let number = |i: usize| arguments[i].parse::<usize>().unwrap();
    match arguments[0] {
        "save" => {
            let tokenizer = Tokenizer::train(["one two three", "4 5 6"], 300).unwrap();
            let policy = match arguments.get(3) {
                Some(gguf) => Policy::load(Path::new(gguf), &device).unwrap(),
                None => Policy::random(ModelConfig::new(shape(arguments[1])).unwrap(), tokenizer, 0, &device).unwrap(),
            };
            std::fs::create_dir_all(arguments[2]).unwrap();
            for (name, bytes) in policy.files().unwrap() {
                std::fs::write(Path::new(arguments[2]).join(name), bytes).unwrap();
            }
        }
        "matmul" => {
            let n = 1024;
            let (a, b, mut c) = (vec![1f32; n * n], vec![1f32; n * n], vec![0f32; n * n]);
            let mut rates: Vec<f64> = (0..30)
                .map(|_| {
                    let clock = Instant::now();
                    matmul([n, n, n], View::rows(&a, n), View::rows(&b, n), &mut c, n, false, true);
                    2.0 * (n as f64).powi(3) / clock.elapsed().as_secs_f64() / 1e9
                })
                .collect();
            rates.sort_by(f64::total_cmp);
            println!(
                "{}",
                json!({ "task": "matmul", "gflops": rates[rates.len() / 2], "best": rates[rates.len() - 1] })
            );
        }
        "reward" => {
            let model = RewardModel::load(Path::new(arguments[1]), &device).unwrap();
            let inputs: Vec<_> = (0..number(2))
                .map(|i| {
                    let n = number(3) / 4 + i * 37 % number(3);
                    let ids: Vec<u32> = sequences(1, n, 512).remove(0);
                    rlar_policy::RewardInput { segments: vec![0; n], ids }
                })
                .collect();
            let tokens = inputs.iter().map(|x| x.ids.len()).sum();
            median("reward", tokens, || drop(model.outputs(&inputs, 2048).unwrap()));
        }
        task => {
            let mut policy = Policy::load(Path::new(arguments[1]), &device).unwrap();
            policy.tokenizer.set_eos(Vec::new());
            let (n, t) = (number(2), number(3));
            let ids = sequences(n, t, policy.decoder.config().vocab_size.min(400));
            let items: Vec<Sequence> = ids.iter().map(|s| Sequence { prompt: &s[..1], completion: &s[1..] }).collect();
            match task {
                "log-probs" => median(task, n * t, || {
                    policy.decoder.log_probs(&items, 1.0).log_probs.into_data();
                }),
                "train" => {
                    let adam = AdamW { beta1: 0.9, beta2: 0.99, eps: 1e-8, weight_decay: 0.0, max_norm: 1.0 };
                    let keep = if arguments.get(4) == Some(&"layers") {
                        SavedActivations::LayerInputs
                    } else {
                        SavedActivations::All
                    };
                    let mut moments = Moments::zeros(&policy.decoder);
                    if arguments.get(5) == Some(&"gradients") {
                        // Without the optimizer's own memory.
                        moments = Moments {
                            m: moments.m.map(|_, _| Vec::new()),
                            v: moments.v.map(|_, _| Vec::new()),
                            steps: 0,
                        };
                    }
                    let mut decoder = policy.decoder.clone();
                    drop(policy);
                    median(task, n * t, || {
                        let mut gradients = Gradients::default();
                        gradients.add(&decoder, &items, 1.0, keep, |s| s.log_probs.mean().neg());
                        if arguments.get(5) != Some(&"gradients") {
                            adam.step(&mut decoder, &mut moments, gradients, 1e-5);
                        }
                    });
                }
                _ => {
                    let requests: Vec<GenerationRequest> = ids
                        .iter()
                        .enumerate()
                        .map(|(i, s)| GenerationRequest { prompt: s[..16].to_vec(), seeds: vec![i as u64] })
                        .collect();
                    let sampling = Sampling { max_tokens: t, ..Sampling::default() };
                    let mut engine = Engine::new(&policy.decoder, &policy.tokenizer, 256);
                    if arguments.get(4) == Some(&"deterministic") {
                        engine = engine.deterministic().unwrap();
                    }
                    median(task, n * t, || {
                        let out = engine.generate(&requests, &sampling).unwrap();
                        assert_eq!(out.iter().flatten().map(|s| s.tokens.len()).sum::<usize>(), n * t);
                    });
                }
            }
        }
    }
}
