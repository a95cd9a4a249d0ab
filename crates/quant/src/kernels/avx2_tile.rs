//! Products of batches with AVX2. A lane belongs to a row of weights, so that no sum crosses lanes.
//!
//! Products of pairs are added in 16 bits as long as they fit: 8 pairs of 2·15·127, 4 of 2·31·127 or 2 of 2·63·127 stay
//! below 2¹⁵.
#![allow(unsafe_code)]
// Vectors in closures would go through memory: a closure that is called by a generic function is compiled without AVX2.
#![allow(clippy::needless_range_loop)]
// Dozens of intrinsics.
#![allow(clippy::wildcard_imports)]

use std::arch::x86_64::*;
use std::ops::Range;

use super::avx2_rows::{load, load_i16};
use super::tile::{Line, ROWS, Tile};
use crate::activations::{Interleaved, QuantisedRows};
use crate::block_type::BlockType;
use crate::blocks::UnpackedBlock;

/// Number of rows of activations whose sums are in registers.
const COLUMNS: usize = 4;

/// Products of up to [`ROWS`] rows of weights with the rows `columns` of `x`, whose first is a multiple of 4, to `sums`
/// `[columns]`. The processor has AVX2 and F16C.
pub fn products(
    tile: &mut Tile,
    weights: &[u8],
    row_bytes: usize,
    x: &QuantisedRows,
    columns: Range<usize>,
    sums: &mut [[f32; ROWS]],
) {
    let Some(rows) = x.interleaved() else { return };
    sums.fill([0.0; ROWS]);
    let blocks = row_bytes / tile.block_type().bytes();
    for first in (0..blocks).step_by(tile.capacity()) {
        let n = tile.capacity().min(blocks - first);
        // SAFETY: this kernel runs only where `Kernel::is_available` found these features.
        unsafe { pack(tile, weights, row_bytes, first, n) };
        for (group, sums) in (columns.start / COLUMNS..).zip(sums.chunks_mut(COLUMNS)) {
            let mut four = [[0.0; ROWS]; COLUMNS];
            four[..sums.len()].copy_from_slice(sums);
            // SAFETY: as above.
            unsafe { panel(tile, rows, group * blocks + first, &mut four) };
            sums.copy_from_slice(&four[..sums.len()]);
        }
    }
}

#[target_feature(enable = "avx2,f16c")]
fn pack(tile: &mut Tile, weights: &[u8], row_bytes: usize, first: usize, blocks: usize) {
    tile.pack(weights, row_bytes, first, blocks, |rows, at, lines, half| transpose(rows, at, lines, half, 0));
}

