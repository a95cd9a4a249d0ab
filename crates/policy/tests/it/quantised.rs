//! Models whose matrices stay in the quantised blocks of a GGUF file, against the same models dequantised.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use burn::tensor::{Tensor, TensorData};
use rlar_policy::gguf::Gguf;
use rlar_policy::layout::Form;
use rlar_policy::ops::Ops;
use rlar_policy::{
    ComputeDevice, GenerationRequest, Gradients, Lora, Policy, Sampling, SavedActivations, Sequence, Weight, floats,
};
use rlar_quant::{BlockType, QuantisedMatrix, error_bound};

use crate::ggufs::file;
use crate::parity::{close, host};
use crate::wide::{self, HIDDEN, blocks};

const SEQUENCES: [Sequence<'static>; 3] = [
    Sequence { prompt: &[5, 9, 30], completion: &[17, 3] },
    Sequence { prompt: &[5, 9, 30], completion: &[4, 4, 4, 11] },
    Sequence { prompt: &[33], completion: &[1, 2, 3] },
];

/// A wider model with random quantised matrices and the metadata of the fixture `family`.
fn wide(family: &str) -> tempfile::NamedTempFile {
    wide::wide(&file(family), family, &[])
}

/// A model dequantised, and the same in its blocks.
fn both(path: &Path) -> [Policy; 2] {
    let cpu = ComputeDevice::new("cpu").unwrap();
    [Policy::load(path, &cpu).unwrap(), Policy::load_frozen(path, &cpu).unwrap()]
}

/// The families of the tests: interleaved rows of queries and keys with an output head, and biases with a tied head.
const FAMILIES: [&str; 2] = ["llama", "qwen2"];

fn logits(decoder: &rlar_policy::Decoder) -> Vec<f32> {
    let ids: Vec<u32> = SEQUENCES.iter().flat_map(|s| s.prompt.iter().chain(s.completion).copied()).collect();
    let lens: Vec<usize> = SEQUENCES.iter().map(|s| s.prompt.len() + s.completion.len()).collect();
    host(decoder.logits(&decoder.hidden(&ids, &lens)))
}

fn norm(x: impl Iterator<Item = f32>) -> f32 {
    x.map(|x| x * x).sum::<f32>().sqrt()
}

/// The distance of `a` to `b`, relative to the norm of `b`.
fn relative(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    norm(a.iter().zip(b).map(|(a, b)| a - b)) / norm(b.iter().copied()).max(1e-6)
}

#[test]
fn frozen_matrices_stay_in_their_blocks_and_have_the_same_values() {
    for family in FAMILIES {
        let file = wide(family);
        let [dense, frozen] = both(file.path());
        let weights = frozen.decoder.weights().entries().zip(dense.decoder.weights().entries());
        for ((spec, quantised), (same, plain)) in weights {
            assert_eq!(quantised.is_quantised(), spec.form == Form::Matrix, "{family}: {}", spec.name);
            assert!(!plain.is_quantised() && same.trained);
            assert_eq!(spec.trained, spec.form != Form::Matrix, "{family}: {}", spec.name);
            assert!(quantised.values() == plain.values(), "{family}: {}", spec.name);
        }
        assert!(4 * frozen.decoder.weight_bytes() < dense.decoder.weight_bytes());
        assert_eq!(dense.decoder.weight_bytes(), 4 * dense.layout().parameters() as u64);
        // Only the kernels of the CPU multiply blocks.
        let plain = ComputeDevice { ops: Ops::Plain, ..ComputeDevice::new("cpu").unwrap() };
        let elsewhere = Policy::load_frozen(file.path(), &plain).unwrap();
        assert!(elsewhere.decoder.weights().entries().all(|(_, weight)| !weight.is_quantised()));
    }
}

#[test]
fn exact_products_give_the_logits_of_the_dequantised_model_and_rounded_ones_stay_near() {
    for family in FAMILIES {
        let [dense, frozen] = both(wide(family).path());
        let expected = logits(&dense.decoder);
        let off = relative(&logits(&frozen.decoder), &expected);
        assert!(off < 2e-5, "{family}: exact logits are off by {off}");
        let off = relative(&logits(&frozen.decoder.for_sampling()), &expected);
        assert!(off > 1e-4 && off < 0.08, "{family}: rounded logits are off by {off}");
        // Without quantised matrices there is nothing to round for.
        assert_eq!(logits(&dense.decoder.for_sampling()), expected);
    }
}

