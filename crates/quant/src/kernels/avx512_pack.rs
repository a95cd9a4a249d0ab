//! Unpacking of tiles with AVX-512: the packed bytes of sixteen rows are transposed before they are taken apart, so that every step
//! works on all rows at once.
#![allow(unsafe_code)]
// Vectors in closures would go through memory: a closure that is called by a generic function is compiled without AVX-512.
#![allow(clippy::needless_range_loop)]
// Dozens of intrinsics.
#![allow(clippy::wildcard_imports)]

use std::arch::x86_64::*;

use super::avx512_tile::{floats, load as load_line};
use super::tile::{Line, ROWS, Tile};
use crate::block_type::BlockType;
use crate::blocks::IQ4_NL;

/// Number of bytes of a vector.
const BYTES: usize = 64;

/// Number of values of a block whose groups have scales.
const BLOCK: usize = 256;

/// Sixteen vectors: rows of sixteen 32-bit integers, or their columns.
type Square = [__m512i; ROWS];

/// Unpacks `blocks` blocks of [`ROWS`] rows, from block `first` on, to the same bytes as [`Tile::pack`]. Integers of signed types
/// get 128 added. False if there are fewer rows or blocks than it takes at a time, and then the tile is not as it should be.
#[target_feature(enable = "avx512f,avx512bw")]
pub fn pack(tile: &mut Tile, weights: &[u8], row_bytes: usize, first: usize, blocks: usize) -> bool {
    let block_type = tile.block_type();
    let mut rows = [&weights[..0]; ROWS];
    let mut chunks = weights.chunks_exact(row_bytes);
    for row in &mut rows {
        let Some(chunk) = chunks.next() else { return false };
        *row = &chunk[first * block_type.bytes()..];
    }
    tile.blocks = blocks;
    let step = match block_type {
        BlockType::Q4_K | BlockType::Q5_K | BlockType::Q6_K => 1,
        BlockType::Q8_0 => 2,
        _ => 4,
    };
    if !blocks.is_multiple_of(step) {
        return false;
    }
    for b in (0..blocks).step_by(step) {
        match block_type {
            BlockType::Q4_K | BlockType::Q5_K => four_or_five_bits_of_256(tile, &rows, b),
            BlockType::Q6_K => six_bits_of_256(tile, &rows, b),
            BlockType::Q8_0 => bytes_of_32(tile, &rows, b),
            _ => few_bits_of_32(tile, &rows, b),
        }
    }
    true
}

/// Writes the values of an unpacked tile to `out` `[values, ROWS]`, the same bits as [`super::dequantise()`].
#[target_feature(enable = "avx512f,avx512bw")]
pub fn dequantise(tile: &Tile, out: &mut [[f32; ROWS]]) {
    let block_type = tile.block_type();
    let (values, groups) = (block_type.values(), block_type.groups());
    let offset = _mm512_set1_epi32(if block_type.signed() { 128 } else { block_type.offset() });
    for (b, out) in out.chunks_exact_mut(values).enumerate() {
        let lines = &tile.integers[b * values / 4..(b + 1) * values / 4];
        let (block_scale, block_minimum) = (floats(&tile.block_scales[b].0), floats(&tile.block_minima[b].0));
        let groups = lines.chunks_exact(values / 4 / groups).zip(out.chunks_exact_mut(values / groups));
        for (g, (lines, out)) in groups.enumerate() {
            let (mut scale, mut minimum) = (block_scale, block_minimum);
            if values == BLOCK {
                let factor = |pair: &Line<[i16; 32]>, shift: i32| {
                    let pair = _mm512_sllv_epi32(load_line(pair), _mm512_set1_epi32(shift));
                    _mm512_cvtepi32_ps(_mm512_srai_epi32::<16>(pair))
                };
                scale = _mm512_mul_ps(block_scale, factor(&tile.scales[b * block_type.groups() + g], 0));
                let pair = &tile.minima[b * block_type.groups() / 2 + g / 2];
                minimum = _mm512_mul_ps(block_minimum, factor(pair, if g % 2 == 0 { 16 } else { 0 }));
            }
            for (line, out) in lines.iter().zip(out.as_chunks_mut::<4>().0) {
                let line = load_line(line);
                for (i, out) in out.iter_mut().enumerate() {
                    let bits = _mm512_srlv_epi32(line, _mm512_set1_epi32(8 * i as i32));
                    let integer = _mm512_sub_epi32(_mm512_and_si512(bits, _mm512_set1_epi32(0xff)), offset);
                    let mut value = _mm512_mul_ps(scale, _mm512_cvtepi32_ps(integer));
                    if block_type.has_minimum() {
                        value = _mm512_add_ps(value, minimum);
                    }
                    // SAFETY: the array has 16 elements, and the store needs no alignment.
                    unsafe { _mm512_storeu_ps(out.as_mut_ptr(), value) };
                }
            }
        }
    }
}

