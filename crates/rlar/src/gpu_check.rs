//! Whether a device computes what it should: tiny models against what `transformers` computed on them, a larger random
//! model against the fused operations of the CPU, and the sampler against the trainer.
//!
//! The tiny models are the fixtures of the policy crate's tests, embedded in the binary, so that a machine with a GPU
//! needs nothing else.

use std::any::Any;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use include_dir::{Dir, include_dir};
use rlar_policy::ops::{Ops, Products};
use rlar_policy::{
    ComputeDevice, GenerationRequest, Gradients, ModelConfig, Policy, RewardInput, RewardModel, Sampling,
    SavedActivations, Sequence, Tokenizer, floats,
};
use safetensors::{Dtype, SafeTensors};
use tempfile::TempDir;

use crate::cli::GpuCheckArguments;
use crate::error::BadRequestExt;
use crate::output::print;

/// Tiny causal language models of five architectures, by name; `qwen2_window` has a sliding window of attention.
static LANGUAGE_MODELS: [(&str, Dir); 5] = [
    ("llama", include_dir!("$CARGO_MANIFEST_DIR/../policy/tests/fixtures/models/llama")),
    ("qwen3", include_dir!("$CARGO_MANIFEST_DIR/../policy/tests/fixtures/models/qwen3")),
    ("qwen2_window", include_dir!("$CARGO_MANIFEST_DIR/../policy/tests/fixtures/models/qwen2_window")),
    ("gemma3", include_dir!("$CARGO_MANIFEST_DIR/../policy/tests/fixtures/models/gemma3")),
    ("gpt2", include_dir!("$CARGO_MANIFEST_DIR/../policy/tests/fixtures/models/gpt2")),
];

/// Tiny reward models with one output, by name: a decoder and an encoder.
static REWARD_MODELS: [(&str, Dir); 2] = [
    ("qwen3_reward", include_dir!("$CARGO_MANIFEST_DIR/../policy/tests/fixtures/models/qwen3_reward")),
    ("deberta_v3_reward", include_dir!("$CARGO_MANIFEST_DIR/../policy/tests/fixtures/models/deberta_v3_reward")),
];

/// Norm below which a recorded gradient counts as rounding error and is not compared. The biases of attention keys have
/// such gradients: a key bias shifts all attention scores of a query alike, so its exact gradient is 0.
const ROUNDING: f32 = 1e-6;

/// How the inputs of matrix products are rounded.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rounding {
    /// Not at all: 24 significant bits.
    None,
    /// To TF32, 11 significant bits: what `f32` means on a GPU.
    Tf32,
    /// To bfloat16, 8 significant bits.
    Bf16,
}

/// A device with the precision and the kind of operations that are checked.
struct CheckedDevice {
    /// Name in the printed lines: the device, the precision, and the kind of operations.
    name: String,
    device: ComputeDevice,
    rounding: Rounding,
}

impl CheckedDevice {
    /// Maximum allowed absolute difference of logits, log-probs or scores from the `recorded` ones. With bf16 this is 2 % of
    /// the largest recorded magnitude, and with TF32, whose rounding error is an eighth of that, an eighth.
    fn value_tolerance(&self, recorded: &[f32]) -> f32 {
        let largest = recorded.iter().map(|x| x.abs()).fold(0.0, f32::max);
        match self.rounding {
            Rounding::None => 1e-4,
            Rounding::Tf32 => 0.02 / 8.0 * largest,
            Rounding::Bf16 => 0.02 * largest,
        }
    }

    /// The largest absolute difference of computed numbers from recorded ones, with the tolerance for it.
    fn compare(&self, computed: &[f32], recorded: &[f32]) -> Result<Difference> {
        ensure!(computed.len() == recorded.len(), "{} numbers, not {}", computed.len(), recorded.len());
        let largest = computed.iter().zip(recorded).map(|(a, b)| (a - b).abs()).fold(0.0, max);
        Ok(Difference { largest, tolerance: self.value_tolerance(recorded), tensor: None })
    }

    /// The largest relative difference of a tensor's gradient, in the Euclidean norm, with the tolerance for it.
    fn compare_gradients(&self, WorstGradient { tensor, difference }: WorstGradient) -> Difference {
        let tolerance = match self.rounding {
            Rounding::None => 1e-3,
            Rounding::Tf32 => 0.1 / 8.0,
            Rounding::Bf16 => 0.1,
        };
        Difference { largest: difference, tolerance, tensor }
    }
}

