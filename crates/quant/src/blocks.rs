//! The layouts of blocks: unpacking them into one integer per byte and their scales.
//!
//! Sources: the structs `block_q4_0` … `block_q6_K` of ggml's `ggml-common.h`, and `dequantize_row_*` of
//! `ggml-quants.c`.

// Kernels compile these functions for the instruction sets that they enable, which needs inlining.
#![allow(clippy::inline_always)]

use crate::block_type::BlockType;

/// The values that the sixteen codes of `IQ4_NL` stand for, before the block's scale (`kvalues_iq4nl`).
pub const IQ4_NL: [i8; 16] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

/// A block with one byte per integer. Value `i` is
/// `scale · scales[i / 16] · (integers[i] − offset) + minimum · minima[i / 16]`.
#[derive(Clone)]
pub struct UnpackedBlock {
    /// The integers: signed bytes if [`BlockType::signed`]. Blocks of 32 values use the first 32.
    pub integers: [u8; 256],
    /// Integer scale of every 16 values.
    pub scales: [i16; 16],
    /// Integer factor of the minimum of every 16 values.
    pub minima: [i16; 16],
    /// The scale of the block.
    pub scale: f32,
    /// The minimum of the block, negative for `Q4_K` and `Q5_K`, which subtract it.
    pub minimum: f32,
}

impl Default for UnpackedBlock {
    /// A block whose values are all 0.
    fn default() -> Self {
        Self { integers: [0; 256], scales: [1; 16], minima: [1; 16], scale: 0.0, minimum: 0.0 }
    }
}

impl UnpackedBlock {
    /// Writes the values of the block.
    #[inline(always)]
    pub fn dequantise(&self, block_type: BlockType, out: &mut [f32]) {
        let (offset, signed) = (block_type.offset() as f32, block_type.signed());
        for (g, (out, integers)) in out.chunks_exact_mut(16).zip(self.integers.chunks_exact(16)).enumerate() {
            let scale = self.scale * f32::from(self.scales[g]);
            let minimum = self.minimum * f32::from(self.minima[g]);
            if signed {
                for (out, q) in out.iter_mut().zip(integers) {
                    *out = scale * f32::from(*q as i8);
                }
            } else if block_type.has_minimum() {
                for (out, q) in out.iter_mut().zip(integers) {
                    *out = scale * f32::from(*q) + minimum;
                }
            } else {
                for (out, q) in out.iter_mut().zip(integers) {
                    *out = scale * (f32::from(*q) - offset);
                }
            }
        }
    }
}

/// Reads a number in half precision, exactly.
#[inline(always)]
pub fn half(b: &[u8]) -> f32 {
    let bits = u32::from(u16::from_le_bytes([b[0], b[1]]));
    let magnitude = (bits & 0x7fff) << 13;
    // The exponents differ by 112. Multiplying also makes subnormal numbers right; infinity and NaN have all bits set.
    let number = f32::from_bits(magnitude) * f32::from_bits((112 + 127) << 23);
    let special = if magnitude >= 0x7c00 << 13 { 0x7f80_0000 | magnitude } else { number.to_bits() };
    f32::from_bits(special | (bits & 0x8000) << 16)
}

/// Unpacks the bytes of one block. What the type does not have (scales of groups, minima) stays as it is in `out`, which
/// therefore belongs to one type.
#[inline(always)]
pub fn unpack(block_type: BlockType, bytes: &[u8], out: &mut UnpackedBlock) {
    let bytes = &bytes[..block_type.bytes()];
    let integers = &mut out.integers;
    match block_type {
        BlockType::Q4_0 => nibbles(&bytes[2..], integers),
        BlockType::Q4_1 => nibbles(&bytes[4..], integers),
        BlockType::Q5_0 => five_bits(&bytes[2..6], &bytes[6..], integers),
        BlockType::Q5_1 => five_bits(&bytes[4..8], &bytes[8..], integers),
        BlockType::Q8_0 => integers[..32].copy_from_slice(&bytes[2..]),
        BlockType::IQ4_NL => {
            nibbles(&bytes[2..], integers);
            integers[..32].iter_mut().for_each(|q| *q = IQ4_NL[usize::from(*q & 15)] as u8);
        }
        BlockType::Q4_K => {
            group_scales(&bytes[4..16], out);
            four_bits_of_256(&bytes[16..], &mut out.integers);
        }
        BlockType::Q5_K => {
            group_scales(&bytes[4..16], out);
            four_bits_of_256(&bytes[48..], &mut out.integers);
            let mut high = array::<32>(&bytes[16..]);
            for group in out.integers.chunks_exact_mut(32) {
                for (q, high) in group.iter_mut().zip(&mut high) {
                    *q |= (*high & 1) << 4;
                    *high >>= 1;
                }
            }
        }
        BlockType::Q6_K => six_bits(bytes, out),
    }
    let halves = block_type.halves();
    out.scale = half(&bytes[halves[0]..]);
    if let Some(at) = halves.get(1) {
        let minimum = half(&bytes[*at..]);
        out.minimum = if block_type.values() == 256 { -minimum } else { minimum };
    }
}