/// Writes the columns of sixteen rows of numbers to `out[0]`, `out[1]`, ….
#[target_feature(enable = "avx512f")]
pub fn write_columns(rows: &[[f32; ROWS]; ROWS], out: &mut [[f32; ROWS]]) {
    let mut square = [_mm512_setzero_si512(); ROWS];
    for r in 0..ROWS {
        // SAFETY: the array has 64 bytes, and the load needs no alignment.
        square[r] = unsafe { _mm512_loadu_si512(rows[r].as_ptr().cast()) };
    }
    for (out, v) in out.iter_mut().zip(transpose(&square)) {
        // SAFETY: the array has 64 bytes, and the store needs no alignment.
        unsafe { _mm512_storeu_si512(out.as_mut_ptr().cast(), v) };
    }
}

/// A block of `Q4_K` or `Q5_K`: halves and scales, for `Q5_K` 32 bytes with the fifth bits, and 128 bytes with four bits a value.
#[target_feature(enable = "avx512f,avx512bw")]
fn four_or_five_bits_of_256(tile: &mut Tile, rows: &[&[u8]; ROWS], b: usize) {
    let is_five = tile.block_type() == BlockType::Q5_K;
    let at = b * tile.block_type().bytes();
    let [halves, scales, minima, upper, ..] = columns(rows, at);
    let low = at + if is_five { 48 } else { 16 };
    let low = [columns(rows, low), columns(rows, low + BYTES)];
    let high = if is_five { Some(columns(rows, at + 16)) } else { None };
    let lines = &mut tile.integers[64 * b..64 * (b + 1)];
    for pair in 0..4 {
        for i in 0..8 {
            let [mut first, mut second] = nibbles(low[pair / 2][8 * (pair % 2) + i]);
            if let Some(high) = &high {
                first = _mm512_or_si512(first, fifth(high[i], 2 * pair));
                second = _mm512_or_si512(second, fifth(high[i], 2 * pair + 1));
            }
            store(first, &mut lines[16 * pair + i]);
            store(second, &mut lines[16 * pair + 8 + i]);
        }
    }
    // Six bits each (`get_scale_min_k4`): of the first four groups in one word, of the others the upper two bits are apart.
    let (six, four, two) = (_mm512_set1_epi8(0x3f), _mm512_set1_epi8(15), _mm512_set1_epi8(3));
    let joined = |words: __m512i, low: __m512i| {
        let high = _mm512_slli_epi16::<4>(_mm512_and_si512(_mm512_srli_epi16::<6>(words), two));
        [_mm512_and_si512(words, six), _mm512_or_si512(_mm512_and_si512(low, four), high)]
    };
    let (scales, minima) = (joined(scales, upper), joined(minima, _mm512_srli_epi16::<4>(upper)));
    let of_group = |words: [__m512i; 2], g: usize| {
        let shifted = _mm512_srlv_epi32(words[g / 4], _mm512_set1_epi32(8 * (g % 4) as i32));
        _mm512_and_si512(shifted, _mm512_set1_epi32(0xff))
    };
    for (g, line) in tile.scales[8 * b..8 * (b + 1)].iter_mut().enumerate() {
        let scale = of_group(scales, g);
        store(pair(scale, scale), line);
    }
    for (p, line) in tile.minima[4 * b..4 * (b + 1)].iter_mut().enumerate() {
        store(pair(of_group(minima, 2 * p), of_group(minima, 2 * p + 1)), line);
    }
    let half = |v: __m512i| _mm512_cvtph_ps(_mm512_cvtepi32_epi16(v));
    let minimum = _mm512_castps_si512(half(_mm512_srli_epi32::<16>(halves)));
    store(_mm512_castps_si512(half(halves)), &mut tile.block_scales[b]);
    store(_mm512_xor_si512(minimum, _mm512_set1_epi32(i32::MIN)), &mut tile.block_minima[b]);
}

