//! Tiny random models of every architecture against what `transformers` computed on them
//! (`scripts/oracles/make_model_fixtures.py`).

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::{Tensor, TensorData};
use rlar_policy::RewardInput;
use rlar_policy::ops::Ops;
use rlar_policy::{
    ComputeDevice, GenerationRequest, Gradients, Policy, RewardModel, Sampling, SavedActivations, Sequence, Turn,
    floats,
};
use safetensors::SafeTensors;

const LANGUAGE_MODELS: [&str; 13] = [
    "llama",
    "llama_mha_tied",
    "llama_rope3",
    "llama_linear_biases",
    "llama_yarn",
    "llama_dynamic",
    "llama_adapter",
    "qwen2",
    "qwen2_window",
    "qwen3",
    "mistral",
    "gemma3",
    "gpt2",
];
const CLASSIFIERS: [&str; 9] = [
    "qwen3_reward",
    "llama_three_labels",
    "mistral_reward",
    "gemma3_reward",
    "gpt2_reward",
    "bert",
    "roberta_reward",
    "deberta_v3_reward",
    "deberta_v2",
];

pub fn folder(name: &str) -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/models")).join(name)
}

/// Recorded tensors, as `f32` values with their shapes.
pub struct Expected(BTreeMap<String, (Vec<f32>, Vec<usize>)>);

impl Expected {
    pub fn of(name: &str) -> Self {
        let bytes = fs::read(folder(name).join("expected.safetensors")).unwrap();
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        let values = |t: &safetensors::tensor::TensorView| -> Vec<f32> {
            let words = t.data().chunks_exact(4).map(|b| [b[0], b[1], b[2], b[3]]);
            match t.dtype() {
                safetensors::Dtype::I32 => words.map(|b| i32::from_le_bytes(b) as f32).collect(),
                _ => words.map(f32::from_le_bytes).collect(),
            }
        };
        Self(tensors.tensors().into_iter().map(|(n, t)| (n, (values(&t), t.shape().to_vec()))).collect())
    }

    fn get(&self, name: &str) -> &[f32] {
        &self.0.get(name).unwrap_or_else(|| panic!("{name} is not recorded")).0
    }

    pub fn tokens(&self, kind: &str) -> Vec<Vec<u32>> {
        (0..3).map(|i| self.get(&format!("{kind}.{i}")).iter().map(|x| *x as u32).collect()).collect()
    }

    /// Of all sequences, one after the other.
    pub fn logits(&self) -> Vec<f32> {
        (0..3).flat_map(|i| self.get(&format!("logits.{i}")).to_vec()).collect()
    }

    fn gradients(&self) -> impl Iterator<Item = (&str, &[f32], &[usize])> {
        self.0.iter().filter_map(|(n, (v, s))| Some((n.strip_prefix("grad.")?, v.as_slice(), s.as_slice())))
    }
}

/// Both ways of computing on the CPU, and the device that `RLAR_TEST_DEVICE` names.
fn devices() -> Vec<ComputeDevice> {
    let cpu = ComputeDevice::new("cpu").unwrap();
    let other = std::env::var("RLAR_TEST_DEVICE").ok().map(|name| ComputeDevice::new(&name).unwrap());
    [cpu.clone(), ComputeDevice { ops: Ops::Plain, ..cpu }].into_iter().chain(other).collect()
}

pub fn close(ours: &[f32], theirs: &[f32], what: &str) {
    assert_eq!(ours.len(), theirs.len(), "{what}");
    for (i, (a, b)) in ours.iter().zip(theirs).enumerate() {
        assert!((a - b).abs() < 1e-4, "{what}[{i}]: {a}, not {b}");
    }
}

pub fn host(t: Tensor<2>) -> Vec<f32> {
    t.into_data().as_slice::<f32>().unwrap().to_vec()
}

/// Relative error of a gradient; files and memory may disagree about the order of axes.
fn relative(ours: &[f32], theirs: &[f32], shape: &[usize], transposed: bool) -> f32 {
    let theirs = if transposed && shape.len() == 2 {
        let (rows, columns) = (shape[0], shape[1]);
        (0..rows * columns).map(|i| theirs[(i % rows) * columns + i / rows]).collect()
    } else {
        theirs.to_vec()
    };
    let norm = |x: &mut dyn Iterator<Item = f32>| x.map(|v| v * v).sum::<f32>().sqrt();
    norm(&mut ours.iter().zip(&theirs).map(|(a, b)| a - b)) / norm(&mut theirs.iter().copied()).max(1e-6)
}

fn same_gradients(name: &str, ours: &BTreeMap<String, Vec<f32>>, expected: &Expected) {
    let mut checked = 0;
    for (tensor, theirs, shape) in expected.gradients() {
        // The bias of every key shifts all scores of a query alike: its gradient is rounding.
        if theirs.iter().map(|x| x * x).sum::<f32>().sqrt() < 1e-6 {
            continue;
        }
        let transposed = name.starts_with("gpt2") && tensor.contains("c_") && tensor.ends_with("weight");
        let off = relative(&ours[tensor], theirs, shape, transposed);
        assert!(off < 1e-3, "{name}: gradient of {tensor} is off by {off}");
        checked += 1;
    }
    assert!(checked > 5, "{name}: only {checked} gradients are recorded");
}

