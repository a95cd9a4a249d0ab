//! `x · wᵀ` for few rows: every weight is read once, and the result of a row does not depend on the other rows.
//!
//! A SIMD vector holds the same element of several rows of `x`, and each weight is broadcast to it, so that no sum
//! crosses lanes.

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::{View, matmul, product};

/// Largest number of rows of `x` for which the kernel of this file is faster than `gemm`. It reads each weight once,
/// while `gemm` first packs the weights.
const FEW: usize = 32;
/// Number of rows of `w` that are processed at a time; their sums fill the registers.
const WIDE: usize = 6;
/// Number of multiplications below which a parallel task costs more than it saves.
const ALONE: usize = 1 << 18;

/// Some rows of `x`, transposed to `[inner, rows]`, so that the same element of all rows is contiguous. They are padded
/// to whole SIMD vectors.
struct TransposedRows {
    values: Vec<f32>,
    /// Number of rows without the padding.
    rows: usize,
}

impl TransposedRows {
    fn new(x: &[f32], inner: usize, lanes: usize) -> Self {
        let rows = x.len() / inner;
        let width = rows.next_multiple_of(lanes);
        let mut values = vec![0f32; inner * width];
        for (r, row) in x.chunks_exact(inner).enumerate() {
            for (k, value) in row.iter().enumerate() {
                values[k * width + r] = *value;
            }
        }
        Self { values, rows }
    }
}

/// Asks the processor for the number of elements of a SIMD vector.
struct Lanes;

impl WithSimd for Lanes {
    type Output = usize;

    fn with_simd<S: Simd>(self, _: S) -> usize {
        S::F32_LANES
    }
}

/// The products of all rows of `x` and `w`: `y[i · stride + o] = x[i] · w[o]`.
struct Products<'a> {
    x: &'a TransposedRows,
    w: &'a [f32],
    inner: usize,
    y: &'a mut [f32],
    stride: usize,
}

impl WithSimd for Products<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { x, w, inner, y, stride } = self;
        let (vectors, _) = S::as_simd_f32s(&x.values);
        let outer = w.len() / inner;
        let mut o = 0;
        while o < outer {
            let w = &w[o * inner..];
            let wide = if outer - o >= WIDE { WIDE } else { 1 };
            match (vectors.len() / inner, wide) {
                (1, WIDE) => tile::<S, 1, WIDE>(simd, vectors, w, inner, x.rows, &mut y[o..], stride),
                (1, _) => tile::<S, 1, 1>(simd, vectors, w, inner, x.rows, &mut y[o..], stride),
                (_, WIDE) => tile::<S, 2, WIDE>(simd, vectors, w, inner, x.rows, &mut y[o..], stride),
                _ => tile::<S, 2, 1>(simd, vectors, w, inner, x.rows, &mut y[o..], stride),
            }
            o += wide;
        }
    }
}

/// Computes the products of `V` SIMD vectors of rows of `x` with `O` rows of `w`.
#[inline(always)]
fn tile<S: Simd, const V: usize, const O: usize>(
    simd: S,
    x: &[S::f32s],
    w: &[f32],
    inner: usize,
    rows: usize,
    y: &mut [f32],
    stride: usize,
) {
    let weights: [&[f32]; O] = std::array::from_fn(|o| &w[o * inner..(o + 1) * inner]);
    let mut sums = [[simd.splat_f32s(0.0); V]; O];
    for (k, x) in x.chunks_exact(V).enumerate().take(inner) {
        for o in 0..O {
            let weight = simd.splat_f32s(weights[o][k]);
            for v in 0..V {
                sums[o][v] = simd.mul_add_f32s(weight, x[v], sums[o][v]);
            }
        }
    }
    for (o, sums) in sums.iter().enumerate() {
        let sums = pulp::bytemuck::cast_slice::<S::f32s, f32>(sums);
        for (i, sum) in sums.iter().take(rows).enumerate() {
            y[i * stride + o] = *sum;
        }
    }
}

/// Linear layer `x · wᵀ + b` for `x` `[n, inner]`, `w` `[outer, inner]` and, unless it is `None`, `b` `[outer]`. With
/// `batch_invariant`, the result of a row does not depend on the other rows, bit for bit.
pub fn linear(
    [n, inner, outer]: [usize; 3],
    x: &[f32],
    w: &[f32],
    b: Option<&[f32]>,
    batch_invariant: bool,
) -> Vec<f32> {
    if n > FEW && !batch_invariant {
        let (shape, x, w) = ([n, inner, outer], View::rows(x, inner), View::rows(w, inner).t());
        let Some(b) = b else { return product(shape, x, w) };
        let mut y = b.repeat(n);
        matmul(shape, x, w, &mut y, outer, true, true);
        return y;
    }
    let arch = Arch::new();
    let lanes = arch.dispatch(Lanes);
    let mut y = vec![0f32; n * outer];
    // As many rows as fill two SIMD vectors are processed at a time.
    for (x, y) in x.chunks(2 * lanes * inner).zip(y.chunks_mut(2 * lanes * outer.max(1))) {
        let x = TransposedRows::new(x, inner, lanes);
        if x.rows * inner * outer < ALONE {
            arch.dispatch(Products { x: &x, w, inner, y, stride: outer });
            continue;
        }
        // Each task computes a block of columns; then the blocks are copied side by side.
        let task = outer.div_ceil(4 * rayon::current_num_threads()).next_multiple_of(WIDE);
        let blocks: Vec<Vec<f32>> = w
            .par_chunks(task * inner)
            .map(|w| {
                let width = w.len() / inner;
                let mut y = vec![0f32; x.rows * width];
                arch.dispatch(Products { x: &x, w, inner, y: &mut y, stride: width });
                y
            })
            .collect();
        for (i, row) in y.chunks_exact_mut(outer).enumerate() {
            for (block, out) in blocks.iter().zip(row.chunks_mut(task)) {
                out.copy_from_slice(&block[i * out.len()..(i + 1) * out.len()]);
            }
        }
    }
    if let Some(b) = b {
        for row in y.chunks_exact_mut(outer) {
            row.iter_mut().zip(b).for_each(|(y, b)| *y += b);
        }
    }
    y
}
