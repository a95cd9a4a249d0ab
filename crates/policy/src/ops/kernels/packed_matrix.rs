//! A matrix that is packed once, for many products.

use super::bf16::{packed, product_packed};
use super::panels::Panels;

/// A matrix `[rows, columns]` in the order in which products read it. The result of a row does not depend on the other rows of
/// a product.
#[derive(Debug)]
pub enum PackedMatrix {
    /// In `f32`.
    Single(Panels),
    /// Rounded to bfloat16 (to nearest, ties to even).
    Bf16 {
        /// The packed pairs of elements.
        panels: Vec<u32>,
        /// Number of rows.
        rows: usize,
        /// Number of columns.
        columns: usize,
    },
}

impl PackedMatrix {
    /// Packs a matrix with these rows, of `columns` elements each.
    ///
    /// # Panics
    /// Without columns.
    pub fn single(w: &[f32], columns: usize) -> Self {
        Self::Single(Panels::new(w, columns))
    }

    /// Rounds a matrix with these rows, of `columns` elements each, to bfloat16.
    ///
    /// # Panics
    /// Without columns, and on a processor without the instructions ([`super::has_bf16`]).
    pub fn bf16(w: &[f32], columns: usize) -> Self {
        Self::Bf16 { panels: packed(w, columns), rows: w.len() / columns, columns }
    }

    /// The products `x · wᵀ` `[n, rows]` of `x` `[n, columns]` with every matrix, all of which have the same number of columns;
    /// for a matrix in bfloat16, `x` is rounded to bfloat16, and sums are in `f32`.
    ///
    /// # Panics
    /// When numbers of columns differ.
    pub fn products(matrices: &[&Self], x: &[f32]) -> Vec<Vec<f32>> {
        let single = matrices.iter().map(|matrix| match matrix {
            Self::Single(panels) => Some(panels),
            Self::Bf16 { .. } => None,
        });
        match single.collect::<Option<Vec<_>>>() {
            Some(panels) => Panels::products(&panels, x),
            None => matrices.iter().map(|matrix| matrix.product(x)).collect(),
        }
    }

    fn product(&self, x: &[f32]) -> Vec<f32> {
        match self {
            Self::Single(panels) => Panels::products(&[panels], x).concat(),
            Self::Bf16 { panels, rows, columns } => product_packed([x.len() / columns, *columns, *rows], x, panels),
        }
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        match self {
            Self::Single(panels) => panels.rows(),
            Self::Bf16 { rows, .. } => *rows,
        }
    }

    /// Number of bytes that the matrix takes in memory.
    pub fn size(&self) -> usize {
        match self {
            Self::Single(panels) => panels.size(),
            Self::Bf16 { panels, .. } => size_of_val(panels.as_slice()),
        }
    }
}