/// What is checked on a device: plain operations in single precision and in bf16, and on the CPU the fused operations
/// as well.
fn checked_devices(name: &str) -> Result<Vec<CheckedDevice>> {
    let device = ComputeDevice::new(name).bad_request()?;
    let on_cpu = device.ops.fused();
    let checked = |ops: Ops| {
        let precision = if ops == Ops::Half { "bf16" } else { "f32" };
        let operations = if ops.fused() { "fused" } else { "plain" };
        let name = format!("{name} {precision} {operations}");
        let rounding = match ops {
            Ops::Half => Rounding::Bf16,
            Ops::Plain if !on_cpu => Rounding::Tf32,
            _ => Rounding::None,
        };
        CheckedDevice { name, device: ComputeDevice { ops, ..device.clone() }, rounding }
    };
    let fused = on_cpu.then_some(Ops::Fused(Products::Single));
    Ok(fused.into_iter().chain([Ops::Plain, Ops::Half]).map(checked).collect())
}

/// The largest difference that a check found, the largest that it tolerates, and the tensor in whose gradient it is.
struct Difference {
    largest: f32,
    tolerance: f32,
    tensor: Option<String>,
}

/// The tensor whose gradient differs most, and its relative difference.
#[derive(Default)]
struct WorstGradient {
    tensor: Option<String>,
    difference: f32,
}

impl WorstGradient {
    fn add(&mut self, tensor: &str, difference: f32) {
        if difference.is_nan() || difference > self.difference {
            *self = Self { tensor: Some(tensor.to_owned()), difference };
        }
    }
}

/// Prints a line per check and counts those that failed.
struct CheckReport {
    checks: usize,
    failures: usize,
}

impl CheckReport {
    /// Runs a check. An error and a panic, which is how a device reports its own errors, count as failures.
    fn check(&mut self, checked: &CheckedDevice, what: &str, run: impl FnOnce() -> Result<Difference>) -> Result<()> {
        let clock = Instant::now();
        let result =
            catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| bail!("{}", panic_text(panic.as_ref())));
        let (passed, text) = match result {
            Ok(Difference { largest, tolerance, tensor }) => {
                let tensor = tensor.map_or_else(String::new, |tensor| format!(" ({tensor})"));
                // A difference that is not a number fails.
                (largest <= tolerance, format!("largest difference {largest:.1e}{tensor}, tolerance {tolerance:.1e}"))
            }
            Err(error) => (false, format!("{error:#}")),
        };
        self.checks += 1;
        self.failures += usize::from(!passed);
        let verdict = if passed { "ok" } else { "FAILED" };
        let seconds = clock.elapsed().as_secs_f64();
        print(format!("{verdict:6} {:18} {what}: {text}, {seconds:.1} s\n", checked.name))
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("the computation panicked")
}

/// Runs every check on a device; returns an error if a check fails.
pub fn run(arguments: &GpuCheckArguments) -> Result<()> {
    let devices = checked_devices(&arguments.device)?;
    let folder = extract_fixtures()?;
    let mut report = CheckReport { checks: 0, failures: 0 };
    for checked in &devices {
        for (name, _) in &LANGUAGE_MODELS {
            check_language_model(&mut report, checked, &folder.path().join(name), name)?;
        }
        for (name, _) in &REWARD_MODELS {
            check_reward_model(&mut report, checked, &folder.path().join(name), name)?;
        }
        check_random_model(&mut report, checked)?;
        check_sampler(&mut report, checked)?;
    }
    let CheckReport { checks, failures } = report;
    ensure!(failures == 0, "{failures} of {checks} checks failed on {}", arguments.device);
    print(format!("all {checks} checks passed on {}\n", arguments.device))
}

/// Writes the embedded models into a temporary folder, one folder each.
fn extract_fixtures() -> Result<TempDir> {
    let folder = tempfile::tempdir().context("no temporary folder")?;
    for (name, files) in LANGUAGE_MODELS.iter().chain(&REWARD_MODELS) {
        let model = folder.path().join(name);
        std::fs::create_dir_all(&model).with_context(|| model.display().to_string())?;
        files.extract(&model).with_context(|| model.display().to_string())?;
    }
    Ok(folder)
}

/// A tensor that `transformers` computed.
struct RecordedTensor {
    values: Vec<f32>,
    shape: Vec<usize>,
}

/// What `transformers` computed on a tiny model, by name: token ids, logits, log-probs, scores, gradients.
struct RecordedResults(BTreeMap<String, RecordedTensor>);

impl RecordedResults {
    fn read(model: &Path) -> Result<Self> {
        let bytes = std::fs::read(model.join("expected.safetensors"))?;
        let tensors = SafeTensors::deserialize(&bytes)?;
        let recorded = tensors.tensors().into_iter().map(|(name, tensor)| {
            let words = tensor.data().chunks_exact(4).map(|b| [b[0], b[1], b[2], b[3]]);
            let values = match tensor.dtype() {
                Dtype::I32 => words.map(|b| i32::from_le_bytes(b) as f32).collect(),
                _ => words.map(f32::from_le_bytes).collect(),
            };
            (name, RecordedTensor { values, shape: tensor.shape().to_vec() })
        });
        Ok(Self(recorded.collect()))
    }

