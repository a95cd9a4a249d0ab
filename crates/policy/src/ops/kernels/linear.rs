//! Linear layers. For few rows, every weight is read once, and the result of a row does not depend on the other rows: a SIMD
//! vector holds the same element of several rows of `x`, and each weight is broadcast to it, so that no sum crosses lanes.

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::{View, matmul, matmul_bf16, product, product_bf16};

/// Largest number of rows of `x` for which the kernel of this file is faster than `gemm`. It reads each weight once,
/// while `gemm` first packs the weights.
const FEW: usize = 32;
/// Number of rows of `w` that are processed at a time; their sums fill the registers.
const WIDE: usize = 6;
/// Number of elements in a cache line.
pub(super) const LINE: usize = 16;
/// Number of multiplications below which a parallel task costs more than it saves.
pub(super) const ALONE: usize = 1 << 18;

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
        // What is written for some elements of all rows stays in the cache.
        for (block, values) in values.chunks_mut(LINE * width).enumerate() {
            let length = values.len() / width;
            for (r, row) in x.chunks_exact(inner).enumerate() {
                for (k, value) in row[block * LINE..][..length].iter().enumerate() {
                    values[k * width + r] = *value;
                }
            }
        }
        Self { values, rows }
    }
}

/// Asks the processor for the number of elements of a SIMD vector.
pub(super) struct Lanes;

impl WithSimd for Lanes {
    type Output = usize;

    fn with_simd<S: Simd>(self, _: S) -> usize {
        S::F32_LANES
    }
}

/// The products of all rows of `x` and `w`: `y[i · stride + o] = x[i] · w[o]`.
struct FewRows<'a> {
    x: &'a TransposedRows,
    w: &'a [f32],
    inner: usize,
    y: &'a mut [f32],
    stride: usize,
}

impl WithSimd for FewRows<'_> {
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

/// Asks the processor to load an element with its cache line; nothing happens where there is none. The rows of a tile are too
/// short for the processor to foresee them.
#[inline(always)]
fn prefetch(data: &[f32], at: usize) {
    #[cfg(target_arch = "x86_64")]
    if let Some(element) = data.get(at) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: the instruction reads nothing and cannot fail, and every x86-64 processor has it.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(element).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (data, at);
}

/// Computes the products of `V` SIMD vectors of rows of `x` with the first `O` rows of `w`, and has the next ones loaded.
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
    let weights: [&[f32]; O] = std::array::from_fn(|o| &w[o * inner..][..inner]);
    let mut sums = [[simd.splat_f32s(0.0); V]; O];
    for (block, x) in x.chunks(V * LINE).enumerate() {
        let start = block * LINE;
        for o in O..2 * O {
            prefetch(w, o * inner + start);
        }
        let length = x.len() / V;
        let weights: [&[f32]; O] = std::array::from_fn(|o| &weights[o][start..][..length]);
        for (k, x) in x.chunks_exact(V).enumerate() {
            for o in 0..O {
                let weight = simd.splat_f32s(weights[o][k]);
                for v in 0..V {
                    sums[o][v] = simd.mul_add_f32s(weight, x[v], sums[o][v]);
                }
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

/// How matrix products with weights are computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Products {
    /// In `f32`.
    Single,
    /// In `f32`; the result of a row does not depend on the other rows, bit for bit.
    BatchInvariant,
    /// With inputs rounded to bfloat16 and sums in `f32`, except for few rows, where rounding the weights takes longer than
    /// the products. Sampling, which has few rows, rounds them once ([`super::PackedMatrix`]).
    Bf16,
}

/// Gradient `g · w` `[n, inner]` of a linear layer with respect to its input, for `g` `[n, outer]` and `w` `[outer, inner]`.
pub fn linear_dx([n, inner, outer]: [usize; 3], g: &[f32], w: &[f32], products: Products) -> Vec<f32> {
    let product = if products == Products::Bf16 { product_bf16 } else { product };
    product([n, outer, inner], View::rows(g, outer), View::rows(w, inner))
}

/// Gradient `gᵀ · x` `[outer, inner]` of a linear layer with respect to its weights, for `g` `[n, outer]` and `x`
/// `[n, inner]`.
pub fn linear_dw([n, inner, outer]: [usize; 3], g: &[f32], x: &[f32], products: Products) -> Vec<f32> {
    let product = if products == Products::Bf16 { product_bf16 } else { product };
    product([outer, n, inner], View::rows(g, outer).t(), View::rows(x, inner))
}

/// Linear layer `x · wᵀ + b` for `x` `[n, inner]`, `w` `[outer, inner]` and, unless it is `None`, `b` `[outer]`.
pub fn linear([n, inner, outer]: [usize; 3], x: &[f32], w: &[f32], b: Option<&[f32]>, products: Products) -> Vec<f32> {
    if n > FEW && products != Products::BatchInvariant {
        let (shape, x, w) = ([n, inner, outer], View::rows(x, inner), View::rows(w, inner).t());
        return match (products, b) {
            (Products::Bf16, None) => product_bf16(shape, x, w),
            (_, None) => product(shape, x, w),
            (_, Some(b)) => {
                let mut y = b.repeat(n);
                match products {
                    Products::Bf16 => matmul_bf16(shape, x, w, &mut y, outer, true),
                    _ => matmul(shape, x, w, &mut y, outer, true, true),
                }
                y
            }
        };
    }
    let arch = Arch::new();
    let lanes = arch.dispatch(Lanes);
    let mut y = Vec::with_capacity(n * outer);
    // As many rows as fill two SIMD vectors are processed at a time.
    for x in x.chunks(2 * lanes * inner) {
        let x = TransposedRows::new(x, inner, lanes);
        if x.rows * inner * outer < ALONE {
            let start = y.len();
            y.resize(start + x.rows * outer, 0.0);
            arch.dispatch(FewRows { x: &x, w, inner, y: &mut y[start..], stride: outer });
            continue;
        }
        // Each task computes a block of columns; then the blocks are copied side by side.
        let task = outer.div_ceil(4 * rayon::current_num_threads()).next_multiple_of(WIDE);
        let blocks: Vec<Vec<f32>> = w
            .par_chunks(task * inner)
            .map(|w| {
                let width = w.len() / inner;
                let mut y = vec![0f32; x.rows * width];
                arch.dispatch(FewRows { x: &x, w, inner, y: &mut y, stride: width });
                y
            })
            .collect();
        for i in 0..x.rows {
            for block in &blocks {
                let width = block.len() / x.rows;
                y.extend_from_slice(&block[i * width..][..width]);
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
