//! GGUF files of the tiny models and of tokenizers (`scripts/oracles/make_gguf_models.py`).

use std::fs;
use std::path::{Path, PathBuf};

use rlar_policy::gguf::Gguf;
use rlar_policy::{ComputeDevice, Policy, Tokenizer, load_tokenizer};
use serde_json::Value;

use crate::parity::{Expected, close, folder, host};
use crate::wide::wide;

pub fn file(name: &str) -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/gguf")).join(format!("{name}.gguf"))
}

#[test]
fn a_gguf_is_the_model_that_it_was_made_from() {
    let cpu = ComputeDevice::new("cpu").unwrap();
    for name in ["llama", "llama_mha_tied", "qwen2", "qwen3", "gpt2"] {
        let policy = Policy::load(&file(name), &cpu).unwrap();
        let expected = Expected::of(name);
        let ids = expected.tokens("ids");
        let lens: Vec<usize> = ids.iter().map(Vec::len).collect();
        let logits = host(policy.decoder.logits(&policy.decoder.hidden(&ids.concat(), &lens)));
        close(&logits, &expected.logits(), &format!("{name}: logits"));
    }
    // The metadata of Gemma 3 cannot say the fixture's pattern of layers: here only the weights are compared.
    let [gguf, hub] = [file("gemma3"), folder("gemma3")].map(|path| Policy::load(&path, &cpu).unwrap().weights());
    for ((spec, a), (_, b)) in gguf.entries().zip(hub.entries()) {
        for (a, b) in a.iter().zip(b) {
            assert!((a - b).abs() < 1e-6, "{}: {a} is not {b}", spec.name);
        }
    }
}

#[test]
fn a_tokenizer_is_loaded_without_its_model() {
    let cpu = ComputeDevice::new("cpu").unwrap();
    // The adapter has the tokenizer of its base model.
    for path in [folder("llama"), folder("llama_adapter"), file("qwen3")] {
        let whole = Policy::load(&path, &cpu).unwrap().tokenizer;
        let alone = load_tokenizer(&path).unwrap();
        let text = "w5 w7 and more w9";
        assert_eq!(alone.encode(text).unwrap(), whole.encode(text).unwrap(), "{}", path.display());
        assert_eq!(alone.eos(), whole.eos());
    }
    let nothing = tempfile::tempdir().unwrap();
    assert!(load_tokenizer(nothing.path()).unwrap_err().to_string().contains("tokenizer.json"));
}

#[test]
fn what_was_loaded_from_a_gguf_is_saved_as_a_folder() {
    let cpu = ComputeDevice::new("cpu").unwrap();
    let policy = Policy::load(&file("qwen3"), &cpu).unwrap();
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in policy.files().unwrap() {
        fs::write(folder.path().join(name), bytes).unwrap();
    }
    let again = Policy::load(folder.path(), &cpu).unwrap();
    for ((spec, a), (_, b)) in policy.weights().entries().zip(again.weights().entries()) {
        assert!(a == b, "{}", spec.name);
    }
}

#[test]
fn rebuilt_tokenizers_encode_and_decode_like_their_originals() {
    let text = fs::read_to_string(file("x").with_file_name("tokenizers.json")).unwrap();
    let cases: serde_json::Map<String, Value> = serde_json::from_str(&text).unwrap();
    assert_eq!(cases.len(), 5);
    for (kind, cases) in cases {
        let path = file(&format!("tokenizer-{kind}"));
        let tokenizer = Tokenizer::from_gguf(&path, &Gguf::open(&path).unwrap()).unwrap();
        for case in cases.as_array().unwrap() {
            let ids = |key: &str| -> Vec<u32> {
                case[key].as_array().unwrap().iter().map(|x| x.as_u64().unwrap() as u32).collect()
            };
            let text = case["text"].as_str().unwrap();
            assert_eq!(tokenizer.encode(text).unwrap(), ids("ids"), "{kind}: {text:?}");
            assert_eq!(tokenizer.encode_whole(text).unwrap(), ids("whole"), "{kind}: {text:?} with BOS");
            assert_eq!(tokenizer.decode(&ids("ids")).unwrap(), case["back"].as_str().unwrap(), "{kind}: {text:?} back");
        }
        assert_eq!(tokenizer.eos(), [if kind.starts_with("sentence") { 2 } else { 0 }]);
    }
}

#[test]
fn a_stream_of_text_is_the_text_however_tokens_cut_it() {
    for kind in ["sentencepiece", "gpt-2"] {
        let path = file(&format!("tokenizer-{kind}"));
        let tokenizer = Tokenizer::from_gguf(&path, &Gguf::open(&path).unwrap()).unwrap();
        for text in ["naïve café — 日本語 🎉 and more", " two  spaces", "🎉🎉"] {
            let ids = tokenizer.encode(text).unwrap();
            let mut stream = rlar_policy::TextStream::default();
            for id in &ids {
                stream.push(&tokenizer, *id).unwrap();
                assert!(tokenizer.decode(&ids).unwrap().starts_with(stream.text()), "{kind}: {:?}", stream.text());
            }
            stream.finish(&tokenizer).unwrap();
            assert_eq!(stream.text(), tokenizer.decode(&ids).unwrap(), "{kind}");
        }
    }
}

/// A wider `llama` with its embeddings in another format: ggml's number, and the bytes of a block of 32 values.
fn with_embeddings_in(number: u32, block_bytes: usize) -> tempfile::NamedTempFile {
    let (name, file) = ("token_embd.weight", wide(&file("llama"), "llama", &[]));
    let mut bytes = fs::read(file.path()).unwrap();
    let at = bytes.windows(name.len()).position(|window| window == name.as_bytes()).unwrap();
    // Behind the name are the number of dimensions, the dimensions, and the number of the format.
    let format = at + name.len() + 4 + 8 * 2;
    bytes[format..format + 4].copy_from_slice(&number.to_le_bytes());
    // The embeddings are the last tensor: 40 rows of 256 values in Q8_0.
    let blocks = 40 * 256 / 32;
    let data = bytes.len() - blocks * 34;
    for (i, byte) in bytes[data..data + blocks * block_bytes].iter_mut().enumerate() {
        // A block begins with its scale, and perhaps its minimum, in half precision: 1/64 and -1/64.
        *byte = [0, 0x24, 0, 0xa4].get(i % block_bytes).copied().unwrap_or((31 * i + 7) as u8);
    }
    fs::write(file.path(), bytes).unwrap();
    file
}

#[test]
fn formats_that_stand_in_for_k_quants_are_read_in_whole_models() {
    let cpu = ComputeDevice::new("cpu").unwrap();
    // llama.cpp takes Q5_0, Q5_1 and IQ4_NL where the rows of a matrix are no multiple of 256 values.
    for (number, block_bytes) in [(6, 22), (7, 24), (20, 18)] {
        let copy = with_embeddings_in(number, block_bytes);
        let (expected, _) = Gguf::open(copy.path()).unwrap().tensor("token_embd.weight").unwrap();
        let weights = Policy::load(copy.path(), &cpu).unwrap().weights();
        let (_, found) = weights.entries().find(|(spec, _)| spec.name == "model.embed_tokens.weight").unwrap();
        assert_eq!(*found, expected, "format {number}");
        assert!(expected.iter().any(|value| *value < 0.0) && expected.iter().any(|value| *value > 0.0));
    }
    let refused = Policy::load(with_embeddings_in(10, 22).path(), &cpu).unwrap_err().to_string();
    for word in ["token_embd.weight", "type Q2_K", "Q5_0", "IQ4_NL"] {
        assert!(refused.contains(word), "{refused}");
    }
}
