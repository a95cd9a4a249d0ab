//! A matrix in bfloat16 that is rounded once, for many products with few rows.

use super::bf16::{packed, product_packed};

/// A matrix `[rows, columns]` in bfloat16.
#[derive(Debug)]
pub struct Bf16Matrix {
    panels: Vec<u32>,
    rows: usize,
    columns: usize,
}

impl Bf16Matrix {
    /// Rounds a matrix with these rows, of `columns` elements each, to bfloat16 (to nearest, ties to even).
    ///
    /// # Panics
    /// Without columns, and on a processor without the instructions ([`super::has_bf16`]).
    pub fn new(w: &[f32], columns: usize) -> Self {
        Self { panels: packed(w, columns), rows: w.len() / columns, columns }
    }

    /// The product `x · wᵀ` `[n, rows]` for `x` `[n, columns]`, which is rounded to bfloat16, with sums in `f32`. The
    /// result of a row does not depend on the other rows.
    pub fn product(&self, x: &[f32]) -> Vec<f32> {
        product_packed([x.len() / self.columns, self.columns, self.rows], x, &self.panels)
    }

    /// Number of bytes that the matrix takes in memory.
    pub fn size(&self) -> usize {
        size_of_val(self.panels.as_slice())
    }
}
