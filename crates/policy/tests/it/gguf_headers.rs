//! GGUF files whose headers lie: each is refused by name, before memory is taken for what it announces.

use std::fs::{self, File};
use std::io::Write;

use rlar_policy::Tokenizer;
use rlar_policy::gguf::Gguf;

use crate::ggufs::file;

/// GGUF's numbers of the types of metadata values.
const U8: u32 = 0;
const U32: u32 = 4;
const F32: u32 = 6;
const TEXT: u32 = 8;
const LIST: u32 = 9;

/// ggml's numbers of tensor types.
const FLOATS: u32 = 0;
const Q8_0: u32 = 8;
const Q4_K: u32 = 12;
const Q6_K: u32 = 14;

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat()
}

/// A metadata value: its key, the number of its type, and its bytes.
fn value(key: &str, kind: u32, bytes: &[u8]) -> Vec<u8> {
    [&text(key)[..], &kind.to_le_bytes(), bytes].concat()
}

/// The bytes of a list that announces `n` elements of a type.
fn list(kind: u32, n: u64, elements: &[u8]) -> Vec<u8> {
    [&kind.to_le_bytes()[..], &n.to_le_bytes(), elements].concat()
}

/// The entry of a tensor, with the fastest dimension first.
fn tensor(name: &str, dimensions: &[u64], kind: u32, offset: u64) -> Vec<u8> {
    let dimensions_in_bytes: Vec<u8> = dimensions.iter().flat_map(|n| n.to_le_bytes()).collect();
    let rank = (dimensions.len() as u32).to_le_bytes();
    [&text(name)[..], &rank, &dimensions_in_bytes, &kind.to_le_bytes(), &offset.to_le_bytes()].concat()
}

/// A file that announces some tensors and values, with a header of these parts and 256 bytes of data.
fn announcing(tensors: u64, values: u64, parts: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = [&b"GGUF"[..], &3u32.to_le_bytes(), &tensors.to_le_bytes(), &values.to_le_bytes()].concat();
    bytes.extend(parts.concat());
    bytes.resize(bytes.len().next_multiple_of(32) + 256, 0);
    bytes
}

fn with_tensors(tensors: &[Vec<u8>]) -> Vec<u8> {
    announcing(tensors.len() as u64, 0, tensors)
}

fn with_values(values: &[Vec<u8>]) -> Vec<u8> {
    announcing(0, values.len() as u64, values)
}

fn opened(bytes: &[u8]) -> Result<(), String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    fs::write(&path, bytes).unwrap();
    Gguf::open(&path).map(|_| ()).map_err(|e| e.to_string())
}

#[track_caller]
fn refused(bytes: &[u8], words: &[&str]) {
    let error = opened(bytes).unwrap_err();
    for word in words.iter().chain(&["model.gguf"]) {
        assert!(error.contains(word), "`{error}` does not mention `{word}`");
    }
}

#[test]
fn what_the_other_tests_break_is_a_file_that_opens() {
    let values = [value("a", U32, &7u32.to_le_bytes()), value("b", LIST, &list(TEXT, 1, &text("word")))];
    assert_eq!(opened(&with_values(&values)), Ok(()));
    let tensors = [tensor("x", &[4, 8], FLOATS, 0), tensor("y", &[32, 2], Q8_0, 128)];
    assert_eq!(opened(&with_tensors(&tensors)), Ok(()));
}

#[test]
fn a_size_that_overflows_is_refused_by_its_tensor() {
    for dimensions in [&[1 << 32, 1 << 32][..], &[1 << 31, 1 << 31], &[u64::MAX, 3], &[2, 2, 1 << 62]] {
        refused(
            &with_tensors(&[tensor("blk.0.ffn_up.weight", dimensions, FLOATS, 0)]),
            &["ffn_up", "impossible shape"],
        );
    }
    for (dimensions, offset) in [(&[1 << 30, 1 << 30][..], 0), (&[8], 1 << 62), (&[8], u64::MAX - 31), (&[100], 0)] {
        let ends_beyond = with_tensors(&[tensor("blk.0.ffn_up.weight", dimensions, FLOATS, offset)]);
        refused(&ends_beyond, &["ffn_up", "ends beyond", "truncated"]);
    }
    refused(&with_tensors(&[tensor("x", &[1; 5], FLOATS, 0)]), &["`x`", "5 dimensions"]);
}

#[test]
fn a_type_that_the_shape_cannot_have_is_refused_by_its_tensor() {
    let cases = [(&[128, 2][..], Q4_K, "Q4_K", "256"), (&[16, 4], Q8_0, "Q8_0", "32"), (&[100], Q6_K, "Q6_K", "256")];
    for (dimensions, kind, name, block) in cases {
        let row = format!("rows of {} values", dimensions[0]);
        refused(&with_tensors(&[tensor("blk.1.attn_q.weight", dimensions, kind, 0)]), &["attn_q", &row, name, block]);
    }
    refused(&with_tensors(&[tensor("scalar", &[], Q8_0, 0)]), &["`scalar`", "rows of 1 values"]);
}