/// Sixteen bytes with four bits per value: the low halves of the bytes are the first 16 values, the high halves the others.
#[inline(always)]
fn nibbles(low: &[u8], out: &mut [u8; 256]) {
    let low = array::<16>(low);
    for i in 0..16 {
        out[i] = low[i] & 15;
    }
    for i in 0..16 {
        out[16 + i] = low[i] >> 4;
    }
}

/// Like [`nibbles`], with a fifth bit per value: bit `i` of the four bytes `high` belongs to value `i`.
#[inline(always)]
fn five_bits(high: &[u8], low: &[u8], out: &mut [u8; 256]) {
    nibbles(low, out);
    let high = u32::from_le_bytes(array(high));
    for (i, q) in out[..32].iter_mut().enumerate() {
        *q |= ((high >> i & 1) << 4) as u8;
    }
}

/// 128 bytes with four bits per value. 32 bytes hold two groups of 32 values: the low and the high halves of the bytes.
#[inline(always)]
fn four_bits_of_256(low: &[u8], out: &mut [u8; 256]) {
    for pair in 0..4 {
        let low = array::<32>(&low[32 * pair..]);
        for i in 0..32 {
            out[64 * pair + i] = low[i] & 15;
        }
        for i in 0..32 {
            out[64 * pair + 32 + i] = low[i] >> 4;
        }
    }
}

/// Copies the first `N` bytes, so that what is written cannot overlap with them, which lets the compiler vectorise.
#[inline(always)]
fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[..N]);
    out
}

/// The scales and minima of the eight groups of `Q4_K` and `Q5_K` as bytes: six bits each, from twelve bytes
/// (`get_scale_min_k4`).
#[inline(always)]
pub fn six_bit_scales(packed: &[u8]) -> ([u8; 8], [u8; 8]) {
    let word = |i: usize| u32::from_le_bytes([packed[i], packed[i + 1], packed[i + 2], packed[i + 3]]);
    let (a, b, c) = (word(0), word(4), word(8));
    let join = |low: u32, high: u32| (u64::from(high) << 32 | u64::from(low)).to_le_bytes();
    let scales = join(a & 0x3f3f_3f3f, c & 0x0f0f_0f0f | (a >> 6 & 0x0303_0303) << 4);
    let minima = join(b & 0x3f3f_3f3f, c >> 4 & 0x0f0f_0f0f | (b >> 6 & 0x0303_0303) << 4);
    (scales, minima)
}

#[inline(always)]
fn group_scales(packed: &[u8], out: &mut UnpackedBlock) {
    let (scales, minima) = six_bit_scales(packed);
    for g in 0..16 {
        out.scales[g] = i16::from(scales[g / 2]);
        out.minima[g] = i16::from(minima[g / 2]);
    }
}

/// `Q6_K`: two halves of 128 values, with four low and two high bits per value and a signed scale per 16 values.
#[inline(always)]
fn six_bits(bytes: &[u8], out: &mut UnpackedBlock) {
    for half in 0..2 {
        let (low, high) = (array::<64>(&bytes[64 * half..]), array::<32>(&bytes[128 + 32 * half..]));
        let out = &mut out.integers[128 * half..][..128];
        for i in 0..32 {
            out[i] = low[i] & 15 | (high[i] & 3) << 4;
        }
        for i in 0..32 {
            out[32 + i] = low[32 + i] & 15 | (high[i] >> 2 & 3) << 4;
        }
        for i in 0..32 {
            out[64 + i] = low[i] >> 4 | (high[i] >> 4 & 3) << 4;
        }
        for i in 0..32 {
            out[96 + i] = low[32 + i] >> 4 | high[i] >> 6 << 4;
        }
    }
    for (out, scale) in out.scales.iter_mut().zip(&bytes[192..208]) {
        *out = i16::from(*scale as i8);
    }
}
