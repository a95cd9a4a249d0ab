//! Matrix products of `f32` matrices whose elements are rounded to bfloat16 on the way, with sums in `f32`, on processors
//! with AVX512-BF16.
//!
//! The blocks are those of Goto & van de Geijn (2008): blocks of both operands are packed into panels that fit into the
//! caches, and a kernel keeps a tile of the result in registers. Panels hold pairs of consecutive elements along the
//! inner dimension, because an instruction multiplies pairs and adds both products to an `f32`. The order of sums does
//! not depend on the number of threads.

use std::arch::x86_64::{
    __m512, __m512bh, __m512i, __mmask16, _mm512_add_ps, _mm512_castsi512_si256, _mm512_cvtepu16_epi32,
    _mm512_cvtne2ps_pbh, _mm512_dpbf16_ps, _mm512_extracti64x4_epi64, _mm512_loadu_si512, _mm512_mask_storeu_epi32,
    _mm512_mask_storeu_ps, _mm512_maskz_loadu_ps, _mm512_or_si512, _mm512_set1_epi32, _mm512_setzero_ps,
    _mm512_setzero_si512, _mm512_shuffle_i32x4, _mm512_slli_epi32, _mm512_unpackhi_epi32, _mm512_unpackhi_epi64,
    _mm512_unpacklo_epi32, _mm512_unpacklo_epi64,
};
use std::mem::transmute;
use std::ops::Range;

use rayon::prelude::*;

use super::View;

/// Number of `f32` elements of a vector.
const LANES: usize = 16;
/// Rows of the tile of the result that the kernel keeps in registers.
const TILE_ROWS: usize = 12;
/// Columns of this tile: two vectors.
const TILE_COLUMNS: usize = 2 * LANES;
/// Elements along the inner dimension that are packed at a time.
const DEPTH: usize = 384;
/// Rows of `a` whose panels stay in the cache of a core while it goes over the panels of `b`.
const ROWS: usize = 40 * TILE_ROWS;
/// Columns of `b` that are packed at a time.
const COLUMNS: usize = 64 * TILE_COLUMNS;

/// Whether the processor has the instructions for products in bfloat16.
pub fn has_bf16() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512bf16")
}

/// Lines (rows of `a`, columns of `b`) that are packed into panels: element `k` of line `i` is `data[i * line + k * step]`.
#[derive(Clone, Copy)]
struct Lines<'a> {
    data: &'a [f32],
    line: usize,
    step: usize,
    count: usize,
}

impl Lines<'_> {
    /// The lines from `first` on, from their element `start` on.
    fn from(self, first: usize, start: usize) -> Self {
        Self { data: &self.data[first * self.line + start * self.step..], count: self.count - first, ..self }
    }

    /// Packs `depth` elements of every line into panels of `WIDTH` lines, on all threads.
    fn pack<const WIDTH: usize>(self, depth: usize, panels: &mut [u32]) {
        let size = depth.div_ceil(2) * WIDTH;
        panels.par_chunks_mut(size).enumerate().with_min_len(4).for_each(|(p, panel)| {
            let lines = self.from(p * WIDTH, 0);
            // SAFETY: every public function of this file first asks the processor for these features.
            unsafe { pack::<WIDTH>(Lines { count: lines.count.min(WIDTH), ..lines }, depth, panel) }
        });
    }
}

/// The mask of the first `count` lanes; all lanes if there are fewer.
fn first(count: usize) -> __mmask16 {
    if count >= LANES { __mmask16::MAX } else { (1 << count) - 1 }
}

/// Packs at most `WIDTH` lines: the pair of the elements `2k` and `2k + 1` of line `i` becomes `panel[k * WIDTH + i]`, the
/// first in the lower half. Missing lines and a missing last element are 0.
#[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx512bf16")]
fn pack<const WIDTH: usize>(lines: Lines, depth: usize, panel: &mut [u32]) {
    for left in (0..WIDTH).step_by(LANES) {
        let width = LANES.min(WIDTH - left);
        let count = width.min(lines.count.saturating_sub(left));
        let lines = Lines { count, ..lines.from(left.min(lines.count - 1), 0) };
        if lines.step == 1 {
            for start in (0..depth).step_by(2 * LANES) {
                let pairs = transposed_pairs(lines, start, depth.min(start + 2 * LANES));
                let rows = panel[start / 2 * WIDTH..].chunks_mut(WIDTH);
                for (pairs, row) in pairs.into_iter().zip(rows) {
                    store(&mut row[left..left + width], pairs);
                }
            }
        } else {
            for (k, row) in panel.chunks_exact_mut(WIDTH).enumerate() {
                store(&mut row[left..left + width], pairs_across(lines, 2 * k, depth));
            }
        }
    }
}

