//! The tensor types of GGUF: blocks of small integers with their scales, laid out as in ggml (`ggml-quants.c`).

use half::{bf16, f16};

/// The format in which a GGUF file stores a tensor's values, such as `F16` or the quantised `Q4_K`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuantFormat {
    /// ggml's number of the format.
    number: u32,
    /// ggml's name of the format.
    pub name: &'static str,
    /// Number of values per block.
    pub values: usize,
    /// Number of bytes per block.
    pub bytes: usize,
}

const fn format(number: u32, name: &'static str, values: usize, bytes: usize) -> QuantFormat {
    QuantFormat { number, name, values, bytes }
}

const FORMATS: [QuantFormat; 12] = [
    format(0, "F32", 1, 4),
    format(1, "F16", 1, 2),
    format(30, "BF16", 1, 2),
    format(2, "Q4_0", 32, 18),
    format(3, "Q4_1", 32, 20),
    format(6, "Q5_0", 32, 22),
    format(7, "Q5_1", 32, 24),
    format(8, "Q8_0", 32, 34),
    format(12, "Q4_K", 256, 144),
    format(13, "Q5_K", 256, 176),
    format(14, "Q6_K", 256, 210),
    format(20, "IQ4_NL", 32, 18),
];

/// A type of ggml that rlar does not read.
struct OtherType {
    number: u32,
    name: &'static str,
}

const fn other(number: u32, name: &'static str) -> OtherType {
    OtherType { number, name }
}

/// ggml's types that rlar does not read, whose names are for error messages.
const OTHER_TYPES: [OtherType; 22] = [
    other(9, "Q8_1"),
    other(10, "Q2_K"),
    other(11, "Q3_K"),
    other(15, "Q8_K"),
    other(16, "IQ2_XXS"),
    other(17, "IQ2_XS"),
    other(18, "IQ3_XXS"),
    other(19, "IQ1_S"),
    other(21, "IQ3_S"),
    other(22, "IQ2_S"),
    other(23, "IQ4_XS"),
    other(24, "I8"),
    other(25, "I16"),
    other(26, "I32"),
    other(27, "I64"),
    other(28, "F64"),
    other(29, "IQ1_M"),
    other(34, "TQ1_0"),
    other(35, "TQ2_0"),
    other(39, "MXFP4"),
    other(40, "NVFP4"),
    other(41, "Q1_0"),
];

impl QuantFormat {
    /// Returns the format that has this number in ggml; `None` where rlar does not support the format.
    pub fn of(number: u32) -> Option<Self> {
        FORMATS.into_iter().find(|f| f.number == number)
    }

    /// ggml's name of the type with this number, for error messages; the number itself for one that ggml does not have.
    pub fn name_of(number: u32) -> String {
        let other = OTHER_TYPES.iter().find(|t| t.number == number).map(|t| t.name);
        Self::of(number).map(|f| f.name).or(other).map_or_else(|| number.to_string(), str::to_owned)
    }

    /// The names of all supported formats, for error messages.
    pub fn names() -> String {
        FORMATS.map(|f| f.name).join(", ")
    }
}

/// Converts the bytes of whole blocks to values. `number` is ggml's number of the format; the result is empty where the
/// format is not supported.
pub fn dequantise(number: u32, bytes: &[u8]) -> Vec<f32> {
    let Some(format) = QuantFormat::of(number) else { return Vec::new() };
    let mut out = Vec::with_capacity(bytes.len() / format.bytes * format.values);
    for block in bytes.chunks_exact(format.bytes) {
        match format.name {
            "F16" => out.push(half(block)),
            "BF16" => out.push(bf16::from_le_bytes([block[0], block[1]]).to_f32()),
            "Q4_0" => nibbles(&block[2..], &mut out, |n| half(block) * (f32::from(n) - 8.0)),
            "Q4_1" => nibbles(&block[4..], &mut out, |n| half(block) * f32::from(n) + half(&block[2..])),
            "Q5_0" => fifth_bits(&block[2..6], &block[6..], &mut out, |n| half(block) * (f32::from(n) - 16.0)),
            "Q5_1" => {
                fifth_bits(&block[4..8], &block[8..], &mut out, |n| half(block) * f32::from(n) + half(&block[2..]));
            }
            "IQ4_NL" => nibbles(&block[2..], &mut out, |n| half(block) * f32::from(IQ4_NL[usize::from(n)])),
            "Q8_0" => out.extend(block[2..].iter().map(|q| half(block) * f32::from(*q as i8))),
            "Q4_K" => q4_k(block, &mut out),
            "Q5_K" => q5_k(block, &mut out),
            "Q6_K" => q6_k(block, &mut out),
            _ => out.push(f32::from_le_bytes([block[0], block[1], block[2], block[3]])),
        }
    }
    out
}

