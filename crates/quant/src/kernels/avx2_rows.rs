//! Products of single rows with AVX2, straight from the blocks as they are stored: reading the weights bounds them.
//!
//! `maddubs` multiplies unsigned with signed bytes and adds pairs to 16 bits; pairs stay below 2·63·127 there, and signed
//! weights below 2·128·127, so nothing saturates.
#![allow(unsafe_code)]
// Vectors in closures would go through memory: a closure that is called by a generic function is compiled without AVX2.
#![allow(clippy::needless_range_loop)]
// Dozens of intrinsics.
#![allow(clippy::wildcard_imports)]
// Kernels compile `part` for the instruction sets that they enable.
#![allow(clippy::inline_always)]

use std::arch::x86_64::*;

use crate::activations::{QuantisedRow, QuantisedRows};
use crate::block_type::BlockType;
use crate::blocks::IQ4_NL;

/// Products of one row of weights with all rows of `x`, to `out` `[batch]`. The processor has AVX2 and F16C.
pub fn row(block_type: BlockType, weights: &[u8], x: &QuantisedRows, out: &mut [f32]) {
    assert!(
        weights.len() / block_type.bytes() * block_type.values() == x.columns() && x.block() == block_type.values()
    );
    for (c, out) in out.iter_mut().enumerate() {
        // SAFETY: this kernel runs only where `Kernel::is_available` found both features.
        *out = unsafe { product(block_type, weights, x.row(c)) };
    }
}

#[target_feature(enable = "avx2,f16c")]
fn product(block_type: BlockType, weights: &[u8], x: QuantisedRow) -> f32 {
    match block_type {
        BlockType::Q4_0 => of_32::<18, _>(BlockType::Q4_0, weights, x, |b| nibbles(part(b, 2))),
        BlockType::Q4_1 => of_32::<20, _>(BlockType::Q4_1, weights, x, |b| nibbles(part(b, 4))),
        BlockType::Q5_0 => of_32::<22, _>(BlockType::Q5_0, weights, x, |b| five_bits(*part(b, 2), part(b, 6))),
        BlockType::Q5_1 => of_32::<24, _>(BlockType::Q5_1, weights, x, |b| five_bits(*part(b, 4), part(b, 8))),
        BlockType::Q8_0 => of_32::<34, _>(BlockType::Q8_0, weights, x, |b| load(part(b, 2))),
        BlockType::IQ4_NL => of_32::<18, _>(BlockType::IQ4_NL, weights, x, |b| {
            let table = _mm256_broadcastsi128_si256(load16(&IQ4_NL.map(|q| q as u8)));
            _mm256_shuffle_epi8(table, nibbles(part(b, 2)))
        }),
        BlockType::Q4_K => q4_k(weights, x),
        BlockType::Q5_K => q5_k(weights, x),
        BlockType::Q6_K => q6_k(weights, x),
    }
}

/// `N` bytes of a block; the compiler removes the check where the block is an array.
#[inline(always)]
fn part<const N: usize>(block: &[u8], at: usize) -> &[u8; N] {
    block[at..].first_chunk().expect("a block holds all its parts")
}

#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn load(bytes: &[u8; 32]) -> __m256i {
    // SAFETY: the reference is valid for 32 bytes, and the load needs no alignment.
    unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx2")]