/// Writes the first lanes of a vector, at most 16.
#[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx512bf16")]
fn store(to: &mut [u32], lanes: __m512i) {
    // SAFETY: the mask has no lane beyond the slice.
    unsafe { _mm512_mask_storeu_epi32(to.as_mut_ptr().cast(), first(to.len()), lanes) }
}

/// The first elements of a slice, at most 16; the other lanes are 0.
#[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx512bf16")]
fn load(from: &[f32]) -> __m512 {
    // SAFETY: the mask has no lane beyond the slice.
    unsafe { _mm512_maskz_loadu_ps(first(from.len()), from.as_ptr()) }
}

/// Two vectors in bfloat16, those of `low` first.
#[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx512bf16")]
fn rounded(low: __m512, high: __m512) -> __m512i {
    // SAFETY: both types are 512 bits without invalid values.
    unsafe { transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(high, low)) }
}

/// The pairs from element `start` to before `end` of at most 16 lines whose elements are contiguous: vector `k` has the
/// pair `k` of every line.
#[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx512bf16")]
fn transposed_pairs(lines: Lines, start: usize, end: usize) -> [__m512i; LANES] {
    let mut pairs = [_mm512_setzero_si512(); LANES];
    for (i, pairs) in pairs.iter_mut().enumerate().take(lines.count) {
        let values = &lines.data[i * lines.line + start..i * lines.line + end];
        let (low, high) = values.split_at(values.len().min(LANES));
        *pairs = rounded(load(low), load(high));
    }
    transposed(&pairs)
}

/// The pair of the elements `k` and `k + 1` of at most 16 lines.
#[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx512bf16")]
fn pairs_across(lines: Lines, k: usize, depth: usize) -> __m512i {
    let element = |k: usize| {
        if k >= depth || lines.count == 0 {
            return _mm512_setzero_ps();
        }
        let at = k * lines.step;
        if lines.line == 1 {
            return load(&lines.data[at..at + lines.count]);
        }
        let mut values = [0f32; LANES];
        for (i, value) in values.iter_mut().enumerate().take(lines.count) {
            *value = lines.data[at + i * lines.line];
        }
        load(&values)
    };
    let both = rounded(element(k), element(k + 1));
    let low = _mm512_cvtepu16_epi32(_mm512_castsi512_si256(both));
    let high = _mm512_cvtepu16_epi32(_mm512_extracti64x4_epi64::<1>(both));
    _mm512_or_si512(low, _mm512_slli_epi32::<16>(high))
}

/// Transposes a matrix of 16 × 16 elements of 32 bits: first within blocks of 4 × 4, then the blocks.
#[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx512bf16")]
fn transposed(rows: &[__m512i; LANES]) -> [__m512i; LANES] {
    let (mut r, mut t) = (*rows, *rows);
    for i in (0..LANES).step_by(2) {
        t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
        t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
    }
    for i in (0..LANES).step_by(4) {
        r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
        r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
        r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
        r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
    }
    for c in 0..4 {
        t[c] = _mm512_shuffle_i32x4::<0x88>(r[c], r[c + 4]);
        t[c + 4] = _mm512_shuffle_i32x4::<0xdd>(r[c], r[c + 4]);
        t[c + 8] = _mm512_shuffle_i32x4::<0x88>(r[c + 8], r[c + 12]);
        t[c + 12] = _mm512_shuffle_i32x4::<0xdd>(r[c + 8], r[c + 12]);
    }
    for c in 0..4 {
        r[c] = _mm512_shuffle_i32x4::<0x88>(t[c], t[c + 8]);
        r[c + 8] = _mm512_shuffle_i32x4::<0xdd>(t[c], t[c + 8]);
        r[c + 4] = _mm512_shuffle_i32x4::<0x88>(t[c + 4], t[c + 12]);
        r[c + 12] = _mm512_shuffle_i32x4::<0xdd>(t[c + 4], t[c + 12]);
    }
    r
}

/// Pairs in the form in which they are multiplied.
#[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx512bf16")]
fn as_bf16(pairs: __m512i) -> __m512bh {
    // SAFETY: both types are 512 bits without invalid values.
    unsafe { transmute::<__m512i, __m512bh>(pairs) }
}

/// The pairs of a slice.
///
/// # Safety
/// The slice has 16 elements.
#[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx512bf16")]
unsafe fn load_pairs(from: &[u32]) -> __m512bh {
    // SAFETY: the caller vouches for the length.
    as_bf16(unsafe { _mm512_loadu_si512(from.as_ptr().cast()) })
}

/// The result, which threads write at the same time, each its own tiles.
#[derive(Clone, Copy)]
struct Tiles {
    start: *mut f32,
    width: usize,
    rows: usize,
    columns: usize,
    /// Whether products are added to what is there.
    add: bool,
}