#[test]
fn logits_log_probs_and_greedy_tokens_of_language_models() {
    for name in LANGUAGE_MODELS {
        let expected = Expected::of(name);
        let ids = expected.tokens("ids");
        for device in devices() {
            let policy = Policy::load(&folder(name), &device).unwrap();
            let lens: Vec<usize> = ids.iter().map(Vec::len).collect();
            // All at once, so that a sequence that sees its neighbour is found.
            let logits = host(policy.decoder.logits(&policy.decoder.hidden(&ids.concat(), &lens)));
            close(&logits, &expected.logits(), &format!("{name} {:?}: logits", device.ops));
            if name == "llama_adapter" {
                continue;
            }
            for (i, ids) in ids.iter().enumerate() {
                let sequence = [Sequence { prompt: &ids[..1], completion: &ids[1..] }];
                let log_probs = floats(&policy.decoder.log_probs(&sequence, 1.0).log_probs);
                close(&log_probs, expected.get(&format!("log_probs.{i}")), &format!("{name}: log-probs"));
            }
            let requests: Vec<GenerationRequest> =
                ids.iter().map(|ids| GenerationRequest { prompt: ids.clone(), seeds: vec![0] }).collect();
            let greedy = Sampling { temperature: 0.0, max_tokens: 8, ..Sampling::default() };
            let mut endless = policy.clone();
            endless.tokenizer.set_eos(Vec::new());
            let out = endless.engine(3).generate(&requests, &greedy).unwrap();
            for (out, wanted) in out.iter().zip(expected.tokens("greedy")) {
                assert_eq!(out[0].tokens, wanted, "{name} {:?}: greedy tokens", device.ops);
            }
        }
    }
}

#[test]
fn gradients_of_language_models_whatever_is_kept() {
    for name in LANGUAGE_MODELS {
        let expected = Expected::of(name);
        let ids = expected.tokens("ids");
        let sequences: Vec<Sequence> =
            ids.iter().map(|ids| Sequence { prompt: &ids[..1], completion: &ids[1..] }).collect();
        for device in devices() {
            let policy = Policy::load(&folder(name), &device).unwrap();
            for keep in [SavedActivations::All, SavedActivations::LayerInputs] {
                let mut gradients = Gradients::default();
                let loss = gradients.add(&policy.decoder, &sequences, 1.0, keep, |s| s.log_probs.mean().neg());
                assert!(loss > 0.0);
                same_gradients(name, &gradients.to_map(), &expected);
            }
        }
    }
}

#[test]
fn scores_and_gradients_of_classifiers() {
    for name in CLASSIFIERS {
        let expected = Expected::of(name);
        let input = |ids: Vec<u32>| RewardInput { segments: vec![0; ids.len()], ids };
        let inputs: Vec<RewardInput> = expected.tokens("ids").into_iter().map(input).collect();
        for device in devices() {
            let model = RewardModel::load(&folder(name), &device).unwrap();
            for tokens in [1, 1000] {
                let scores = model.outputs(&inputs, tokens).unwrap().concat();
                close(&scores, expected.get("scores"), &format!("{name} {:?}: scores", device.ops));
            }
            let tracked = model.with_grad();
            let out = tracked.forward(&inputs.iter().collect::<Vec<_>>());
            let weights: Vec<f32> = (0..model.labels()).map(|j| (1 + j) as f32 / 2.0).collect();
            let weights: Tensor<2> = Tensor::from_data(TensorData::new(weights, [1, model.labels()]), &device.device);
            let mut gradients = Gradients::default();
            gradients.accumulate(tracked.weights(), &(out * weights.autodiff()).sum_dim(1).mean());
            same_gradients(name, &gradients.to_map(), &expected);
        }
    }
}

#[test]
fn conversations_are_scored_as_tokenizer_and_template_join_them() {
    let pairs = [("w2 w5 w7", "w9 w3"), ("w30", "w4 w4 w4 w4 w11 w12 w13"), ("w21 w22", "w23")];
    for name in CLASSIFIERS {
        let model = RewardModel::load(&folder(name), &devices()[0]).unwrap();
        let inputs: Vec<RewardInput> = pairs
            .iter()
            .map(|(question, answer)| {
                let turns = [("user", question), ("assistant", answer)];
                model.input(&turns.map(|(role, content)| Turn { role, content })).unwrap()
            })
            .collect();
        let scores = model.outputs(&inputs, 1000).unwrap().concat();
        close(&scores, Expected::of(name).get("pair_scores"), &format!("{name}: pair scores"));
    }
}