fn load16(bytes: &[u8; 16]) -> __m128i {
    // SAFETY: the reference is valid for 16 bytes, and the load needs no alignment.
    unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx2")]
fn load_signed(values: &[i8; 32]) -> __m256i {
    // SAFETY: the reference is valid for 32 bytes, and the load needs no alignment.
    unsafe { _mm256_loadu_si256(values.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn load_i16(values: &[i16; 16]) -> __m256i {
    // SAFETY: the reference is valid for 32 bytes, and the load needs no alignment.
    unsafe { _mm256_loadu_si256(values.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx2")]
fn load16_i16(values: &[i16; 8]) -> __m128i {
    // SAFETY: the reference is valid for 16 bytes, and the load needs no alignment.
    unsafe { _mm_loadu_si128(values.as_ptr().cast()) }
}

/// Converts one or two numbers in half precision.
#[inline]
#[target_feature(enable = "f16c")]
fn halves(bits: u32) -> __m128 {
    _mm_cvtph_ps(_mm_cvtsi32_si128(bits as i32))
}

/// The sum of eight 32-bit integers.
#[inline]
#[target_feature(enable = "avx2")]
fn sum(v: __m256i) -> i32 {
    let v = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256::<1>(v));
    let v = _mm_add_epi32(v, _mm_shuffle_epi32::<0b00_00_11_10>(v));
    _mm_cvtsi128_si32(_mm_add_epi32(v, _mm_shuffle_epi32::<0b01>(v)))
}

/// 32 integers of four bits, from 16 bytes: first the low halves, then the high halves.
#[inline]
#[target_feature(enable = "avx2")]
fn nibbles(bytes: &[u8; 16]) -> __m256i {
    let low = load16(bytes);
    _mm256_and_si256(_mm256_set_m128i(_mm_srli_epi16::<4>(low), low), _mm256_set1_epi8(15))
}

/// Like [`nibbles`], with a fifth bit from `high`.
#[inline]
#[target_feature(enable = "avx2")]
fn five_bits(high: [u8; 4], low: &[u8; 16]) -> __m256i {
    // Byte `i` gets byte `i / 8` of `high`, and all its bits except bit `i % 8` are set: it is all ones if that is, too.
    let spread = _mm256_setr_epi64x(0, 0x0101_0101_0101_0101, 0x0202_0202_0202_0202, 0x0303_0303_0303_0303);
    let bits = _mm256_shuffle_epi8(_mm256_set1_epi32(i32::from_le_bytes(high)), spread);
    let bits = _mm256_or_si256(bits, _mm256_set1_epi64x(0x7fbf_dfef_f7fb_fdfe));
    let set = _mm256_cmpeq_epi8(bits, _mm256_set1_epi8(-1));
    _mm256_or_si256(nibbles(low), _mm256_and_si256(set, _mm256_set1_epi8(16)))
}

/// A row of blocks of 32 values, whose integers `unpack` returns.
#[inline]
#[target_feature(enable = "avx2,f16c")]
fn of_32<const BYTES: usize, F: Fn(&[u8; BYTES]) -> __m256i>(
    t: BlockType,
    weights: &[u8],
    x: QuantisedRow,
    unpack: F,
) -> f32 {
    let (blocks, rest) = weights.as_chunks::<BYTES>().0.as_chunks::<8>();
    let (values, values_of_rest) = x.values.as_chunks::<32>().0.as_chunks::<8>();
    let (scales, scales_of_rest) = x.scales.as_chunks::<8>();
    let (sums, sums_of_rest) = x.sums_of_32.as_chunks::<8>();
    let mut total = 0f32;
    for (((blocks, values), scales), sums) in blocks.iter().zip(values).zip(scales).zip(sums) {
        let mut products = [_mm256_setzero_si256(); 8];
        for i in 0..8 {
            products[i] = dot(t.signed(), unpack(&blocks[i]), load_signed(&values[i]));
        }
        // Eight sums of eight lanes each.
        let a =
            _mm256_hadd_epi32(_mm256_hadd_epi32(products[0], products[1]), _mm256_hadd_epi32(products[2], products[3]));
        let b =
            _mm256_hadd_epi32(_mm256_hadd_epi32(products[4], products[5]), _mm256_hadd_epi32(products[6], products[7]));
        let lower = _mm256_permute2x128_si256::<0x20>(a, b);
        let products = _mm256_add_epi32(lower, _mm256_permute2x128_si256::<0x31>(a, b));
        let sums = _mm256_cvtepi16_epi32(load16_i16(sums));
        let products = _mm256_sub_epi32(products, _mm256_mullo_epi32(sums, _mm256_set1_epi32(t.offset())));
        let mut sum = _mm256_mul_ps(eight_halves::<BYTES, 0>(blocks), _mm256_cvtepi32_ps(products));
        if t.has_minimum() {
            sum = _mm256_add_ps(sum, _mm256_mul_ps(eight_halves::<BYTES, 2>(blocks), _mm256_cvtepi32_ps(sums)));
        }
        let mut terms = [0f32; 8];
        // SAFETY: both arrays have eight elements, and neither access needs alignment.
        unsafe { _mm256_storeu_ps(terms.as_mut_ptr(), _mm256_mul_ps(_mm256_loadu_ps(scales.as_ptr()), sum)) };
        for term in terms {
            total += term;
        }
    }
    for (((block, values), scale), sum_of_32) in rest.iter().zip(values_of_rest).zip(scales_of_rest).zip(sums_of_rest) {
        let products = sum(dot(t.signed(), unpack(block), load_signed(values))) - t.offset() * i32::from(*sum_of_32);
        let half = |at: usize| _mm_cvtss_f32(halves(u32::from(u16::from_le_bytes([block[at], block[at + 1]]))));
        let mut sum = half(0) * products as f32;
        if t.has_minimum() {
            sum += half(2) * f32::from(*sum_of_32);
        }
        total += scale * sum;
    }
    total
}

/// Products of 32 weights and activations, added up to eight sums.
#[inline]
#[target_feature(enable = "avx2")]
fn dot(signed: bool, q: __m256i, x: __m256i) -> __m256i {
    let pairs = if signed {
        _mm256_maddubs_epi16(_mm256_abs_epi8(q), _mm256_sign_epi8(x, q))
    } else {
        _mm256_maddubs_epi16(q, x)
    };
    _mm256_madd_epi16(pairs, _mm256_set1_epi16(1))
}

/// The half-precision numbers at byte `AT` of eight blocks.
#[inline]
#[target_feature(enable = "avx2,f16c")]
fn eight_halves<const BYTES: usize, const AT: usize>(b: &[[u8; BYTES]; 8]) -> __m256 {
    let mut bits = [0i16; 8];
    for i in 0..8 {
        bits[i] = i16::from_le_bytes([b[i][AT], b[i][AT + 1]]);
    }
    let [a, b, c, d, e, f, g, h] = bits;
    _mm256_cvtph_ps(_mm_setr_epi16(a, b, c, d, e, f, g, h))
}

/// The sum of a block of `Q4_K` or `Q5_K`: `scale · Σ products − minimum · Σ minima · sums`.
#[inline]
#[target_feature(enable = "avx2,f16c")]
fn with_minima(halves_bits: [u8; 4], products: __m256i, minima: __m128i, sums: &[i16; 8]) -> f32 {
    let products = _mm_add_epi32(_mm256_castsi256_si128(products), _mm256_extracti128_si256::<1>(products));
    let both = _mm_hadd_epi32(products, _mm_madd_epi16(minima, load16_i16(sums)));
    let both = _mm_cvtepi32_ps(_mm_hadd_epi32(both, both));
    let both = _mm_mul_ps(both, halves(u32::from_le_bytes(halves_bits)));
    _mm_cvtss_f32(_mm_sub_ss(both, _mm_movehdup_ps(both)))
}

/// The eight scales of 16 bits, in both halves of a vector, and the eight minima; see `blocks::six_bit_scales`.
#[inline]
#[target_feature(enable = "avx2")]
fn scales_and_minima(packed: &[u8; 12]) -> (__m256i, __m128i) {
    let first = u64::from_le_bytes(*part::<8>(packed, 0));
    let last = u64::from(u32::from_le_bytes(*part::<4>(packed, 8)));
    // In each: four scales, then four minima.
    let low = first & 0x3f3f_3f3f_3f3f_3f3f;
    let high = first >> 2 & 0x3030_3030_3030_3030 | last & 0x0f0f_0f0f | (last & 0xf0f0_f0f0) << 28;
    let bytes = _mm_shuffle_epi32::<0b11_01_10_00>(_mm_set_epi64x(high as i64, low as i64));
    let words = _mm256_cvtepu8_epi16(bytes);
    (_mm256_permute2x128_si256::<0>(words, words), _mm256_extracti128_si256::<1>(words))
}

/// Word `i` of both halves, in every word.
#[inline]
#[target_feature(enable = "avx2")]
fn word(v: __m256i, i: usize) -> __m256i {
    _mm256_shuffle_epi8(v, _mm256_set1_epi16(0x0100 + 0x0202 * i as i16))
}

#[target_feature(enable = "avx2,f16c")]
fn q4_k(weights: &[u8], x: QuantisedRow) -> f32 {
    let (blocks, values, sums) =
        (weights.as_chunks::<144>().0, x.values.as_chunks::<256>().0, x.sums_of_32.as_chunks::<8>().0);
    let mask = _mm256_set1_epi8(15);
    let mut total = 0f32;
    for (((block, values), scale), sums) in blocks.iter().zip(values).zip(x.scales).zip(sums) {
        let (scales, minima) = scales_and_minima(part(block, 4));
        let values = values.as_chunks::<32>().0;
        let mut products = _mm256_setzero_si256();
        for pair in 0..4 {
            let q = load(part(block, 16 + 32 * pair));
            let low = _mm256_maddubs_epi16(_mm256_and_si256(q, mask), load_signed(&values[2 * pair]));
            let high = _mm256_and_si256(_mm256_srli_epi16::<4>(q), mask);
            let high = _mm256_maddubs_epi16(high, load_signed(&values[2 * pair + 1]));
            let low = _mm256_madd_epi16(low, word(scales, 2 * pair));
            let high = _mm256_madd_epi16(high, word(scales, 2 * pair + 1));
            products = _mm256_add_epi32(products, _mm256_add_epi32(low, high));
        }
        total += scale * with_minima(*part(block, 0), products, minima, sums);
    }
    total
}

#[target_feature(enable = "avx2,f16c")]
fn q5_k(weights: &[u8], x: QuantisedRow) -> f32 {
    let (blocks, values, sums) =
        (weights.as_chunks::<176>().0, x.values.as_chunks::<256>().0, x.sums_of_32.as_chunks::<8>().0);
    let (mask, fifth) = (_mm256_set1_epi8(15), _mm256_set1_epi8(16));
    let mut total = 0f32;
    for (((block, values), scale), sums) in blocks.iter().zip(values).zip(x.scales).zip(sums) {
        let (scales, minima) = scales_and_minima(part(block, 4));
        let values = values.as_chunks::<32>().0;
        let mut products = _mm256_setzero_si256();
        // Bit `g` of a byte belongs to group `g`; it is shifted to bit 4.
        let mut bits = load(part(block, 16));
        for pair in 0..4 {
            let q = load(part(block, 48 + 32 * pair));
            let low = _mm256_or_si256(_mm256_and_si256(q, mask), _mm256_and_si256(_mm256_slli_epi16::<4>(bits), fifth));
            let high = _mm256_and_si256(_mm256_srli_epi16::<4>(q), mask);
            let high = _mm256_or_si256(high, _mm256_and_si256(_mm256_slli_epi16::<3>(bits), fifth));
            bits = _mm256_srli_epi16::<2>(bits);
            let low = _mm256_maddubs_epi16(low, load_signed(&values[2 * pair]));
            let high = _mm256_maddubs_epi16(high, load_signed(&values[2 * pair + 1]));
            let low = _mm256_madd_epi16(low, word(scales, 2 * pair));
            let high = _mm256_madd_epi16(high, word(scales, 2 * pair + 1));
            products = _mm256_add_epi32(products, _mm256_add_epi32(low, high));
        }
        total += scale * with_minima(*part(block, 0), products, minima, sums);
    }
    total
}

#[target_feature(enable = "avx2,f16c")]
fn q6_k(weights: &[u8], x: QuantisedRow) -> f32 {
    let (blocks, values, sums) =
        (weights.as_chunks::<210>().0, x.values.as_chunks::<256>().0, x.sums_of_16.as_chunks::<16>().0);
    let (mask, two) = (_mm256_set1_epi8(15), _mm256_set1_epi8(0x30));
    let even_odd = _mm_setr_epi8(0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15);
    let mut total = 0f32;
    for (((block, values), scale), sums) in blocks.iter().zip(values).zip(x.scales).zip(sums) {
        let bytes = load16(part(block, 192));
        // The lower half holds the even scales, the upper half the odd ones.
        let scales = _mm256_cvtepi8_epi16(_mm_shuffle_epi8(bytes, even_odd));
        let offset = _mm256_madd_epi16(_mm256_cvtepi8_epi16(bytes), load_i16(sums));
        let mut products = _mm256_sub_epi32(_mm256_setzero_si256(), _mm256_slli_epi32::<5>(offset));
        let values = values.as_chunks::<32>().0;
        for half in 0..2 {
            let (a, b) = (load(part(block, 64 * half)), load(part(block, 64 * half + 32)));
            let bits = load(part(block, 128 + 32 * half));
            let high = [_mm256_slli_epi16::<4>(bits), _mm256_slli_epi16::<2>(bits), bits, _mm256_srli_epi16::<2>(bits)];
            let low = [a, b, _mm256_srli_epi16::<4>(a), _mm256_srli_epi16::<4>(b)];
            for quarter in 0..4 {
                let q = _mm256_or_si256(_mm256_and_si256(low[quarter], mask), _mm256_and_si256(high[quarter], two));
                let pairs = _mm256_maddubs_epi16(q, load_signed(&values[4 * half + quarter]));
                products = _mm256_add_epi32(products, _mm256_madd_epi16(pairs, word(scales, 4 * half + quarter)));
            }
        }
        let d = _mm_cvtss_f32(halves(u32::from(u16::from_le_bytes([block[208], block[209]]))));
        total += scale * (d * sum(products) as f32);
    }
    total
}