    fn get(&self, name: &str) -> Result<&[f32]> {
        Ok(&self
            .0
            .get(name)
            .with_context(|| {
                format!(
                    "expected.safetensors has no tensor {name}: record it with scripts/oracles/make_model_fixtures.py"
                )
            })?
            .values)
    }

    /// The token ids of the three recorded sequences, which are stored as the tensors `{kind}.0` to `{kind}.2`.
    fn tokens(&self, kind: &str) -> Result<Vec<Vec<u32>>> {
        let sequence = |i| Ok(self.get(&format!("{kind}.{i}"))?.iter().map(|x| *x as u32).collect());
        (0..3).map(sequence).collect()
    }

    /// The largest relative difference, over all tensors, between the recorded gradients and `ours`, which are by
    /// tensor name.
    fn gradient_difference(&self, ours: &BTreeMap<String, Vec<f32>>, model: &str) -> Result<WorstGradient> {
        let mut worst = WorstGradient::default();
        for (name, RecordedTensor { values, shape }) in &self.0 {
            let Some(tensor) = name.strip_prefix("grad.") else { continue };
            if norm(values) < ROUNDING {
                continue;
            }
            // GPT-2's files hold these matrices as [in, out].
            let is_transposed = model == "gpt2" && tensor.contains("c_") && shape.len() == 2;
            let values = if is_transposed { transpose(values, shape[0], shape[1]) } else { values.clone() };
            let ours = ours.get(tensor).with_context(|| format!("{tensor} has no gradient"))?;
            worst.add(tensor, relative_difference(ours, &values)?);
        }
        Ok(worst)
    }
}

fn check_language_model(report: &mut CheckReport, checked: &CheckedDevice, folder: &Path, name: &str) -> Result<()> {
    let expected = RecordedResults::read(folder)?;
    let ids = expected.tokens("ids")?;
    let lens: Vec<usize> = ids.iter().map(Vec::len).collect();
    let sequences: Vec<Sequence> =
        ids.iter().map(|ids| Sequence { prompt: &ids[..1], completion: &ids[1..] }).collect();
    let load = || Policy::load(folder, &checked.device);
    report.check(checked, &format!("{name}: logits against transformers"), || {
        let policy = load()?;
        // All at once: a sequence must not see its neighbour.
        let logits = policy.decoder.logits(&policy.decoder.hidden(&ids.concat(), &lens));
        let logits = logits.into_data().try_to_vec::<f32>().map_err(|e| anyhow::anyhow!("{e:?}"))?;
        let recorded = (0..3).map(|i| expected.get(&format!("logits.{i}"))).collect::<Result<Vec<_>>>()?.concat();
        checked.compare(&logits, &recorded)
    })?;
    report.check(checked, &format!("{name}: gradients against transformers"), || {
        let mut gradients = Gradients::default();
        gradients.add(&load()?.decoder, &sequences, 1.0, SavedActivations::All, |s| s.log_probs.mean().neg());
        Ok(checked.compare_gradients(expected.gradient_difference(&gradients.to_map(), name)?))
    })
}

fn check_reward_model(report: &mut CheckReport, checked: &CheckedDevice, folder: &Path, name: &str) -> Result<()> {
    let expected = RecordedResults::read(folder)?;
    let input = |ids: Vec<u32>| RewardInput { segments: vec![0; ids.len()], ids };
    let inputs: Vec<RewardInput> = expected.tokens("ids")?.into_iter().map(input).collect();
    report.check(checked, &format!("{name}: scores against transformers"), || {
        let scores = RewardModel::load(folder, &checked.device)?.outputs(&inputs, 1000)?.concat();
        checked.compare(&scores, expected.get("scores")?)
    })?;
    report.check(checked, &format!("{name}: gradients against transformers"), || {
        let model = RewardModel::load(folder, &checked.device)?.with_grad();
        let scores = model.forward(&inputs.iter().collect::<Vec<_>>());
        let mut gradients = Gradients::default();
        // The recorded loss is half the mean score.
        gradients.accumulate(model.weights(), &(scores.sum_dim(1) * 0.5).mean());
        Ok(checked.compare_gradients(expected.gradient_difference(&gradients.to_map(), name)?))
    })
}

/// A model of two layers in the proportions of Qwen3, with random weights that are the same on every device.
fn random_model(device: &ComputeDevice) -> Result<Policy> {
    let config = serde_json::json!({
        "model_type": "qwen3", "vocab_size": 2048, "hidden_size": 256, "intermediate_size": 768,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 128,
        "max_position_embeddings": 1024, "rope_theta": 1_000_000.0, "rms_norm_eps": 1e-6, "tie_word_embeddings": true,
    });
    let config = ModelConfig::new(config).map_err(anyhow::Error::msg)?;
    let tokenizer = Tokenizer::train(["one two three", "4 5 6"], 300)?;
    Ok(Policy::random(config, tokenizer, 0, device)?)
}