/// Interleaves 32 integers, from `at` on, of eight rows in groups of four, after an exclusive or with `flip`.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn transpose(rows: &[UnpackedBlock], at: usize, lines: &mut [Line<[u8; 64]>], half: usize, flip: u8) {
    let (Some(rows), Some(lines)) = (rows.first_chunk::<8>(), lines.first_chunk_mut::<8>()) else { return };
    let flip = _mm256_set1_epi8(flip as i8);
    let mut r = [flip; 8];
    for i in 0..8 {
        r[i] = _mm256_xor_si256(load(&rows[i].integers.as_chunks::<32>().0[at / 32]), flip);
    }
    // Pairs of rows, then quadruples, within each half of 16 bytes; then the halves.
    let (a, b) = (_mm256_unpacklo_epi32(r[0], r[1]), _mm256_unpacklo_epi32(r[2], r[3]));
    let (c, d) = (_mm256_unpacklo_epi32(r[4], r[5]), _mm256_unpacklo_epi32(r[6], r[7]));
    let (e, f) = (_mm256_unpackhi_epi32(r[0], r[1]), _mm256_unpackhi_epi32(r[2], r[3]));
    let (g, h) = (_mm256_unpackhi_epi32(r[4], r[5]), _mm256_unpackhi_epi32(r[6], r[7]));
    let upper = [
        _mm256_unpacklo_epi64(a, b),
        _mm256_unpackhi_epi64(a, b),
        _mm256_unpacklo_epi64(e, f),
        _mm256_unpackhi_epi64(e, f),
    ];
    let lower = [
        _mm256_unpacklo_epi64(c, d),
        _mm256_unpackhi_epi64(c, d),
        _mm256_unpacklo_epi64(g, h),
        _mm256_unpackhi_epi64(g, h),
    ];
    for k in 0..4 {
        store(_mm256_permute2x128_si256::<0x20>(upper[k], lower[k]), &mut lines[k], half);
        store(_mm256_permute2x128_si256::<0x31>(upper[k], lower[k]), &mut lines[k + 4], half);
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn store(v: __m256i, line: &mut Line<[u8; 64]>, half: usize) {
    let bytes = &mut line.0.as_chunks_mut::<32>().0[half];
    // SAFETY: the reference is valid for 32 bytes, and the store needs no alignment.
    unsafe { _mm256_storeu_si256(bytes.as_mut_ptr().cast(), v) }
}

/// Adds the products of a tile with four rows of `x`, in which block `start` belongs to the first block of the tile.
#[target_feature(enable = "avx2")]
fn panel(tile: &Tile, x: &Interleaved, start: usize, sums: &mut [[f32; ROWS]; COLUMNS]) {
    match tile.block_type() {
        BlockType::Q4_K => groups::<8, 8, 8>(tile, x, start, sums),
        BlockType::Q5_K => groups::<8, 8, 4>(tile, x, start, sums),
        BlockType::Q6_K => groups::<16, 4, 2>(tile, x, start, sums),
        BlockType::Q4_0 | BlockType::Q4_1 => of_32::<8, false>(tile, x, start, sums),
        BlockType::Q5_0 | BlockType::Q5_1 => of_32::<4, false>(tile, x, start, sums),
        BlockType::Q8_0 | BlockType::IQ4_NL => of_32::<1, true>(tile, x, start, sums),
    }
}

/// Sums of vectors: one per row of `x` and half of the rows of weights.
type Sums = [[__m256i; 2]; COLUMNS];

/// Adds to `sums` the products of `CHUNK` times four values, whose pairs are added in 16 bits and then multiplied by
/// `scale`.
#[inline]
#[target_feature(enable = "avx2")]
fn chunk<const CHUNK: usize, const SIGNED: bool>(
    lines: &[Line<[u8; 64]>; CHUNK],
    x: &[[[i8; 4]; 4]; CHUNK],
    scale: [__m256i; 2],
    sums: &mut Sums,
) {
    let mut pairs = [[_mm256_setzero_si256(); 2]; COLUMNS];
    for k in 0..CHUNK {
        let w = line_bytes(&lines[k]);
        for c in 0..COLUMNS {
            let [a, b, c2, d] = x[k][c];
            let x = _mm256_set1_epi32(i32::from_le_bytes([a as u8, b as u8, c2 as u8, d as u8]));
            for half in 0..2 {
                let products = if SIGNED {
                    _mm256_maddubs_epi16(_mm256_abs_epi8(w[half]), _mm256_sign_epi8(x, w[half]))
                } else {
                    _mm256_maddubs_epi16(w[half], x)
                };
                pairs[c][half] = if k == 0 { products } else { _mm256_add_epi16(pairs[c][half], products) };
            }
        }
    }
    for c in 0..COLUMNS {
        for half in 0..2 {
            sums[c][half] = _mm256_add_epi32(sums[c][half], _mm256_madd_epi16(pairs[c][half], scale[half]));
        }
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn line_bytes(line: &Line<[u8; 64]>) -> [__m256i; 2] {
    let halves = line.0.as_chunks::<32>().0;
    [load(&halves[0]), load(&halves[1])]
}

#[inline]
#[target_feature(enable = "avx2")]
fn line_words(line: &Line<[i16; 32]>) -> [__m256i; 2] {
    let halves = line.0.as_chunks::<16>().0;
    [load_i16(&halves[0]), load_i16(&halves[1])]
}

#[inline]
#[target_feature(enable = "avx2")]
fn floats(values: &[f32; ROWS]) -> [__m256; 2] {
    // SAFETY: both loads are within the 16 elements of the array and need no alignment.
    unsafe { [_mm256_loadu_ps(values.as_ptr()), _mm256_loadu_ps(values.as_ptr().add(8))] }
}

#[inline]
#[target_feature(enable = "avx2")]
fn store_floats(v: [__m256; 2], values: &mut [f32; ROWS]) {
    // SAFETY: both stores are within the 16 elements of the array and need no alignment.
    unsafe {
        _mm256_storeu_ps(values.as_mut_ptr(), v[0]);
        _mm256_storeu_ps(values.as_mut_ptr().add(8), v[1]);
    }
}

/// Blocks of 256 values with `GROUPS` groups of `LINES` times four values; the products of `CHUNK` pairs fit into 16 bits.
#[inline]
#[target_feature(enable = "avx2")]
fn groups<const GROUPS: usize, const LINES: usize, const CHUNK: usize>(
    tile: &Tile,
    x: &Interleaved,
    start: usize,
    sums: &mut [[f32; ROWS]; COLUMNS],
) {
    let (offset, minimum) = (tile.block_type().offset() != 0, tile.block_type().has_minimum());
    let pairs = if GROUPS == 16 { &x.pairs_of_16 } else { &x.pairs_of_32 };
    for b in 0..tile.blocks {
        let lines = tile.integers[64 * b..64 * b + 64].as_chunks::<CHUNK>().0;
        let values = x.values[64 * (start + b)..64 * (start + b) + 64].as_chunks::<CHUNK>().0;
        let mut products = [[_mm256_setzero_si256(); 2]; COLUMNS];
        let scales = tile.scales[GROUPS * b..GROUPS * (b + 1)].iter();
        let chunks = lines.chunks_exact(LINES / CHUNK).zip(values.chunks_exact(LINES / CHUNK));
        for (scale, (lines, values)) in scales.zip(chunks) {
            let scale = line_words(scale);
            for (lines, values) in lines.iter().zip(values) {
                chunk::<CHUNK, false>(lines, values, scale, &mut products);
            }
        }
        let mut minima = [[_mm256_setzero_si256(); 2]; COLUMNS];
        let n = GROUPS / 2;
        for (factor, pair) in tile.minima[n * b..n * (b + 1)].iter().zip(&pairs[n * (start + b)..]) {
            let factor = line_words(factor);
            for c in 0..COLUMNS {
                let pair = _mm256_set1_epi32(pair[c]);
                for half in 0..2 {
                    minima[c][half] = _mm256_add_epi32(minima[c][half], _mm256_madd_epi16(factor[half], pair));
                }
            }
        }
        let (scales, block_minima) = (floats(&tile.block_scales[b].0), floats(&tile.block_minima[b].0));
        let x_scales = &x.scales[start + b];
        for c in 0..COLUMNS {
            let x_scale = _mm256_set1_ps(x_scales[c]);
            let mut total = floats(&sums[c]);
            for half in 0..2 {
                let mut products = products[c][half];
                if offset {
                    products = _mm256_sub_epi32(products, _mm256_slli_epi32::<5>(minima[c][half]));
                }
                let mut sum = _mm256_mul_ps(scales[half], _mm256_cvtepi32_ps(products));
                if minimum {
                    sum = _mm256_add_ps(sum, _mm256_mul_ps(block_minima[half], _mm256_cvtepi32_ps(minima[c][half])));
                }
                total[half] = _mm256_add_ps(total[half], _mm256_mul_ps(x_scale, sum));
            }
            store_floats(total, &mut sums[c]);
        }
    }
}

/// Blocks of 32 values; the products of `CHUNK` pairs fit into 16 bits.
#[inline]
#[target_feature(enable = "avx2")]
fn of_32<const CHUNK: usize, const SIGNED: bool>(
    tile: &Tile,
    x: &Interleaved,
    start: usize,
    sums: &mut [[f32; ROWS]; COLUMNS],
) {
    let (offset, minimum) = (tile.block_type().offset(), tile.block_type().has_minimum());
    let ones = [_mm256_set1_epi16(1); 2];
    for b in 0..tile.blocks {
        let lines = tile.integers[8 * b..8 * b + 8].as_chunks::<CHUNK>().0;
        let values = x.values[8 * (start + b)..8 * (start + b) + 8].as_chunks::<CHUNK>().0;
        let (x_sums, x_scales) = (&x.sums_of_32[start + b], &x.scales[start + b]);
        let mut products = [[_mm256_setzero_si256(); 2]; COLUMNS];
        for c in 0..COLUMNS {
            products[c] = [_mm256_set1_epi32(-offset * x_sums[c]); 2];
        }
        for (lines, values) in lines.iter().zip(values) {
            chunk::<CHUNK, SIGNED>(lines, values, ones, &mut products);
        }
        let (scales, block_minima) = (floats(&tile.block_scales[b].0), floats(&tile.block_minima[b].0));
        for c in 0..COLUMNS {
            let x_scale = _mm256_set1_ps(x_scales[c]);
            let mut total = floats(&sums[c]);
            for half in 0..2 {
                let mut sum = _mm256_mul_ps(scales[half], _mm256_cvtepi32_ps(products[c][half]));
                if minimum {
                    let minima = _mm256_set1_ps(x_sums[c] as f32);
                    sum = _mm256_add_ps(sum, _mm256_mul_ps(block_minima[half], minima));
                }
                total[half] = _mm256_add_ps(total[half], _mm256_mul_ps(x_scale, sum));
            }
            store_floats(total, &mut sums[c]);
        }
    }
}
