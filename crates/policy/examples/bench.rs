//! One timed task per process, for `scripts/bench-policy.py`:
//!
//!     bench save SHAPE FOLDER [MODEL.gguf]                              writes a model folder
//!     bench log-probs FOLDER SEQUENCES TOKENS [quantised]               log-probs of given tokens
//!     bench train FOLDER SEQUENCES TOKENS [full|layers] [gradients]     a gradient, and a step without `gradients`
//!     bench lora MODEL.gguf SEQUENCES TOKENS [quantised] [OUT]          the gradient of an adapter, layers recomputed
//!     bench generate FOLDER SEQUENCES TOKENS [quantised]                sampling
//!     bench prompt FOLDER SEQUENCES TOKENS [quantised]                  reading prompts: one token is sampled of each
//!     bench reward FOLDER INPUTS TOKENS                                 scores of a reward model
//!     bench matmul                                                      a large f32 product
//!
//! With `quantised`, the matrices of a GGUF file (in place of a folder) stay in their blocks. `OUT` is a file that gets the
//! gradient of the adapter as 32-bit floats.
//!
//! Prints one line of JSON: the median time of a repetition in seconds, tokens per repetition, peak memory in MB.
//! `DEVICE` names the device (default `cpu`), `PRECISION` that of products with weights (`f32` or `bf16`).
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use burn::tensor::{Tensor, TensorData};
use rlar_policy::ops::kernels::{View, matmul};
use rlar_policy::{
    AdamW, ComputeDevice, GenerationRequest, Gradients, Lora, ModelConfig, Moments, Policy, Precision, RewardInput,
    RewardModel, Sampling, SavedActivations, Sequence, Tokenizer, Weight,
};
use serde_json::json;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&Arguments(arguments)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("bench: {e}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Outcome<()> {
    let named = |variable: &str, default: &str| std::env::var(variable).unwrap_or_else(|_| default.into());
    let precision: Precision = serde_json::from_value(named("PRECISION", "f32").into())?;
    let device = ComputeDevice::with_precision(&named("DEVICE", "cpu"), precision)?;
    match arguments.text(0, "a task: save, log-probs, train, lora, generate, prompt, reward or matmul")? {
        "save" => save(arguments, &device),
        "log-probs" => log_probs(arguments, &device),
        "train" => train(arguments, &device),
        "lora" => lora(arguments, &device),
        "generate" => generate(arguments, &device),
        "prompt" => prompt(arguments, &device),
        "reward" => reward(arguments, &device),
        "matmul" => {
            product();
            Ok(())
        }
        other => Err(format!("unknown task `{other}`").into()),
    }
}

/// The command line without the program's name.
struct Arguments(Vec<String>);

impl Arguments {
    fn text(&self, index: usize, what: &str) -> Outcome<&str> {
        Ok(self.0.get(index).ok_or_else(|| format!("argument {} is missing: {what}", index + 1))?)
    }

    fn number(&self, index: usize, what: &str) -> Outcome<usize> {
        let text = self.text(index, what)?;
        Ok(text.parse().map_err(|_| format!("argument {} is `{text}`, not a number: {what}", index + 1))?)
    }

    fn has(&self, option: &str) -> bool {
        self.0.iter().skip(4).any(|a| a == option)
    }

    /// The path of a model that must exist.
    fn model(&self, index: usize) -> Outcome<&Path> {
        let path = Path::new(self.text(index, "the path of a model")?);
        if path.exists() {
            return Ok(path);
        }
        let path = path.display();
        Err(format!(
            "model {path} does not exist; `scripts/fetch-smollm2.sh` fetches the GGUF file, `bench save` writes a folder"
        )
        .into())
    }
}