/// A block of `Q6_K`: 128 bytes with four bits a value, 64 with two more, 16 scales, and the scale of the block.
#[target_feature(enable = "avx512f,avx512bw")]
fn six_bits_of_256(tile: &mut Tile, rows: &[&[u8]; ROWS], b: usize) {
    let at = b * tile.block_type().bytes();
    let high = columns(rows, at + 128);
    let lines = &mut tile.integers[64 * b..64 * (b + 1)];
    let two = _mm512_set1_epi8(0x30);
    for half in 0..2 {
        let low = columns(rows, at + BYTES * half);
        for i in 0..8 {
            let (bits, first, second) = (high[8 * half + i], nibbles(low[i]), nibbles(low[8 + i]));
            let shifted =
                [_mm512_slli_epi16::<4>(bits), _mm512_slli_epi16::<2>(bits), bits, _mm512_srli_epi16::<2>(bits)];
            let low = [first[0], second[0], first[1], second[1]];
            for j in 0..4 {
                let value = _mm512_or_si512(low[j], _mm512_and_si512(shifted[j], two));
                store(value, &mut lines[32 * half + 8 * j + i]);
            }
        }
    }
    // The scales are the last sixteen of these bytes.
    let [.., s0, s1, s2, s3] = columns(rows, at + 144);
    let words = [s0, s1, s2, s3];
    let of_group = |g: usize| {
        let shifted = _mm512_sllv_epi32(words[g / 4], _mm512_set1_epi32(24 - 8 * (g % 4) as i32));
        _mm512_srai_epi32::<24>(shifted)
    };
    for (g, line) in tile.scales[16 * b..16 * (b + 1)].iter_mut().enumerate() {
        store(pair(of_group(g), of_group(g)), line);
    }
    for (p, line) in tile.minima[8 * b..8 * (b + 1)].iter_mut().enumerate() {
        store(pair(of_group(2 * p), of_group(2 * p + 1)), line);
    }
    store(halves(rows, at + 208), &mut tile.block_scales[b]);
}

/// Two blocks of `Q8_0`.
#[target_feature(enable = "avx512f,avx512bw")]
fn bytes_of_32(tile: &mut Tile, rows: &[&[u8]; ROWS], b: usize) {
    let bytes = tile.block_type().bytes();
    let mut square = [_mm512_setzero_si512(); ROWS];
    for r in 0..ROWS {
        let (first, second) = (load_32(&rows[r][b * bytes + 2..]), load_32(&rows[r][(b + 1) * bytes + 2..]));
        square[r] = _mm512_inserti64x4::<1>(_mm512_castsi256_si512(first), second);
    }
    let square = transpose(&square);
    for (line, v) in tile.integers[8 * b..8 * (b + 2)].iter_mut().zip(square) {
        store(_mm512_xor_si512(v, _mm512_set1_epi8(i8::MIN)), line);
    }
    for b in b..b + 2 {
        store(halves(rows, b * bytes), &mut tile.block_scales[b]);
    }
}

/// Four blocks of a type with 32 values of four or five bits.
#[target_feature(enable = "avx512f,avx512bw")]
fn few_bits_of_32(tile: &mut Tile, rows: &[&[u8]; ROWS], b: usize) {
    let block_type = tile.block_type();
    let bytes = block_type.bytes();
    let mut square = [_mm512_setzero_si512(); ROWS];
    for r in 0..ROWS {
        // The last 16 bytes of four blocks.
        let row = &rows[r][(b + 1) * bytes - 16..];
        let mut v = _mm512_castsi128_si512(load_16(row));
        v = _mm512_inserti32x4::<1>(v, load_16(&row[bytes..]));
        v = _mm512_inserti32x4::<2>(v, load_16(&row[2 * bytes..]));
        square[r] = _mm512_inserti32x4::<3>(v, load_16(&row[3 * bytes..]));
    }
    let square = transpose(&square);
    let table = _mm512_broadcast_i32x4(load_16(&IQ4_NL.map(|value| value as u8 ^ 128)));
    for j in 0..4 {
        let at = (b + j) * bytes;
        let high = match block_type {
            BlockType::Q5_0 => Some(words(rows, at + 2)),
            BlockType::Q5_1 => Some(words(rows, at + 4)),
            _ => None,
        };
        for i in 0..4 {
            let mut values = nibbles(square[4 * j + i]);
            for half in 0..2 {
                if let Some(high) = high {
                    values[half] = _mm512_or_si512(values[half], fifths(high, 16 * half + 4 * i));
                }
                if block_type == BlockType::IQ4_NL {
                    values[half] = _mm512_shuffle_epi8(table, values[half]);
                }
                store(values[half], &mut tile.integers[8 * (b + j) + 4 * half + i]);
            }
        }
        store(halves(rows, at), &mut tile.block_scales[b + j]);
        if block_type.has_minimum() {
            store(halves(rows, at + 2), &mut tile.block_minima[b + j]);
        }
    }
}

/// The low and the high four bits of every byte.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn nibbles(v: __m512i) -> [__m512i; 2] {
    let low = _mm512_set1_epi8(15);
    [_mm512_and_si512(v, low), _mm512_and_si512(_mm512_srli_epi16::<4>(v), low)]
}

/// Bit `bit` of every byte, as its fifth bit.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn fifth(v: __m512i, bit: usize) -> __m512i {
    let shifted = _mm512_srlv_epi16(v, _mm512_set1_epi16(bit as i16));
    _mm512_slli_epi16::<4>(_mm512_and_si512(shifted, _mm512_set1_epi8(1)))
}