#[test]
fn rounded_logits_keep_the_bound_of_their_product() {
    let [_, frozen] = both(wide("llama").path());
    let hidden = frozen.decoder.hidden(&[3, 20, 9, 9, 31], &[5]);
    let [exact, rounded] = [&frozen.decoder, &frozen.decoder.for_sampling()].map(|d| host(d.logits(&hidden)));
    let entries: Vec<_> = frozen.decoder.weights().entries().collect();
    let (_, head) = entries.iter().find(|(spec, _)| spec.name == "lm_head.weight").unwrap();
    let (head, hidden) = (head.values(), host(hidden));
    for (i, x) in hidden.chunks_exact(HIDDEN).enumerate() {
        for (token, w) in head.chunks_exact(HIDDEN).enumerate() {
            let magnitudes: Vec<f32> = w.iter().map(|w| w.abs()).collect();
            let off = f64::from((exact[40 * i + token] - rounded[40 * i + token]).abs());
            let bound = error_bound(x, w, &magnitudes, 256) + 1e-5;
            assert!(off <= bound, "token {token} of row {i} is off by {off}, the bound is {bound}");
        }
    }
}

#[test]
fn a_quantised_model_generates_near_its_scores_and_its_batch_changes_nothing() {
    for family in FAMILIES {
        let [_, frozen] = both(wide(family).path());
        let sampling = Sampling { max_tokens: 12, ..Sampling::default() };
        let requests = [
            GenerationRequest { prompt: vec![5, 6, 7], seeds: vec![1, 2, 3] },
            GenerationRequest { prompt: vec![8; 9], seeds: vec![4, 5] },
        ];
        let engine = frozen.engine(8);
        assert_eq!(engine.plan(&requests, &sampling).weights, frozen.decoder.weight_bytes());
        let together = engine.generate(&requests, &sampling).unwrap();
        for (request, samples) in requests.iter().zip(&together) {
            for (seed, sample) in request.seeds.iter().zip(samples) {
                let one = [GenerationRequest { prompt: request.prompt.clone(), seeds: vec![*seed] }];
                let alone = &frozen.engine(1).generate(&one, &sampling).unwrap()[0][0];
                assert_eq!((&alone.tokens, &alone.log_probs), (&sample.tokens, &sample.log_probs), "{family}");
                let sequence = Sequence { prompt: &request.prompt, completion: &sample.tokens };
                let scored = floats(&frozen.decoder.log_probs(&[sequence], 1.0).log_probs);
                let gaps = scored.iter().zip(&sample.log_probs).map(|(a, b)| (a - b).abs());
                let off = gaps.sum::<f32>() / scored.len() as f32;
                assert!(off < 0.2, "{family}: sampler and scorer differ by {off} on average");
            }
        }
    }
}

/// The policy with an adapter that changes the outputs.
fn adapted(policy: Policy, base: &Path) -> Policy {
    let target_modules = ["q_proj", "k_proj", "o_proj", "down_proj"].map(str::to_owned).to_vec();
    let lora = Lora { r: 3, lora_alpha: 6.0, target_modules, lora_dropout: 0.0, use_rslora: false };
    let mut policy = policy.adapt(lora, 1, base.into()).unwrap();
    let specs = policy.layout().specs().to_vec();
    for (spec, weight) in specs.iter().zip(policy.decoder.weights_mut().values_mut()) {
        if spec.name.contains(".lora_B") {
            let values = (0..spec.elements()).map(|i| ((i % 7) as f32 - 3.0) / 100.0).collect::<Vec<f32>>();
            let device = weight.dense().unwrap().device();
            *weight = Weight::Dense(Tensor::from_data(TensorData::new(values, spec.shape), &device));
        }
    }
    policy
}

