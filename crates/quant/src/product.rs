//! The product with activations that are rounded to 8 bits, in integers.

use std::ops::Range;

use rayon::prelude::*;

use crate::activations::{BATCH, QuantisedRows};
use crate::error::QuantError;
use crate::kernels::{Kernel, ROWS, Tile};
use crate::matrix::{QuantisedMatrix, check};

/// Number of activation rows that are processed at a time, a multiple of 4: it limits the memory for results
/// that are not in order yet.
const PASS: usize = 128;
/// Bytes of weights below which a parallel task costs more than it saves.
const TASK: usize = 1 << 16;

impl QuantisedMatrix {
    /// `y = x · wᵀ` for this matrix `w` `[rows, columns]`, `x` `[batch, columns]` and `y` `[batch, rows]`, with the
    /// fastest kernel of the processor.
    ///
    /// With the integers `q` of a block of weights, the scales `s` and minima `m` of its groups, its own scale `d` and
    /// minimum `e`, and the integers `a` and the scale `c` of a block of activations, an element is
    /// `Σ_blocks c · (d · Σ_groups s Σ (q − offset) a + e · Σ_groups m Σ a)`. Sums within a block are exact; blocks are
    /// added from the first to the last in `f32`. [`error_bound`] bounds the distance to the exact product.
    pub fn product(&self, x: &QuantisedRows, y: &mut [f32]) -> Result<(), QuantError> {
        self.product_by(Kernel::best(), x, y)
    }

    /// [`Self::product`] with a kernel of one's choice. All give the same bits. Fails if the processor cannot run it.
    pub fn product_by(&self, kernel: Kernel, x: &QuantisedRows, y: &mut [f32]) -> Result<(), QuantError> {
        if !kernel.is_available() {
            return Err(QuantError::Kernel { kernel: kernel.name() });
        }
        if x.block() != self.activation_block() {
            let (block_type, expected) = (self.block_type(), self.activation_block());
            return Err(QuantError::ActivationBlock { block_type, expected, found: x.block() });
        }
        check("a row of x", self.columns(), x.columns())?;
        check("y", x.batch() * self.rows(), y.len())?;
        if y.is_empty() {
            return Ok(());
        }
        let data = self.data()?;
        if x.batch() < BATCH {
            self.row_by_row(kernel, data, x, y);
        } else {
            for (pass, y) in y.chunks_mut(PASS * self.rows()).enumerate() {
                let batch = y.len() / self.rows();
                self.tile_by_tile(kernel, data, x, PASS * pass..PASS * pass + batch, y);
            }
        }
        Ok(())
    }

    /// For few rows of `x`: each row of weights is multiplied as it is stored.
    fn row_by_row(&self, kernel: Kernel, data: &[u8], x: &QuantisedRows, y: &mut [f32]) {
        let batch = x.batch();
        let product = |(weights, out): (&[u8], &mut [f32])| kernel.row(self.block_type(), weights, x, out);
        let run = |out: &mut [f32]| {
            let rows = data.par_chunks_exact(self.row_bytes()).zip(out.par_chunks_exact_mut(batch));
            rows.with_min_len(self.rows_per_task(1)).for_each(product);
        };
        if batch == 1 {
            run(y);
        } else {
            let mut transposed = vec![0.0; y.len()];
            run(&mut transposed);
            for (c, y) in y.chunks_exact_mut(self.rows()).enumerate() {
                for (y, row) in y.iter_mut().zip(transposed.chunks_exact(batch)) {
                    *y = row[c];
                }
            }
        }
    }

    /// For many rows of `x`: tiles of rows of weights are unpacked and multiplied with all of them. `columns` are the
    /// rows of `x` that belong to `y`.
    fn tile_by_tile(&self, kernel: Kernel, data: &[u8], x: &QuantisedRows, columns: Range<usize>, y: &mut [f32]) {
        let batch = columns.len();
        let tiles = self.rows().div_ceil(ROWS);
        // `[tiles, batch, ROWS]`: every task writes memory of its own.
        let mut sums = vec![[0f32; ROWS]; tiles * batch];
        let weights = data.par_chunks(ROWS * self.row_bytes());
        let task = self.rows_per_task(batch).div_ceil(ROWS);
        weights.zip(sums.par_chunks_exact_mut(batch)).with_min_len(task).for_each_init(
            || Tile::new(self.block_type(), self.columns()),
            |tile, (weights, sums)| kernel.tile(tile, weights, self.row_bytes(), x, columns.clone(), sums),
        );
        y.par_chunks_exact_mut(self.rows()).enumerate().for_each(|(c, y)| {
            for (y, sums) in y.chunks_mut(ROWS).zip(sums.chunks_exact(batch)) {
                y.copy_from_slice(&sums[c][..y.len()]);
            }
        });
    }

    /// Number of rows of weights that are worth a task for a number of rows of `x`.
    fn rows_per_task(&self, batch: usize) -> usize {
        let worth = TASK.div_ceil(self.row_bytes() * batch);
        worth.max(self.rows() / (rayon::current_num_threads() * 16)).max(1)
    }
}

/// Largest distance of an element of [`QuantisedMatrix::product`] to the product of the unrounded activations `x`
/// `[columns]` with the dequantised weights `w` `[columns]`, in units of the result.
///
/// `magnitudes` `[columns]` are `|scale · integer| + |minimum|` of each weight, at least `|w|`. Rounding an activation
/// moves it by at most half a step of its block, `max|x| / 254`; the reciprocal in `f32` adds less than 0.01 %. A product
/// and a sum in `f32` round by 2⁻²⁴ each, at most `blocks + 8` times for a term:
/// `Σ_blocks 0.50005 · max|x| / 127 · Σ|w| + (blocks + 8) · 2⁻²³ · Σ |x| · magnitude`.
pub fn error_bound(x: &[f32], w: &[f32], magnitudes: &[f32], block: usize) -> f64 {
    let blocks = x.len().div_ceil(block) as f64;
    let parts = x.chunks(block).zip(w.chunks(block)).zip(magnitudes.chunks(block));
    parts
        .map(|((x, w), magnitudes)| {
            let max = x.iter().fold(0f64, |max, x| max.max(f64::from(x.abs())));
            let step = 0.50005 * max / 127.0;
            let weights: f64 = w.iter().map(|w| f64::from(w.abs())).sum();
            let magnitude: f64 =
                x.iter().zip(magnitudes).map(|(x, m)| (f64::from(x.abs()) + step) * f64::from(*m)).sum();
            step * weights + (blocks + 8.0) * 2f64.powi(-23) * magnitude
        })
        .sum()
}
