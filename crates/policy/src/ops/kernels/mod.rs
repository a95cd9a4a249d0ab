//! CPU kernels over `f32` slices: the only unsafe code of this crate.
//!
//! There are five kinds of `unsafe`. [`matmul`] and [`product`] pass raw pointers to `gemm`, after checking that every
//! element that it can access is inside its slice. The products in bfloat16 use the processor's instructions, after
//! asking for them, and write disjoint tiles from several threads. The products for few rows and those for sampling prefetch
//! weights. The latter do not clear their result first, because they write every element of it. `simd!` compiles one body for
//! several instruction sets and calls the widest one that the processor reports at run time, so that one binary runs anywhere
//! and is still fast. The order of sums does not depend on the number of threads: the same input gives the same bits.
#![allow(unsafe_code)]
// Without forced inlining, a helper would be compiled for the baseline only instead of for each instruction set.
#![allow(clippy::inline_always)]

/// A view of a matrix in a slice, with any strides: element `(i, j)` is `data[i * row + j * col]`.
#[derive(Clone, Copy)]
pub struct View<'a> {
    data: &'a [f32],
    row: usize,
    col: usize,
}

impl<'a> View<'a> {
    /// Makes a view of a row-major matrix whose rows are `width` elements apart.
    pub fn rows(data: &'a [f32], width: usize) -> Self {
        Self { data, row: width, col: 1 }
    }

    /// Transposes the view, without copying elements.
    pub fn t(self) -> Self {
        Self { data: self.data, row: self.col, col: self.row }
    }

    /// Whether the slice holds every element of a matrix `[rows, cols]`.
    fn holds(self, rows: usize, cols: usize) -> bool {
        rows == 0 || cols == 0 || (rows - 1) * self.row + (cols - 1) * self.col < self.data.len()
    }
}

/// Matrix product: `out = a · b`, or `out += a · b` with `add`. `a` is `[m, k]`, `b` is `[k, n]`, and `out` is `[m, n]`
/// with rows `width` elements apart.
///
/// # Panics
/// When a view is too small for its shape.
#[allow(clippy::too_many_arguments)]
pub fn matmul([m, k, n]: [usize; 3], a: View, b: View, out: &mut [f32], width: usize, add: bool, parallel: bool) {
    assert!(a.holds(m, k) && b.holds(k, n), "matmul: operand smaller than its shape");
    assert!(n <= width && (m == 0 || (m - 1) * width + n <= out.len()), "matmul: output smaller than its shape");
    let threads = if parallel { gemm::Parallelism::Rayon(0) } else { gemm::Parallelism::None };
    // SAFETY: the assertions above bound every index that `gemm` forms from these sizes and strides.
    unsafe { gemm_into([m, k, n], a, b, out.as_mut_ptr(), width, add, threads) }
}

/// # Safety
/// `a` and `b` hold their shapes, and `out` may be written (with `add`, also read) at `i · width + j` for all `i < m`,
/// `j < n`.
unsafe fn gemm_into(
    [m, k, n]: [usize; 3],
    a: View,
    b: View,
    out: *mut f32,
    width: usize,
    add: bool,
    threads: gemm::Parallelism,
) {
    // SAFETY: the caller guarantees what `gemm` requires.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out,
            1,
            width as isize,
            add,
            a.data.as_ptr(),
            a.col as isize,
            a.row as isize,
            b.data.as_ptr(),
            b.col as isize,
            b.row as isize,
            1.0f32,
            1.0f32,
            false,
            false,
            false,
            threads,
        );
    }
}

/// Matrix product `a · b` as a new row-major matrix `[m, n]`, on all threads: `a` is `[m, k]`, `b` is `[k, n]`. The new
/// memory is not filled with zeros first.
///
/// # Panics
/// When a view is too small for its shape.
pub fn product([m, k, n]: [usize; 3], a: View, b: View) -> Vec<f32> {
    assert!(a.holds(m, k) && b.holds(k, n), "product: operand smaller than its shape");
    if k == 0 {
        return vec![0.0; m * n];
    }
    let mut out: Vec<f32> = Vec::with_capacity(m * n);
    // SAFETY: the assertion bounds the reads. `m · n` elements are reserved, and `gemm` writes each of them without
    // reading it, since `add` is false and `k` is not 0.
    unsafe {
        gemm_into([m, k, n], a, b, out.as_mut_ptr(), n, false, gemm::Parallelism::Rayon(0));
        out.set_len(m * n);
    }
    out
}

