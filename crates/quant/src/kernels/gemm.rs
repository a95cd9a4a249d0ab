//! The inner kernel of the products in `f32`: a panel of sixteen columns, packed so that a row is contiguous.
#![allow(unsafe_code)]

/// Number of columns of a panel.
pub const WIDTH: usize = 16;

/// `sums[i] += Σ_k a[i · stride + k] · panel[k]`, for every `i`. Terms are added in the order of `k`.
///
/// # Panics
/// When `a` is too short.
pub fn accumulate(a: &[f32], stride: usize, panel: &[[f32; WIDTH]], sums: &mut [[f32; WIDTH]]) {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
        // SAFETY: the processor has just reported both features.
        return unsafe { avx2::accumulate(a, stride, panel, sums) };
    }
    for (i, sums) in sums.iter_mut().enumerate() {
        for (a, row) in a[i * stride..][..panel.len()].iter().zip(panel) {
            for (sum, b) in sums.iter_mut().zip(row) {
                *sum += a * b;
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use std::arch::x86_64::{__m256, _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_set1_ps, _mm256_storeu_ps};

    use super::WIDTH;

    /// Number of rows whose sums fill the registers.
    const ROWS: usize = 6;

    #[target_feature(enable = "avx2,fma")]
    pub fn accumulate(a: &[f32], stride: usize, panel: &[[f32; WIDTH]], sums: &mut [[f32; WIDTH]]) {
        let row = |i: usize| &a[i * stride..][..panel.len()];
        let (wide, rest) = sums.as_chunks_mut::<ROWS>();
        for (i, sums) in wide.iter_mut().enumerate() {
            rows::<ROWS>(std::array::from_fn(|r| row(i * ROWS + r)), panel, sums);
        }
        for (i, sums) in rest.iter_mut().enumerate() {
            rows::<1>([row(wide.len() * ROWS + i)], panel, std::array::from_mut(sums));
        }
    }

    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn load(row: &[f32; WIDTH]) -> [__m256; 2] {
        // SAFETY: both loads are within the 16 elements of the array and need no alignment.
        unsafe { [_mm256_loadu_ps(row.as_ptr()), _mm256_loadu_ps(row.as_ptr().add(8))] }
    }

    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn rows<const R: usize>(a: [&[f32]; R], panel: &[[f32; WIDTH]], sums: &mut [[f32; WIDTH]; R]) {
        let mut totals: [[__m256; 2]; R] = std::array::from_fn(|r| load(&sums[r]));
        let a = a.map(|a| &a[..panel.len()]);
        for (k, b) in panel.iter().enumerate() {
            let b = load(b);
            for r in 0..R {
                let a = _mm256_set1_ps(a[r][k]);
                totals[r] = [_mm256_fmadd_ps(a, b[0], totals[r][0]), _mm256_fmadd_ps(a, b[1], totals[r][1])];
            }
        }
        for (sums, total) in sums.iter_mut().zip(totals) {
            // SAFETY: both stores are within the 16 elements of the array and need no alignment.
            unsafe {
                _mm256_storeu_ps(sums.as_mut_ptr(), total[0]);
                _mm256_storeu_ps(sums.as_mut_ptr().add(8), total[1]);
            }
        }
    }
}