/// The `config.json` of a model shape by name; SmolLM2-135M's without a known name.
fn config(name: &str) -> serde_json::Value {
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

/// Times repetitions of `task` and prints the median.
fn median(name: &str, tokens: usize, mut task: impl FnMut() -> Outcome<()>) -> Outcome<()> {
    task()?;
    let (mut times, clock) = (Vec::new(), Instant::now());
    while times.len() < 3 || (times.len() < 9 && clock.elapsed().as_secs_f64() < 10.0) {
        let clock = Instant::now();
        task()?;
        times.push(clock.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    let seconds = times[times.len() / 2];
    println!("{}", json!({ "task": name, "seconds": seconds, "tokens": tokens, "peak_mb": peak() }));
    Ok(())
}

/// `count` token sequences of `length` tokens each.
fn sequences(count: usize, length: usize, vocab: usize) -> Vec<Vec<u32>> {
    (0..count).map(|i| (0..length).map(|j| ((i * 7919 + j * 104_729 + 13) % vocab) as u32).collect()).collect()
}

/// A policy that never ends a reply, with token sequences for it.
struct Workload {
    policy: Policy,
    ids: Vec<Vec<u32>>,
    length: usize,
}

impl Workload {
    fn load(arguments: &Arguments, device: &ComputeDevice) -> Outcome<Self> {
        let (path, keeps_blocks) = (arguments.model(1)?, arguments.has("quantised"));
        let mut policy = if keeps_blocks { Policy::load_frozen(path, device)? } else { Policy::load(path, device)? };
        policy.tokenizer.set_eos(Vec::new());
        let (count, length) = (arguments.number(2, "sequences")?, arguments.number(3, "tokens per sequence")?);
        let ids = sequences(count, length, policy.decoder.config().vocab_size.min(400));
        Ok(Self { policy, ids, length })
    }

    fn tokens(&self) -> usize {
        self.ids.len() * self.length
    }
}

fn with_one_token_prompts(ids: &[Vec<u32>]) -> Vec<Sequence<'_>> {
    ids.iter().map(|s| Sequence { prompt: &s[..1], completion: &s[1..] }).collect()
}

fn save(arguments: &Arguments, device: &ComputeDevice) -> Outcome<()> {
    let folder = Path::new(arguments.text(2, "the folder to write")?);
    let policy = if arguments.0.len() > 3 {
        Policy::load(arguments.model(3)?, device)?
    } else {
        let tokenizer = Tokenizer::train(["one two three", "4 5 6"], 300)?;
        let shape = arguments.text(1, "a shape: s, m10, 135m or qwen3-0.6b")?;
        Policy::random(ModelConfig::new(config(shape))?, tokenizer, 0, device)?
    };
    std::fs::create_dir_all(folder)?;
    for (name, bytes) in policy.files()? {
        std::fs::write(folder.join(name), bytes)?;
    }
    Ok(())
}

fn log_probs(arguments: &Arguments, device: &ComputeDevice) -> Outcome<()> {
    let load = Workload::load(arguments, device)?;
    let items = with_one_token_prompts(&load.ids);
    median("log-probs", load.tokens(), || {
        load.policy.decoder.log_probs(&items, 1.0).log_probs.into_data();
        Ok(())
    })
}

fn train(arguments: &Arguments, device: &ComputeDevice) -> Outcome<()> {
    let Workload { policy, ids, length } = Workload::load(arguments, device)?;
    let items = with_one_token_prompts(&ids);
    let adam = AdamW { beta1: 0.9, beta2: 0.99, eps: 1e-8, weight_decay: 0.0, max_norm: 1.0 };
    let saved = if arguments.has("layers") { SavedActivations::LayerInputs } else { SavedActivations::All };
    let only_gradients = arguments.has("gradients");
    let mut moments = Moments::zeros(&policy.decoder);
    if only_gradients {
        // The optimizer's state is not part of the measured memory.
        let empty = |m: rlar_policy::weights::Weights<Vec<f32>>| m.map(|_, _| Vec::new());
        moments = Moments { m: empty(moments.m), v: empty(moments.v), steps: 0 };
    }
    let mut decoder = policy.decoder.clone();
    drop(policy);
    median("train", ids.len() * length, || {
        let mut gradients = Gradients::default();
        gradients.add(&decoder, &items, 1.0, saved, |s| s.log_probs.mean().neg());
        if !only_gradients {
            adam.step(&mut decoder, &mut moments, gradients, 1e-5);
        }
        Ok(())
    })
}

/// An adapter of rank 16 on all linear layers, whose matrix `b` is not zero, so that all of it has a gradient.
fn adapted(policy: Policy, base: &Path, device: &ComputeDevice) -> Outcome<Policy> {
    let names = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"];
    let target_modules = names.map(str::to_owned).to_vec();
    let lora = Lora { r: 16, lora_alpha: 32.0, target_modules, lora_dropout: 0.0, use_rslora: false };
    let mut policy = policy.adapt(lora, 1, base.into())?;
    let specs = policy.layout().specs().to_vec();
    for (spec, weight) in specs.iter().zip(policy.decoder.weights_mut().values_mut()) {
        if spec.name.contains(".lora_B") {
            let values: Vec<f32> = (0..spec.elements()).map(|i| ((i % 7) as f32 - 3.0) / 1000.0).collect();
            *weight = Weight::Dense(Tensor::from_data(TensorData::new(values, spec.shape), &device.device));
        }
    }
    Ok(policy)
}

fn lora(arguments: &Arguments, device: &ComputeDevice) -> Outcome<()> {
    let Workload { policy, ids, length } = Workload::load(arguments, device)?;
    let decoder = adapted(policy, arguments.model(1)?, device)?.decoder;
    let items = with_one_token_prompts(&ids);
    let mut gradients = Gradients::default();
    median("lora", ids.len() * length, || {
        gradients = Gradients::default();
        gradients.add(&decoder, &items, 1.0, SavedActivations::LayerInputs, |s| s.log_probs.mean().neg());
        Ok(())
    })?;
    let out = arguments.0.iter().skip(4).find(|a| *a != "quantised");
    let Some(out) = out else { return Ok(()) };
    let values = gradients.to_map().into_values().flatten();
    Ok(std::fs::write(out, values.flat_map(f32::to_le_bytes).collect::<Vec<u8>>())?)
}

fn generate(arguments: &Arguments, device: &ComputeDevice) -> Outcome<()> {
    let load = Workload::load(arguments, device)?;
    if load.length < 16 {
        return Err("generate needs at least 16 tokens per sequence: its prompts have 16".into());
    }
    let request = |(i, s): (usize, &Vec<u32>)| GenerationRequest { prompt: s[..16].to_vec(), seeds: vec![i as u64] };
    let requests: Vec<GenerationRequest> = load.ids.iter().enumerate().map(request).collect();
    let sampling = Sampling { max_tokens: load.length, ..Sampling::default() };
    let engine = load.policy.engine(256);
    median("generate", load.tokens(), || {
        let samples = engine.generate(&requests, &sampling)?;
        let sampled: usize = samples.iter().flatten().map(|s| s.tokens.len()).sum();
        if sampled == load.tokens() {
            Ok(())
        } else {
            Err(format!("{sampled} tokens instead of {}", load.tokens()).into())
        }
    })
}

fn prompt(arguments: &Arguments, device: &ComputeDevice) -> Outcome<()> {
    let load = Workload::load(arguments, device)?;
    let request = |(i, s): (usize, &Vec<u32>)| GenerationRequest { prompt: s.clone(), seeds: vec![i as u64] };
    let requests: Vec<GenerationRequest> = load.ids.iter().enumerate().map(request).collect();
    let sampling = Sampling { max_tokens: 1, ..Sampling::default() };
    let engine = load.policy.engine(load.length + 1);
    median("prompt", load.tokens(), || Ok(engine.generate(&requests, &sampling).map(drop)?))
}

fn reward(arguments: &Arguments, device: &ComputeDevice) -> Outcome<()> {
    let model = RewardModel::load(arguments.model(1)?, device)?;
    let (count, length) = (arguments.number(2, "inputs")?, arguments.number(3, "tokens, about, per input")?);
    let input = |i: usize| {
        let n = length / 4 + i * 37 % length.max(1);
        RewardInput { segments: vec![0; n], ids: sequences(1, n, 512).concat() }
    };
    let inputs: Vec<RewardInput> = (0..count).map(input).collect();
    let tokens = inputs.iter().map(|x| x.ids.len()).sum();
    median("reward", tokens, || {
        model.outputs(&inputs, 2048)?;
        Ok(())
    })
}

/// Prints the median and the best rate of an f32 product of 1024 × 1024 matrices.
fn product() {
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
    println!("{}", json!({ "task": "matmul", "gflops": rates[rates.len() / 2], "best": rates[rates.len() - 1] }));
}
