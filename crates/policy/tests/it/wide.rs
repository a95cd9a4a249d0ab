//! GGUF files whose matrices are wide enough for every type of quantised blocks. The tests of the crate `rlar-grpo` use them,
//! too.

use std::fs;
use std::path::Path;

use rlar_policy::gguf::{Gguf, GgufValue};
use rlar_quant::BlockType;

/// Width of the models' residual streams.
pub const HIDDEN: usize = 256;
/// Width inside their feed-forward blocks.
pub const INNER: usize = 512;

/// Random bytes as blocks whose values have mean 0 and a standard deviation of about 0.08.
pub fn blocks(t: BlockType, values: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut byte = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    let mut bytes: Vec<u8> = (0..values / t.values() * t.bytes()).map(|_| byte()).collect();
    // Half-precision powers of two, by the byte of a block at which they are stored.
    let halves: &[(usize, u16)] = match t {
        BlockType::Q8_0 => &[(0, 0x1400)],
        BlockType::Q5_0 => &[(0, 0x2000)],
        BlockType::Q4_K => &[(0, 0x1000), (2, 0x1c00)],
        BlockType::Q6_K => &[(208, 0x0400)],
        other => panic!("no scale for {other}"),
    };
    for block in bytes.chunks_exact_mut(t.bytes()) {
        for (at, half) in halves {
            block[*at..at + 2].copy_from_slice(&half.to_le_bytes());
        }
    }
    bytes
}

/// Shape, ggml's number of the type, and bytes of a tensor.
fn tensor(name: &str, kv_width: usize, seed: u64) -> (Vec<usize>, u32, Vec<u8>) {
    let floats = |shape: Vec<usize>, value: f32| {
        let bytes = (0..shape[0]).flat_map(|i| (value * (1.0 + i as f32 / 512.0)).to_le_bytes()).collect();
        (shape, 0, bytes)
    };
    let matrix =
        |rows: usize, columns: usize, t: BlockType| (vec![rows, columns], t.number(), blocks(t, rows * columns, seed));
    let part = name.rsplit('.').nth(1).unwrap();
    match part {
        "attn_q" | "attn_k" | "attn_v" if name.ends_with("bias") => {
            floats(vec![if part == "attn_q" { HIDDEN } else { kv_width }], 0.1)
        }
        "token_embd" => matrix(40, HIDDEN, BlockType::Q8_0),
        "output" => matrix(40, HIDDEN, BlockType::Q6_K),
        "attn_q" | "attn_output" => matrix(HIDDEN, HIDDEN, BlockType::Q4_K),
        "attn_k" => matrix(kv_width, HIDDEN, BlockType::Q5_0),
        "attn_v" => matrix(kv_width, HIDDEN, BlockType::Q6_K),
        "ffn_gate" => matrix(INNER, HIDDEN, BlockType::Q4_K),
        "ffn_up" => matrix(INNER, HIDDEN, BlockType::Q5_0),
        "ffn_down" => matrix(HIDDEN, INNER, BlockType::Q6_K),
        norm if norm.ends_with("norm") => floats(vec![HIDDEN], 1.0),
        other => panic!("{other} is not a part of the fixture"),
    }
}

/// A wider model with random quantised matrices and the metadata of the GGUF file `fixture` of an architecture `family`,
/// and with more metadata, which are texts.
pub fn wide(fixture: &Path, family: &str, more: &[(&str, &str)]) -> tempfile::NamedTempFile {
    let mut bytes = fs::read(fixture).unwrap();
    let fixture = Gguf::open(fixture).unwrap();
    let position = |bytes: &[u8], name: &str| {
        let key = [&(name.len() as u64).to_le_bytes()[..], name.as_bytes()].concat();
        bytes.windows(key.len()).position(|window| window == key)
    };
    let size = |name: &str| match fixture.get(&format!("{family}.{name}")) {
        Some(GgufValue::Int(n)) => *n as usize,
        other => panic!("{name}: {other:?}"),
    };
    let dim = HIDDEN / size("attention.head_count");
    let kv_width = dim * size("attention.head_count_kv");
    let changed = [
        ("embedding_length", HIDDEN),
        ("feed_forward_length", INNER),
        ("attention.key_length", dim),
        ("attention.value_length", dim),
    ];
    for (name, value) in changed {
        let name = format!("{family}.{name}");
        if let Some(at) = position(&bytes, &name) {
            // Behind the key is the number of the value's type.
            let at = at + 8 + name.len() + 4;
            bytes[at..at + 4].copy_from_slice(&(value as u32).to_le_bytes());
        }
    }
    bytes.truncate(fixture.names().filter_map(|name| position(&bytes, name)).min().unwrap());
    let values = u64::from_le_bytes(bytes[16..24].try_into().unwrap()) + more.len() as u64;
    bytes[16..24].copy_from_slice(&values.to_le_bytes());
    let text = |text: &str| [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat();
    bytes.extend(more.iter().flat_map(|(key, value)| [text(key), 8u32.to_le_bytes().to_vec(), text(value)].concat()));
    let mut data: Vec<u8> = Vec::new();
    for (seed, name) in fixture.names().enumerate() {
        let (shape, kind, values) = tensor(name, kv_width, seed as u64 + 1);
        bytes.extend((name.len() as u64).to_le_bytes());
        bytes.extend(name.as_bytes());
        bytes.extend((shape.len() as u32).to_le_bytes());
        bytes.extend(shape.iter().rev().flat_map(|n| (*n as u64).to_le_bytes()));
        bytes.extend(kind.to_le_bytes());
        bytes.extend((data.len() as u64).to_le_bytes());
        data.extend(values);
        data.resize(data.len().next_multiple_of(32), 0);
    }
    bytes.resize(bytes.len().next_multiple_of(32), 0);
    bytes.extend(data);
    let file = tempfile::Builder::new().suffix(".gguf").tempfile().unwrap();
    fs::write(file.path(), bytes).unwrap();
    file
}