fn gradients(policy: &Policy, saved: SavedActivations) -> (f32, BTreeMap<String, Vec<f32>>) {
    let mut gradients = Gradients::default();
    let loss =
        gradients.add(&policy.decoder, &SEQUENCES, 0.8, saved, |s| s.log_probs.mean().neg() + s.entropies.mean() * 0.1);
    (loss, gradients.to_map())
}

#[test]
fn an_adapter_of_a_quantised_base_gets_the_gradients_of_the_dequantised_one() {
    for family in FAMILIES {
        let file = wide(family);
        let [dense, frozen] = both(file.path()).map(|policy| adapted(policy, file.path()));
        for saved in [SavedActivations::All, SavedActivations::LayerInputs] {
            let ((loss, expected), (same, found)) = (gradients(&dense, saved), gradients(&frozen, saved));
            assert!((loss - same).abs() < 1e-4, "{family}: {loss} is not {same}");
            let mut adapters = 0;
            for spec in frozen.layout().specs().iter().filter(|spec| spec.trained) {
                let (expected, found) = (&expected[&spec.name], &found[&spec.name]);
                assert!(norm(expected.iter().copied()) > 0.0, "{family}: {} has no gradient", spec.name);
                let off = relative(found, expected);
                assert!(off < 1e-4, "{family}: gradient of {} is off by {off}", spec.name);
                adapters += 1;
            }
            assert_eq!(adapters, 16, "{family}");
        }
    }
}

fn saved(policy: &Policy) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in policy.files().unwrap() {
        fs::write(folder.path().join(name), bytes).unwrap();
    }
    folder
}

fn scores(policy: &Policy) -> Vec<f32> {
    floats(&policy.decoder.log_probs(&SEQUENCES, 1.0).log_probs)
}

#[test]
fn saving_and_merging_dequantise() {
    let cpu = ComputeDevice::new("cpu").unwrap();
    for family in FAMILIES {
        let file = wide(family);
        let [dense, frozen] = both(file.path());
        let again = Policy::load(saved(&frozen).path(), &cpu).unwrap();
        for ((spec, a), (_, b)) in dense.weights().entries().zip(again.weights().entries()) {
            assert!(a == b, "{family}: {}", spec.name);
        }
        let policy = adapted(frozen, file.path());
        let expected = scores(&policy);
        // The files of the adapter name the GGUF; both ways of loading it give the same scores.
        let adapter = saved(&policy);
        for loaded in both(adapter.path()) {
            close(&scores(&loaded), &expected, family);
        }
        let merged = policy.merged().unwrap();
        close(&scores(&merged), &expected, family);
        close(&scores(&Policy::load(saved(&merged).path(), &cpu).unwrap()), &expected, family);
    }
}

#[test]
fn a_damaged_scale_is_reported_with_its_tensor() {
    let file = wide("llama");
    let gguf = Gguf::open(file.path()).unwrap();
    let matrix = gguf.quantised("blk.0.attn_q.weight").unwrap().unwrap();
    assert_eq!((matrix.block_type(), matrix.rows(), matrix.columns()), (BlockType::Q4_K, HIDDEN, HIDDEN));
    assert!(gguf.quantised("output_norm.weight").unwrap().is_none());
    // The first block of queries is found by its bytes.
    let mut bytes = fs::read(file.path()).unwrap();
    let seed = gguf.names().position(|name| name == "blk.0.attn_q.weight").unwrap() as u64 + 1;
    let block = &blocks(BlockType::Q4_K, 256, seed);
    let at = bytes.windows(block.len()).position(|window| window == block.as_slice()).unwrap();
    bytes[at..at + 2].copy_from_slice(&0x7c00u16.to_le_bytes());
    fs::write(file.path(), bytes).unwrap();
    let error = Policy::load_frozen(file.path(), &ComputeDevice::new("cpu").unwrap()).unwrap_err().to_string();
    for word in ["blk.0.attn_q.weight", "scale", &file.path().display().to_string()] {
        assert!(error.contains(word), "{error}");
    }
    let matrix: Result<QuantisedMatrix, _> = gguf.quantised("blk.0.attn_q.weight").map(Option::unwrap);
    assert!(matrix.is_err());
}
