//! Products of batches with AVX-512 VNNI. A lane belongs to a row of weights, so that no sum crosses lanes.
//!
//! `dpbusd` multiplies unsigned with signed bytes and adds four products to 32 bits, where nothing saturates. Signed
//! weights are stored with 128 added, which the sums of activations take away again.
#![allow(unsafe_code)]
// Vectors in closures would go through memory: a closure that is called by a generic function is compiled without AVX-512.
#![allow(clippy::needless_range_loop)]
// Dozens of intrinsics.
#![allow(clippy::wildcard_imports)]

use std::arch::x86_64::*;
use std::ops::Range;

use super::avx2_tile::transpose;
use super::avx512_pack;
use super::tile::{Line, ROWS, Tile};
use crate::activations::{Interleaved, QuantisedRows};
use crate::block_type::BlockType;

/// Number of rows of activations in a group.
const COLUMNS: usize = 4;

/// Products of up to [`ROWS`] rows of weights with the rows `columns` of `x`, whose first is a multiple of 4, to `sums`
/// `[columns]`. The processor has AVX2, F16C, AVX-512 F and BW, and VNNI.
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
        unsafe {
            if !avx512_pack::pack(tile, weights, row_bytes, first, n) {
                pack(tile, weights, row_bytes, first, n);
            }
        }
        // Two groups at a time fill the registers.
        let groups = (columns.start / COLUMNS..).step_by(2).zip(sums.chunks_mut(2 * COLUMNS));
        for (group, sums) in groups {
            let mut eight = [[[0.0; ROWS]; COLUMNS]; 2];
            eight.as_flattened_mut()[..sums.len()].copy_from_slice(sums);
            let start = |group: usize| group * blocks + first;
            // SAFETY: as above.
            unsafe {
                if sums.len() > COLUMNS {
                    panel::<2>(tile, rows, [start(group), start(group + 1)], &mut eight);
                } else if let Some(four) = eight.first_chunk_mut::<1>() {
                    panel::<1>(tile, rows, [start(group)], four);
                }
            }
            sums.copy_from_slice(&eight.as_flattened()[..sums.len()]);
        }
    }
}

#[target_feature(enable = "avx2,f16c")]
fn pack(tile: &mut Tile, weights: &[u8], row_bytes: usize, first: usize, blocks: usize) {
    let flip = if tile.block_type().signed() { 128 } else { 0 };
    tile.pack(weights, row_bytes, first, blocks, |rows, at, lines, half| transpose(rows, at, lines, half, flip));
}

/// Adds the products of a tile with `G` groups of rows of `x`. In group `g`, block `start[g]` belongs to the first block of
/// the tile.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn panel<const G: usize>(tile: &Tile, x: &Interleaved, start: [usize; G], sums: &mut [[[f32; ROWS]; COLUMNS]; G]) {
    match tile.block_type() {
        BlockType::Q4_K | BlockType::Q5_K => groups::<G, 8, 8>(tile, x, start, sums),
        BlockType::Q6_K => groups::<G, 16, 4>(tile, x, start, sums),
        _ => of_32::<G>(tile, x, start, sums),
    }
}

/// Sums for every row of `x`, by group.
type GroupSums<const G: usize> = [[__m512i; COLUMNS]; G];

#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn load<T>(line: &Line<T>) -> __m512i {
    const { assert!(size_of::<Line<T>>() == 64) };
    // SAFETY: the reference is valid for 64 bytes of integers, and the load needs no alignment.
    unsafe { _mm512_loadu_si512(std::ptr::from_ref(line).cast()) }
}