// SAFETY: every tile is computed by one task, and tiles do not overlap.
unsafe impl Send for Tiles {}
// SAFETY: as above.
unsafe impl Sync for Tiles {}

impl Tiles {
    /// Computes the tile whose first element is `(row, column)` from a panel of each operand.
    ///
    /// # Safety
    /// The processor has bfloat16 instructions. The panels have the same depth, the tile starts inside the result, whose
    /// memory may be written, and no other thread accesses the tile.
    #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx512bf16")]
    unsafe fn compute(self, row: usize, column: usize, a: &[u32], b: &[u32]) {
        let mut sums = [[_mm512_setzero_ps(); 2]; TILE_ROWS];
        for (a, b) in a.chunks_exact(TILE_ROWS).zip(b.chunks_exact(TILE_COLUMNS)) {
            let (left, right) = b.split_at(LANES);
            // SAFETY: both are vectors of pairs.
            let (left, right) = unsafe { (load_pairs(left), load_pairs(right)) };
            for (a, sums) in a.iter().zip(&mut sums) {
                let a = as_bf16(_mm512_set1_epi32(a.cast_signed()));
                sums[0] = _mm512_dpbf16_ps(sums[0], a, left);
                sums[1] = _mm512_dpbf16_ps(sums[1], a, right);
            }
        }
        for (i, sums) in sums.into_iter().enumerate().take(self.rows - row) {
            for (v, sum) in sums.into_iter().enumerate() {
                let mask = first((self.columns - column).saturating_sub(v * LANES));
                let at = self.start.wrapping_add((row + i) * self.width + column + v * LANES);
                // SAFETY: the mask has no lane beyond the result, in which the caller lets this thread write.
                unsafe {
                    let before = if self.add { _mm512_maskz_loadu_ps(mask, at) } else { _mm512_setzero_ps() };
                    _mm512_mask_storeu_ps(at, mask, _mm512_add_ps(before, sum));
                }
            }
        }
    }
}

/// Does what [`super::product`] does, with the elements of `a` and `b` rounded to bfloat16 (to nearest, ties to even) and
/// sums in `f32`.
///
/// # Panics
/// When a view is too small for its shape, and on a processor without the instructions ([`has_bf16`]).
pub fn product_bf16([m, k, n]: [usize; 3], a: View, b: View) -> Vec<f32> {
    let mut out: Vec<f32> = Vec::with_capacity(m * n);
    // SAFETY: `m · n` elements are reserved, and each of them is written without being read, since `add` is false.
    unsafe {
        matmul_into([m, k, n], a, b, Tiles { start: out.as_mut_ptr(), width: n, rows: m, columns: n, add: false });
        out.set_len(m * n);
    }
    out
}

/// Does what [`super::matmul`] does on all threads, with the elements of `a` and `b` rounded to bfloat16 (to nearest, ties
/// to even; denormal numbers are 0) and sums in `f32`.
///
/// # Panics
/// When a view is too small for its shape, and on a processor without the instructions ([`has_bf16`]).
pub fn matmul_bf16([m, k, n]: [usize; 3], a: View, b: View, out: &mut [f32], width: usize, add: bool) {
    assert!(n <= width && (m == 0 || (m - 1) * width + n <= out.len()), "matmul_bf16: output smaller than its shape");
    // SAFETY: the assertion bounds the result, which this function alone holds.
    unsafe { matmul_into([m, k, n], a, b, Tiles { start: out.as_mut_ptr(), width, rows: m, columns: n, add }) }
}

/// # Safety
/// The result may be written (with `add`, also read) at `i · width + j` for all `i < rows`, `j < columns`.
unsafe fn matmul_into([m, k, n]: [usize; 3], a: View, b: View, out: Tiles) {
    assert!(has_bf16(), "this processor has no instructions for bfloat16");
    assert!(a.holds(m, k) && b.holds(k, n), "matmul_bf16: operand smaller than its shape");
    if m == 0 || n == 0 {
        return;
    }
    let a = Lines { data: a.data, line: a.row, step: a.col, count: m };
    let b = Lines { data: b.data, line: b.col, step: b.row, count: n };
    let (row_panels, column_panels) = (m.div_ceil(TILE_ROWS), n.min(COLUMNS).div_ceil(TILE_COLUMNS));
    let pairs = k.min(DEPTH).div_ceil(2);
    let mut packed_a = vec![0u32; row_panels * TILE_ROWS * pairs];
    let mut packed_b = vec![0u32; column_panels * TILE_COLUMNS * pairs];
    // Without inner elements the result is still written once.
    for start in (0..k.max(1)).step_by(DEPTH) {
        let depth = DEPTH.min(k - start);
        let out = Tiles { add: out.add || start > 0, ..out };
        let (size_a, size_b) = (depth.div_ceil(2) * TILE_ROWS, depth.div_ceil(2) * TILE_COLUMNS);
        if depth > 0 {
            a.from(0, start).pack::<TILE_ROWS>(depth, &mut packed_a[..row_panels * size_a]);
        }
        for left in (0..n).step_by(COLUMNS) {
            let panels = COLUMNS.min(n - left).div_ceil(TILE_COLUMNS);
            if depth > 0 {
                b.from(left, start).pack::<TILE_COLUMNS>(depth, &mut packed_b[..panels * size_b]);
            }
            // SAFETY: the processor was asked, and the caller vouches for the result, in which this block of columns starts.
            unsafe { multiply(depth, &packed_a, &packed_b, left..n.min(left + COLUMNS), out) }
        }
    }
}