/// As many token ids as `length` says, from 0 to 2047, that look random but depend only on `seed`.
fn token_ids(seed: usize, length: usize) -> Vec<u32> {
    (0..length).map(|i| ((seed * 7919 + i * 104_729 + 13) % 2048) as u32).collect()
}

/// Compares the log-probs, entropies and gradients of a random model on the device with those of the fused operations
/// on the CPU.
fn check_random_model(report: &mut CheckReport, checked: &CheckedDevice) -> Result<()> {
    // Three prompts with two replies each, of different lengths.
    let texts: Vec<Vec<u32>> =
        [200, 37, 64, 90, 31, 250, 5, 120, 33].iter().enumerate().map(|(i, n)| token_ids(i, *n)).collect();
    let sequences: Vec<Sequence> = (0..3)
        .flat_map(|i| [1, 2].map(|reply| Sequence { prompt: &texts[3 * i], completion: &texts[3 * i + reply] }))
        .collect();
    let cpu = ComputeDevice::new("cpu")?;
    report.check(checked, "random model: log-probs against fused operations on the CPU", || {
        let [ours, fused] = [&checked.device, &cpu].map(|device| -> Result<_> {
            let out = random_model(device)?.decoder.log_probs(&sequences, 0.8);
            Ok([floats(&out.log_probs), floats(&out.entropies)].concat())
        });
        checked.compare(&ours?, &fused?)
    })?;
    for (saved, name) in
        [(SavedActivations::All, "gradients"), (SavedActivations::LayerInputs, "gradients with recomputed layers")]
    {
        report.check(checked, &format!("random model: {name} against fused operations on the CPU"), || {
            let [ours, fused] = [&checked.device, &cpu].map(|device| -> Result<_> {
                let mut gradients = Gradients::default();
                gradients.add(&random_model(device)?.decoder, &sequences, 0.8, saved, |out| {
                    out.entropies.mean() * 0.3 - out.log_probs.mean()
                });
                Ok(gradients.to_map())
            });
            let (ours, fused) = (ours?, fused?);
            let mut worst = WorstGradient::default();
            for (name, fused) in &fused {
                worst.add(name, relative_difference(&ours[name], fused)?);
            }
            Ok(checked.compare_gradients(worst))
        })?;
    }
    Ok(())
}

/// Compares the log-probs that the sampler recorded, one token at a time over its key-value cache, with the trainer's,
/// all tokens at once.
fn check_sampler(report: &mut CheckReport, checked: &CheckedDevice) -> Result<()> {
    report.check(checked, "random model: the sampler's log-probs against the trainer's", || {
        let mut policy = random_model(&checked.device)?;
        policy.tokenizer.set_eos(Vec::new());
        let prompts = [token_ids(1, 40), token_ids(2, 7)];
        let request = |prompt: &Vec<u32>| GenerationRequest { prompt: prompt.clone(), seeds: vec![0, 1, 2] };
        let sampling = Sampling { max_tokens: 32, ..Sampling::default() };
        let samples = policy.engine(4).generate(&prompts.iter().map(request).collect::<Vec<_>>(), &sampling)?;
        let sampler: Vec<f32> = samples.iter().flatten().flat_map(|sample| sample.log_probs.clone()).collect();
        let groups = prompts.iter().zip(&samples);
        let sequences: Vec<Sequence> = groups
            .flat_map(|(prompt, group)| group.iter().map(move |s| Sequence { prompt, completion: &s.tokens }))
            .collect();
        let trainer = floats(&policy.decoder.log_probs(&sequences, 1.0).log_probs);
        checked.compare(&sampler, &trainer)
    })
}

/// The larger of two numbers; NaN if one of them is NaN.
fn max(a: f32, b: f32) -> f32 {
    if a.is_nan() || a > b { a } else { b }
}

fn norm(values: &[f32]) -> f32 {
    values.iter().map(|v| v * v).sum::<f32>().sqrt()
}

/// The Euclidean norm of the difference between `ours` and `theirs`, divided by the norm of `theirs`.
fn relative_difference(ours: &[f32], theirs: &[f32]) -> Result<f32> {
    ensure!(ours.len() == theirs.len(), "{} numbers, not {}", ours.len(), theirs.len());
    let difference: Vec<f32> = ours.iter().zip(theirs).map(|(a, b)| a - b).collect();
    Ok(norm(&difference) / norm(theirs).max(ROUNDING))
}

/// Transposes a row-major matrix `[rows, columns]` to `[columns, rows]`.
fn transpose(values: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    (0..rows * columns).map(|i| values[(i % rows) * columns + i / rows]).collect()
}