/// Four bits of every 32-bit integer, from `bit` on, as the fifth bits of its bytes.
#[inline]
#[target_feature(enable = "avx512f")]
fn fifths(v: __m512i, bit: usize) -> __m512i {
    let four = _mm512_and_si512(_mm512_srlv_epi32(v, _mm512_set1_epi32(bit as i32)), _mm512_set1_epi32(15));
    // Bit `i` moves to bit `8 i`.
    let spread = _mm512_mullo_epi32(four, _mm512_set1_epi32(0x0020_4081));
    _mm512_slli_epi32::<4>(_mm512_and_si512(spread, _mm512_set1_epi32(0x0101_0101)))
}

/// The low halves of two vectors of 32-bit integers as pairs of 16 bits.
#[inline]
#[target_feature(enable = "avx512f")]
fn pair(first: __m512i, second: __m512i) -> __m512i {
    _mm512_or_si512(_mm512_and_si512(first, _mm512_set1_epi32(0xffff)), _mm512_slli_epi32::<16>(second))
}

/// The numbers in half precision at `at` of every row, as the bits of `f32`.
#[inline]
#[target_feature(enable = "avx512f")]
fn halves(rows: &[&[u8]; ROWS], at: usize) -> __m512i {
    let mut bits = [[0; 2]; ROWS];
    for r in 0..ROWS {
        bits[r].copy_from_slice(&rows[r][at..at + 2]);
    }
    _mm512_castps_si512(_mm512_cvtph_ps(load_32(bits.as_flattened())))
}

/// The 32 bits at `at` of every row.
#[inline]
#[target_feature(enable = "avx512f")]
fn words(rows: &[&[u8]; ROWS], at: usize) -> __m512i {
    let mut bits = [[0; 4]; ROWS];
    for r in 0..ROWS {
        bits[r].copy_from_slice(&rows[r][at..at + 4]);
    }
    load(bits.as_flattened())
}

/// 64 bytes of every row, from `at` on: vector `i` has bytes `4 i` to `4 i + 3` of all rows.
#[inline]
#[target_feature(enable = "avx512f")]
fn columns(rows: &[&[u8]; ROWS], at: usize) -> Square {
    let mut square = [_mm512_setzero_si512(); ROWS];
    for r in 0..ROWS {
        square[r] = load(&rows[r][at..]);
    }
    transpose(&square)
}

/// The columns of sixteen rows of 32-bit integers.
#[inline]
#[target_feature(enable = "avx512f")]
fn transpose(rows: &Square) -> Square {
    // Vector `c` of a quarter has, in each 128 bits, an integer of four rows.
    let mut quarters = [[_mm512_setzero_si512(); 4]; 4];
    for q in 0..4 {
        let [a, b, c, d] = [rows[4 * q], rows[4 * q + 1], rows[4 * q + 2], rows[4 * q + 3]];
        let (low, high) = (_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
        let (low2, high2) = (_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
        quarters[q] = [
            _mm512_unpacklo_epi64(low, low2),
            _mm512_unpackhi_epi64(low, low2),
            _mm512_unpacklo_epi64(high, high2),
            _mm512_unpackhi_epi64(high, high2),
        ];
    }
    let mut columns = *rows;
    for c in 0..4 {
        let [q0, q1, q2, q3] = [quarters[0][c], quarters[1][c], quarters[2][c], quarters[3][c]];
        let (a, b) = (_mm512_shuffle_i32x4::<0x44>(q0, q1), _mm512_shuffle_i32x4::<0x44>(q2, q3));
        columns[c] = _mm512_shuffle_i32x4::<0x88>(a, b);
        columns[4 + c] = _mm512_shuffle_i32x4::<0xdd>(a, b);
        let (a, b) = (_mm512_shuffle_i32x4::<0xee>(q0, q1), _mm512_shuffle_i32x4::<0xee>(q2, q3));
        columns[8 + c] = _mm512_shuffle_i32x4::<0x88>(a, b);
        columns[12 + c] = _mm512_shuffle_i32x4::<0xdd>(a, b);
    }
    columns
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load(bytes: &[u8]) -> __m512i {
    let bytes = &bytes[..BYTES];
    // SAFETY: the slice has 64 bytes, and the load needs no alignment.
    unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load_32(bytes: &[u8]) -> __m256i {
    let bytes = &bytes[..32];
    // SAFETY: the slice has 32 bytes, and the load needs no alignment.
    unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load_16(bytes: &[u8]) -> __m128i {
    let bytes = &bytes[..16];
    // SAFETY: the slice has 16 bytes, and the load needs no alignment.
    unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn store<T>(v: __m512i, line: &mut Line<T>) {
    const { assert!(size_of::<Line<T>>() == BYTES) };
    // SAFETY: the reference is valid for 64 bytes of numbers, and the store needs no alignment.
    unsafe { _mm512_storeu_si512(std::ptr::from_mut(line).cast(), v) }
}