fn half(b: &[u8]) -> f32 {
    f16::from_le_bytes([b[0], b[1]]).to_f32()
}

/// Appends the values of a block with four bits per value: the low nibbles of its bytes are the first half of the
/// values, the high nibbles the second half.
fn nibbles(b: &[u8], out: &mut Vec<f32>, value: impl Fn(u8) -> f32) {
    out.extend(b.iter().map(|b| value(b & 15)));
    out.extend(b.iter().map(|b| value(b >> 4)));
}

/// Appends the values of a block like that of [`nibbles`] with a fifth, highest bit per value: bit `i` of the four bytes
/// `high` belongs to value `i`.
fn fifth_bits(high: &[u8], low: &[u8], out: &mut Vec<f32>, value: impl Fn(u8) -> f32) {
    let fifth = |i: usize| (high[i / 8] >> (i % 8) & 1) << 4;
    out.extend(low.iter().enumerate().map(|(i, b)| value(b & 15 | fifth(i))));
    out.extend(low.iter().enumerate().map(|(i, b)| value(b >> 4 | fifth(i + low.len()))));
}

/// The values that the sixteen codes of `IQ4_NL` stand for, before the block's scale.
const IQ4_NL: [i8; 16] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

/// The scale and the minimum of group `i` of the eight groups of a block, six bits each, from the twelve bytes into
/// which all of them are packed.
fn scale_and_min(packed: &[u8], i: usize) -> (f32, f32) {
    let (scale, min) = if i < 4 {
        (packed[i] & 63, packed[i + 4] & 63)
    } else {
        (packed[i + 4] & 15 | packed[i - 4] >> 6 << 4, packed[i + 4] >> 4 | packed[i] >> 6 << 4)
    };
    (f32::from(scale), f32::from(min))
}

/// Appends the values of a `Q4_K` block: eight groups of 32 values with four bits each. Two groups share 32 bytes.
fn q4_k(block: &[u8], out: &mut Vec<f32>) {
    let (d, min, scales) = (half(block), half(&block[2..]), &block[4..16]);
    for (pair, low) in block[16..].chunks_exact(32).enumerate() {
        for (part, shift) in [(2 * pair, 0), (2 * pair + 1, 4)] {
            let (s, m) = scale_and_min(scales, part);
            out.extend(low.iter().map(|q| d * s * f32::from(q >> shift & 15) - min * m));
        }
    }
}

/// Appends the values of a `Q5_K` block, which is like `Q4_K` with a fifth bit per value: bit `i` of 32 further bytes
/// belongs to group `i`.
fn q5_k(block: &[u8], out: &mut Vec<f32>) {
    let (d, min, scales, high) = (half(block), half(&block[2..]), &block[4..16], &block[16..48]);
    for (pair, low) in block[48..].chunks_exact(32).enumerate() {
        for (part, shift) in [(2 * pair, 0), (2 * pair + 1, 4)] {
            let (s, m) = scale_and_min(scales, part);
            let value = |(q, h): (&u8, &u8)| d * s * f32::from((q >> shift & 15) | (h >> part & 1) << 4) - min * m;
            out.extend(low.iter().zip(high).map(value));
        }
    }
}

/// Appends the values of a `Q6_K` block: two halves of 128 values, with four low and two high bits per value and a
/// signed scale per 16 values.
fn q6_k(block: &[u8], out: &mut Vec<f32>) {
    let (low, high, scales, d) = (&block[..128], &block[128..192], &block[192..208], half(&block[208..]));
    for part in 0..2 {
        let (low, high) = (&low[64 * part..], &high[32 * part..]);
        for quarter in 0..4 {
            for i in 0..32 {
                let nibble = low[i + 32 * (quarter % 2)] >> (4 * (quarter / 2)) & 15;
                let q = nibble | (high[i] >> (2 * quarter) & 3) << 4;
                let scale = f32::from(scales[8 * part + 2 * quarter + i / 16] as i8);
                out.push(d * scale * (f32::from(q) - 32.0));
            }
        }
    }
}