#[inline]
#[target_feature(enable = "avx512f")]
pub(super) fn floats(values: &[f32; ROWS]) -> __m512 {
    // SAFETY: the reference is valid for 16 elements, and the load needs no alignment.
    unsafe { _mm512_loadu_ps(values.as_ptr()) }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn store_floats(v: __m512, values: &mut [f32; ROWS]) {
    // SAFETY: the reference is valid for 16 elements, and the store needs no alignment.
    unsafe { _mm512_storeu_ps(values.as_mut_ptr(), v) }
}

/// Adds the products of `LINES` times four values to `sums`.
#[inline]
#[target_feature(enable = "avx512f,avx512vnni")]
fn dot<const G: usize, const LINES: usize>(
    lines: &[Line<[u8; 64]>; LINES],
    x: [&[[[i8; 4]; 4]; LINES]; G],
    sums: &mut GroupSums<G>,
) {
    for k in 0..LINES {
        let w = load(&lines[k]);
        for g in 0..G {
            for c in 0..COLUMNS {
                let [a, b, c2, d] = x[g][k][c];
                let x = _mm512_set1_epi32(i32::from_le_bytes([a as u8, b as u8, c2 as u8, d as u8]));
                sums[g][c] = _mm512_dpbusd_epi32(sums[g][c], w, x);
            }
        }
    }
}

/// Blocks of 256 values with `GROUPS` groups of `LINES` times four values.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn groups<const G: usize, const GROUPS: usize, const LINES: usize>(
    tile: &Tile,
    x: &Interleaved,
    start: [usize; G],
    sums: &mut [[[f32; ROWS]; COLUMNS]; G],
) {
    let (offset, minimum) = (tile.block_type().offset() != 0, tile.block_type().has_minimum());
    let pairs = if GROUPS == 16 { &x.pairs_of_16 } else { &x.pairs_of_32 };
    let x_lines = x.values.as_chunks::<LINES>().0;
    for b in 0..tile.blocks {
        let lines = tile.integers[64 * b..64 * b + 64].as_chunks::<LINES>().0;
        let mut products = [[_mm512_setzero_si512(); COLUMNS]; G];
        for (i, (lines, scale)) in lines.iter().zip(&tile.scales[GROUPS * b..GROUPS * (b + 1)]).enumerate() {
            let mut values = [&x_lines[0]; G];
            for g in 0..G {
                values[g] = &x_lines[GROUPS * (start[g] + b) + i];
            }
            let mut dots = [[_mm512_setzero_si512(); COLUMNS]; G];
            dot(lines, values, &mut dots);
            // Each scale is there twice, as 16 bits: as 32 bits with its sign.
            let scale = _mm512_srai_epi32::<16>(load(scale));
            for g in 0..G {
                for c in 0..COLUMNS {
                    products[g][c] = _mm512_add_epi32(products[g][c], _mm512_mullo_epi32(dots[g][c], scale));
                }
            }
        }
        let mut minima = [[_mm512_setzero_si512(); COLUMNS]; G];
        let n = GROUPS / 2;
        for (p, factor) in tile.minima[n * b..n * (b + 1)].iter().enumerate() {
            let factor = load(factor);
            for g in 0..G {
                let pair = &pairs[n * (start[g] + b) + p];
                for c in 0..COLUMNS {
                    let product = _mm512_madd_epi16(factor, _mm512_set1_epi32(pair[c]));
                    minima[g][c] = _mm512_add_epi32(minima[g][c], product);
                }
            }
        }
        let (scales, block_minima) = (floats(&tile.block_scales[b].0), floats(&tile.block_minima[b].0));
        for g in 0..G {
            let x_scales = &x.scales[start[g] + b];
            for c in 0..COLUMNS {
                let mut products = products[g][c];
                if offset {
                    products = _mm512_sub_epi32(products, _mm512_slli_epi32::<5>(minima[g][c]));
                }
                let mut sum = _mm512_mul_ps(scales, _mm512_cvtepi32_ps(products));
                if minimum {
                    sum = _mm512_add_ps(sum, _mm512_mul_ps(block_minima, _mm512_cvtepi32_ps(minima[g][c])));
                }
                let sum = _mm512_mul_ps(_mm512_set1_ps(x_scales[c]), sum);
                store_floats(_mm512_add_ps(floats(&sums[g][c]), sum), &mut sums[g][c]);
            }
        }
    }
}

/// Blocks of 32 values.
#[inline]
#[target_feature(enable = "avx512f,avx512vnni")]
fn of_32<const G: usize>(tile: &Tile, x: &Interleaved, start: [usize; G], sums: &mut [[[f32; ROWS]; COLUMNS]; G]) {
    let minimum = tile.block_type().has_minimum();
    let offset = if tile.block_type().signed() { 128 } else { tile.block_type().offset() };
    let x_lines = x.values.as_chunks::<8>().0;
    for (b, lines) in tile.integers.as_chunks::<8>().0.iter().take(tile.blocks).enumerate() {
        let mut products = [[_mm512_setzero_si512(); COLUMNS]; G];
        let mut values = [&x_lines[0]; G];
        for g in 0..G {
            values[g] = &x_lines[start[g] + b];
            for c in 0..COLUMNS {
                products[g][c] = _mm512_set1_epi32(-offset * x.sums_of_32[start[g] + b][c]);
            }
        }
        dot(lines, values, &mut products);
        let (scales, block_minima) = (floats(&tile.block_scales[b].0), floats(&tile.block_minima[b].0));
        for g in 0..G {
            let (x_scales, x_sums) = (&x.scales[start[g] + b], &x.sums_of_32[start[g] + b]);
            for c in 0..COLUMNS {
                let mut sum = _mm512_mul_ps(scales, _mm512_cvtepi32_ps(products[g][c]));
                if minimum {
                    sum = _mm512_add_ps(sum, _mm512_mul_ps(block_minima, _mm512_set1_ps(x_sums[c] as f32)));
                }
                let sum = _mm512_mul_ps(_mm512_set1_ps(x_scales[c]), sum);
                store_floats(_mm512_add_ps(floats(&sums[g][c]), sum), &mut sums[g][c]);
            }
        }
    }
}