#[test]
fn types_that_are_not_read_are_refused_by_name() {
    let types = [
        (10, "Q2_K"),
        (11, "Q3_K"),
        (16, "IQ2_XXS"),
        (17, "IQ2_XS"),
        (18, "IQ3_XXS"),
        (19, "IQ1_S"),
        (21, "IQ3_S"),
        (22, "IQ2_S"),
        (23, "IQ4_XS"),
        (29, "IQ1_M"),
        (99, "99"),
    ];
    for (kind, name) in types {
        let found = format!("has type {name};");
        refused(
            &with_tensors(&[tensor("output.weight", &[256, 1 << 40], kind, 0)]),
            &["output.weight", &found, "Q4_K"],
        );
    }
}

#[test]
fn a_file_is_called_truncated_wherever_it_ends() {
    let whole = fs::read(file("llama")).unwrap();
    assert_eq!(opened(&whole), Ok(()));
    // Up to 31 bytes behind the last tensor are padding.
    for keep in (0..whole.len() - 32).step_by(61) {
        refused(&whole[..keep], &["truncated"]);
    }
}

#[test]
fn numbers_that_the_file_cannot_hold_are_refused_by_what_they_count() {
    refused(&announcing(1 << 60, 0, &[]), &["announces 1152921504606846976 tensors"]);
    refused(&announcing(0, u64::MAX, &[]), &["announces 18446744073709551615 metadata values"]);
    for (kind, n) in [(U8, 1 << 62), (U8, 1000), (TEXT, 100), (LIST, 50), (F32, 1 << 63)] {
        let announced = format!("announces {n} values of a list");
        refused(&with_values(&[value("tokens", LIST, &list(kind, n, &[]))]), &[&announced]);
    }
    for length in [u64::MAX, 1 << 40, 1000] {
        refused(&with_values(&[value("name", TEXT, &length.to_le_bytes())]), &["truncated in its header"]);
        refused(&with_values(&[length.to_le_bytes().to_vec()]), &["truncated in its header"]);
    }
}

/// What `Gguf::open` says of a file of `size` bytes, which begins with `bytes` and takes no room on the disk for the rest.
fn refused_at_size(bytes: &[u8], size: u64) -> String {
    let file = tempfile::NamedTempFile::new().unwrap();
    File::create(file.path()).unwrap().write_all(bytes).unwrap();
    File::options().write(true).open(file.path()).unwrap().set_len(size).unwrap();
    Gguf::open(file.path()).map(|_| ()).unwrap_err().to_string()
}

#[test]
fn a_header_has_a_limit_even_where_the_file_could_hold_more() {
    let error = refused_at_size(&with_values(&[value("tokens", LIST, &list(U8, (1 << 22) + 1, &[]))]), 1 << 23);
    assert!(error.contains("more than 4194304 values"), "{error}");
    let long = 300u64 << 20;
    let error = refused_at_size(&with_values(&[value("name", TEXT, &long.to_le_bytes())]), long + (1 << 20));
    assert!(error.contains("more than 268435456 bytes"), "{error}");
}

#[test]
fn headers_that_contradict_themselves_are_refused() {
    let one = value("general.name", TEXT, &text("x"));
    refused(&with_values(&[one.clone(), one]), &["`general.name`", "twice"]);
    let floats = |name, offset| tensor(name, &[8], FLOATS, offset);
    refused(&with_tensors(&[floats("x", 0), floats("x", 32)]), &["`x`", "twice"]);
    refused(&with_tensors(&[tensor("x", &[16], FLOATS, 0), floats("y", 32)]), &["`x`", "`y`", "shares bytes"]);
    refused(&with_tensors(&[floats("x", 0), floats("y", 0)]), &["`x`", "`y`", "shares bytes"]);
    refused(&with_tensors(&[floats("x", 4)]), &["`x`", "alignment"]);
    let alignments = [
        value("general.alignment", U32, &7u32.to_le_bytes()),
        value("general.alignment", U32, &[0; 4]),
        value("general.alignment", TEXT, &text("32")),
    ];
    for alignment in alignments {
        refused(&with_values(&[alignment]), &["`general.alignment`", "power of two"]);
    }
    refused(&with_values(&[value("x", 13, &[])]), &["unknown type 13"]);
    refused(&with_values(&[value("x", LIST, &list(77, 0, &[]))]), &["unknown type 77"]);
    let nested = list(LIST, 1, &list(LIST, 1, &list(U8, 0, &[])));
    refused(&with_values(&[value("x", LIST, &nested)]), &["nested more than 2 deep"]);
    refused(&with_values(&[value("x", TEXT, &[&2u64.to_le_bytes()[..], &[0xff, 0xfe]].concat())]), &["not UTF-8"]);
}

#[test]
fn a_piece_of_text_that_is_too_long_to_be_a_token_is_refused() {
    let long = "x".repeat(1025);
    let values = [
        value("tokenizer.ggml.model", TEXT, &text("llama")),
        value("tokenizer.ggml.tokens", LIST, &list(TEXT, 2, &[text("a"), text(&long)].concat())),
        value("tokenizer.ggml.scores", LIST, &list(F32, 2, &[0; 8])),
    ];
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), with_values(&values)).unwrap();
    let error = Tokenizer::from_gguf(file.path(), &Gguf::open(file.path()).unwrap()).unwrap_err().to_string();
    assert!(error.contains("token 1 has 1025 bytes"), "{error}");
}