/// Multiplies the panels of all rows of `a` with those of some `columns` of `b`, on all threads; `a` and `b` begin with them.
///
/// # Safety
/// The processor has bfloat16 instructions. All panels have `depth` elements along the inner dimension, their tiles start
/// inside the result, which may be written (with `add`, also read), and no other thread accesses these columns of it.
unsafe fn multiply(depth: usize, a: &[u32], b: &[u32], columns: Range<usize>, out: Tiles) {
    let (size_a, size_b) = (depth.div_ceil(2) * TILE_ROWS, depth.div_ceil(2) * TILE_COLUMNS);
    let (row_panels, panels) = (out.rows.div_ceil(TILE_ROWS), columns.len().div_ceil(TILE_COLUMNS));
    let blocks = out.rows.div_ceil(ROWS);
    let step = panels.div_ceil((4 * rayon::current_num_threads()).div_ceil(blocks).min(panels));
    let parts = panels.div_ceil(step);
    (0..blocks * parts).into_par_iter().for_each(|task| {
        let (block, part) = (task % blocks, task / blocks);
        for q in part * step..panels.min((part + 1) * step) {
            for p in block * ROWS / TILE_ROWS..row_panels.min((block + 1) * ROWS / TILE_ROWS) {
                let (a, b) = (&a[p * size_a..][..size_a], &b[q * size_b..][..size_b]);
                // SAFETY: the caller vouches for the processor and the result; the tile belongs to this task alone.
                unsafe { out.compute(p * TILE_ROWS, columns.start + q * TILE_COLUMNS, a, b) }
            }
        }
    });
}

/// Packs a matrix `[rows, columns]` for [`product_packed`], with its elements rounded to bfloat16 (to nearest, ties to even).
///
/// # Panics
/// Without columns, and on a processor without the instructions ([`has_bf16`]).
pub fn packed(w: &[f32], columns: usize) -> Vec<u32> {
    assert!(has_bf16(), "this processor has no instructions for bfloat16");
    let rows = w.len() / columns;
    let mut panels = vec![0u32; rows.div_ceil(TILE_COLUMNS) * TILE_COLUMNS * columns.div_ceil(2)];
    Lines { data: w, line: columns, step: 1, count: rows }.pack::<TILE_COLUMNS>(columns, &mut panels);
    panels
}

/// The product `x · wᵀ` `[n, rows]` with a [`packed`] matrix `[rows, columns]`, for `x` `[n, columns]`, which is rounded to
/// bfloat16, with sums in `f32`. The result of a row does not depend on the other rows.
///
/// # Panics
/// When the panels are too few for the shape, and on a processor without the instructions ([`has_bf16`]).
pub fn product_packed([n, columns, rows]: [usize; 3], x: &[f32], panels: &[u32]) -> Vec<f32> {
    assert!(has_bf16(), "this processor has no instructions for bfloat16");
    assert!(panels.len() >= rows.div_ceil(TILE_COLUMNS) * TILE_COLUMNS * columns.div_ceil(2), "too few panels");
    let mut out: Vec<f32> = Vec::with_capacity(n * rows);
    if n == 0 || rows == 0 {
        return out;
    }
    let mut packed_x = vec![0u32; n.div_ceil(TILE_ROWS) * TILE_ROWS * columns.div_ceil(2)];
    Lines { data: x, line: columns, step: 1, count: n }.pack::<TILE_ROWS>(columns, &mut packed_x);
    let tiles = Tiles { start: out.as_mut_ptr(), width: rows, rows: n, columns: rows, add: false };
    // SAFETY: the processor was asked. `n · rows` elements are reserved, and each of them is written without being read, since
    // `add` is false.
    unsafe {
        multiply(columns, &packed_x, panels, 0..rows, tiles);
        out.set_len(n * rows);
    }
    out
}
