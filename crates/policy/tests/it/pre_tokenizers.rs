//! Pre-tokenizers of GGUF vocabularies, against the models' own tokenizers and llama.cpp
//! (`scripts/oracles/make_pre_tokenizer_fixtures.py`).

use std::fs;

use rlar_oracles::{needs_oracles, oracle};
use rlar_policy::Tokenizer;
use rlar_policy::gguf::Gguf;
use serde_json::Value;

use crate::ggufs::file;

/// Every pre-tokenizer, by llama.cpp's name.
const NAMES: [&str; 8] = ["gpt-2", "smollm", "llama-bpe", "qwen2", "deepseek-r1-qwen", "qwen35", "tekken", "default"];

/// The tokenizer of the fixture, whose file names the pre-tokenizer `default`, with another pre-tokenizer.
fn with_pre_tokenizer(name: &str) -> Result<Tokenizer, String> {
    let bytes = fs::read(file("pre-tokenizers")).unwrap();
    let key = b"tokenizer.ggml.pre";
    let at = bytes.windows(key.len()).position(|window| window == key).unwrap() + key.len() + 4;
    let value = [&(name.len() as u64).to_le_bytes()[..], name.as_bytes()].concat();
    let changed = [&bytes[..at], &value, &bytes[at + 8 + "default".len()..]].concat();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    fs::write(&path, changed).unwrap();
    let gguf = Gguf::open(&path).map_err(|e| e.to_string())?;
    assert_eq!(gguf.text("tokenizer.ggml.pre").unwrap(), name);
    Tokenizer::from_gguf(&path, &gguf).map_err(|e| e.to_string())
}

#[test]
fn texts_are_cut_as_the_models_own_tokenizers_cut_them() {
    let record = fs::read_to_string(file("pre-tokenizers").with_extension("json")).unwrap();
    let record: Value = serde_json::from_str(&record).unwrap();
    assert_eq!(record.as_object().unwrap().len(), NAMES.len() + 2);
    let list = |key: &str| record[key].as_array().unwrap().clone();
    let texts = list("texts");
    assert!(texts.len() > 60);
    for name in NAMES {
        let tokenizer = with_pre_tokenizer(name).unwrap();
        let begins = list("adds_bos").iter().any(|other| other == name);
        let rows = list(name);
        assert_eq!(rows.len(), texts.len(), "{name}");
        for (text, ids) in texts.iter().zip(rows) {
            let text = text.as_str().unwrap();
            let ids: Vec<u32> = ids.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect();
            assert_eq!(tokenizer.encode(text).unwrap(), ids, "{name}: {text:?}");
            let whole = [if begins { &[1][..] } else { &[] }, &ids].concat();
            assert_eq!(tokenizer.encode_whole(text).unwrap(), whole, "{name}: {text:?} with BOS");
            // Special tokens are left out, and the two Qwen families compose letters and their accents.
            if !name.starts_with("qwen") && !text.contains("<|") {
                assert_eq!(tokenizer.decode(&ids).unwrap(), text, "{name}: back");
            }
        }
    }
}

#[test]
fn an_unknown_pre_tokenizer_is_refused_with_the_known_ones() {
    let error = with_pre_tokenizer("viking").unwrap_err();
    assert!(error.contains("`viking`") && NAMES.iter().all(|name| error.contains(name)), "{error}");
}

#[needs_oracles]
#[test]
fn the_reported_pre_tokenizer_is_known() {
    let cases = fs::read_to_string(oracle!("oracles/reports/cases.jsonl")).unwrap();
    let case = cases.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()).find(|c| c["id"] == "b41");
    let name = case.unwrap()["input"]["metadata"]["tokenizer.ggml.pre"].as_str().unwrap().to_owned();
    assert!(with_pre_tokenizer(&name).is_ok());
}
