//! The inner kernel of the products in `f32`: rows in blocks, times panels of sixteen columns.
#![allow(unsafe_code)]

use rayon::prelude::*;

/// Number of columns of a panel.
pub const WIDTH: usize = 16;

/// Number of rows of a block, whose sums fill the registers of AVX-512.
const BLOCK: usize = 24;

/// A matrix `[rows, columns]` in blocks of rows, with the values of a column next to each other.
pub struct PackedRows {
    columns: usize,
    /// `[rows / BLOCK, columns, BLOCK]`; the last block is filled up with zeros.
    values: Vec<[f32; BLOCK]>,
}

impl PackedRows {
    /// Packs `x` `[rows, columns]`.
    pub fn new(x: &[f32], columns: usize) -> Self {
        let mut values = vec![[0f32; BLOCK]; (x.len() / columns).div_ceil(BLOCK) * columns];
        values.par_chunks_exact_mut(columns).zip(x.par_chunks(BLOCK * columns)).for_each(|(block, x)| {
            for (r, row) in x.chunks_exact(columns).enumerate() {
                for (out, value) in block.iter_mut().zip(row) {
                    out[r] = *value;
                }
            }
        });
        Self { columns, values }
    }

    /// `sums[i] += Σ_k x[i, first + k] · panel[k]` for every row `i`. Terms are added in the order of `k`.
    pub fn accumulate(&self, first: usize, panel: &[[f32; WIDTH]], sums: &mut [[f32; WIDTH]]) {
        for (block, sums) in self.values.chunks_exact(self.columns).zip(sums.chunks_mut(BLOCK)) {
            accumulate(&block[first..first + panel.len()], panel, sums);
        }
    }
}

/// Adds the products of a block of rows with a panel to the sums of the rows, at most [`BLOCK`].
fn accumulate(block: &[[f32; BLOCK]], panel: &[[f32; WIDTH]], sums: &mut [[f32; WIDTH]]) {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx512f") {
        // SAFETY: the processor has just reported this feature.
        return unsafe { avx512::accumulate(block, panel, sums) };
    } else if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
        // SAFETY: the processor has just reported both features.
        return unsafe { avx2::accumulate(block, panel, sums) };
    }
    for (a, b) in block.iter().zip(panel) {
        for (a, sums) in a.iter().zip(&mut *sums) {
            for (sum, b) in sums.iter_mut().zip(b) {
                *sum += a * b;
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod avx512 {
    use std::arch::x86_64::{_mm512_fmadd_ps, _mm512_loadu_ps, _mm512_set1_ps, _mm512_setzero_ps, _mm512_storeu_ps};

    use super::{BLOCK, WIDTH};

    #[target_feature(enable = "avx512f")]
    pub fn accumulate(block: &[[f32; BLOCK]], panel: &[[f32; WIDTH]], sums: &mut [[f32; WIDTH]]) {
        if let Some(sums) = sums.first_chunk_mut::<BLOCK>() {
            return rows(block, panel, sums);
        }
        let mut all = [[0f32; WIDTH]; BLOCK];
        all[..sums.len()].copy_from_slice(sums);
        match sums.len() {
            ..=8 => all.first_chunk_mut::<8>().into_iter().for_each(|all| rows(block, panel, all)),
            9..=16 => all.first_chunk_mut::<16>().into_iter().for_each(|all| rows(block, panel, all)),
            _ => rows(block, panel, &mut all),
        }
        sums.copy_from_slice(&all[..sums.len()]);
    }

    /// For the first `R` rows of the block.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn rows<const R: usize>(block: &[[f32; BLOCK]], panel: &[[f32; WIDTH]], sums: &mut [[f32; WIDTH]; R]) {
        const { assert!(R <= BLOCK) };
        let mut totals = [_mm512_setzero_ps(); R];
        for r in 0..R {
            // SAFETY: the array has 16 elements, and the load needs no alignment.
            totals[r] = unsafe { _mm512_loadu_ps(sums[r].as_ptr()) };
        }
        for (a, b) in block.iter().zip(panel) {
            // SAFETY: as above.
            let b = unsafe { _mm512_loadu_ps(b.as_ptr()) };
            for r in 0..R {
                totals[r] = _mm512_fmadd_ps(_mm512_set1_ps(a[r]), b, totals[r]);
            }
        }
        for r in 0..R {
            // SAFETY: the array has 16 elements, and the store needs no alignment.
            unsafe { _mm512_storeu_ps(sums[r].as_mut_ptr(), totals[r]) };
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use std::arch::x86_64::{__m256, _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_set1_ps, _mm256_storeu_ps};

    use super::{BLOCK, WIDTH};

    /// Number of rows whose sums fill the registers.
    const ROWS: usize = 6;

    #[target_feature(enable = "avx2,fma")]
    pub fn accumulate(block: &[[f32; BLOCK]], panel: &[[f32; WIDTH]], sums: &mut [[f32; WIDTH]]) {
        let (wide, rest) = sums.as_chunks_mut::<ROWS>();
        let first = wide.len() * ROWS;
        for (i, sums) in wide.iter_mut().enumerate() {
            rows(block, i * ROWS, panel, sums);
        }
        for (i, sum) in rest.iter_mut().enumerate() {
            rows(block, first + i, panel, std::array::from_mut(sum));
        }
    }

    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn load(row: &[f32; WIDTH]) -> [__m256; 2] {
        // SAFETY: both loads are within the 16 elements of the array and need no alignment.
        unsafe { [_mm256_loadu_ps(row.as_ptr()), _mm256_loadu_ps(row.as_ptr().add(8))] }
    }

    /// For `R` rows of the block, from row `first` on.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    fn rows<const R: usize>(
        block: &[[f32; BLOCK]],
        first: usize,
        panel: &[[f32; WIDTH]],
        sums: &mut [[f32; WIDTH]; R],
    ) {
        let mut totals: [[__m256; 2]; R] = std::array::from_fn(|r| load(&sums[r]));
        for (a, b) in block.iter().zip(panel) {
            let (a, b) = (&a[first..first + R], load(b));
            for (total, a) in totals.iter_mut().zip(a) {
                let a = _mm256_set1_ps(*a);
                *total = [_mm256_fmadd_ps(a, b[0], total[0]), _mm256_fmadd_ps(a, b[1], total[1])];
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