/// Exponential function by a polynomial of degree 6 after range reduction (Cephes `expf`). The error is within 2 ulp,
/// and the compiler can vectorise it.
#[inline(always)]
fn exp(x: f32) -> f32 {
    let x = x.clamp(-87.3, 88.7);
    let n = (x * std::f32::consts::LOG2_E).round_ties_even();
    let r = n.mul_add(2.121_944_4e-4, n.mul_add(-0.693_359_4, x));
    let mut p = 1.987_569_2e-4f32;
    for c in [1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
        p = p.mul_add(r, c);
    }
    (p * r).mul_add(r, r + 1.0) * f32::from_bits(((n as i32 + 127) << 23) as u32)
}

/// Sum `Σ f(i)` for `i < n`, in sixteen interleaved partial sums, which the compiler can vectorise.
#[inline(always)]
fn sum(n: usize, f: impl Fn(usize) -> f32) -> f32 {
    let mut lanes = [0f32; 16];
    let whole = n / 16 * 16;
    let mut i = 0;
    while i < whole {
        for (j, lane) in lanes.iter_mut().enumerate() {
            *lane += f(i + j);
        }
        i += 16;
    }
    for half in [8, 4, 2, 1] {
        for j in 0..half {
            lanes[j] += lanes[j + half];
        }
    }
    (whole..n).fold(lanes[0], |s, i| s + f(i))
}

/// The largest element of a row; −∞ for an empty row.
#[inline(always)]
fn max(row: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; 16];
    let chunks = row.chunks_exact(16);
    let rest = chunks.remainder().iter().copied().fold(f32::NEG_INFINITY, f32::max);
    for chunk in chunks {
        for (lane, x) in lanes.iter_mut().zip(chunk) {
            *lane = lane.max(*x);
        }
    }
    lanes.iter().copied().fold(rest, f32::max)
}

/// Defines a function `name(args)` whose body is compiled for three instruction sets: the baseline, AVX2 with FMA, and
/// AVX-512.
macro_rules! simd {
    ($(#[$doc:meta])* $vis:vis $name:ident($($arg:ident: $type:ty),* $(,)?) $body:block) => {
        $(#[$doc])*
        #[allow(clippy::too_many_arguments)]
        $vis fn $name($($arg: $type),*) {
            #[inline(always)]
            fn body($($arg: $type),*) $body
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")]
                fn v4($($arg: $type),*) { body($($arg),*) }
                #[target_feature(enable = "avx2,fma")]
                fn v3($($arg: $type),*) { body($($arg),*) }
                if is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512vl")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq")
                {
                    // SAFETY: the processor has just reported every feature that `v4` enables.
                    return unsafe { v4($($arg),*) };
                }
                if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                    // SAFETY: as above, for `v3`.
                    return unsafe { v3($($arg),*) };
                }
            }
            body($($arg),*);
        }
    };
}

mod activation;
mod attention;
mod attention_cached;
#[cfg(target_arch = "x86_64")]
mod bf16;
#[cfg(not(target_arch = "x86_64"))]
#[path = "no_bf16.rs"]
mod bf16;
mod disentangled;
mod elementwise;
mod linear;
mod log_probs;
mod packed_matrix;
mod panels;
mod quantised;
mod rope;
mod softmax;

pub use activation::{Activation, activate, activate_backward, gated, gated_backward};
pub use attention::{AttentionSaved, AttentionSpec, Heads, attention, attention_backward, attention_without_saving};
pub use attention_cached::{KvSlot, attention_cached};
pub use bf16::{has_bf16, matmul_bf16, product_bf16};
pub use disentangled::DisentangledAttention;
pub use elementwise::{
    AdamStep, adamw, add_assign, column_sum, layer_norm, layer_norm_backward, rms_norm, rms_norm_backward, square_sum,
};
pub use linear::{Products, linear, linear_dw, linear_dx};
pub use log_probs::{HeadMatrix, TokenStats, token_log_probs, token_log_probs_backward};
pub use packed_matrix::PackedMatrix;
pub use quantised::{quantised_linear, quantised_linear_dx};
pub use rope::{Rope, RopeConfig, RopeKind};
pub use softmax::weights;
