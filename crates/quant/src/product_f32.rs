//! Products in `f32`, with tiles of weights dequantised on the way.

use rayon::prelude::*;

use crate::error::QuantError;
use crate::kernels::gemm::{PackedRows, WIDTH};
use crate::kernels::{ROWS, Tile, dequantise_panels, dequantise_tile};
use crate::matrix::{QuantisedMatrix, check};

/// Number of values that are added before the sums go back to memory: a packed panel fills half a first-level cache.
const PANEL: usize = 256;
/// Number of rows of the other operand that are processed at a time: it limits the memory for results that are not in
/// order yet. Weights are dequantised again for each pass.
const PASS: usize = 768;

impl QuantisedMatrix {
    /// `y = x · wᵀ` in `f32` for this matrix `w` `[rows, columns]`, `x` `[batch, columns]` and `y` `[batch, rows]`: the
    /// product with the dequantised weights, 16 rows of which are in memory at a time. A result does not depend on the
    /// other rows of `x`.
    pub fn product_f32(&self, x: &[f32], y: &mut [f32]) -> Result<(), QuantError> {
        let (rows, columns, block_type) = (self.rows(), self.columns(), self.block_type());
        if !x.len().is_multiple_of(columns) {
            return Err(QuantError::Operand {
                operand: "x",
                expected: x.len().next_multiple_of(columns),
                found: x.len(),
            });
        }
        check("y", x.len() / columns * rows, y.len())?;
        if y.is_empty() {
            return Ok(());
        }
        let data = self.data()?;
        for (x, y) in x.chunks(PASS * columns).zip(y.chunks_mut(PASS * rows)) {
            let batch = y.len() / rows;
            let x = PackedRows::new(x, columns);
            let mut sums = vec![[0f32; WIDTH]; rows.div_ceil(WIDTH) * batch];
            let tiles = data.par_chunks(WIDTH * self.row_bytes()).zip(sums.par_chunks_exact_mut(batch));
            tiles.for_each_init(
                || (Tile::new(block_type, PANEL.min(columns)), vec![[0f32; WIDTH]; PANEL]),
                |(tile, panel), (weights, sums)| {
                    for first in (0..columns).step_by(PANEL) {
                        let panel = &mut panel[..PANEL.min(columns - first)];
                        dequantise_tile(tile, weights, self.row_bytes(), first / block_type.values(), panel);
                        x.accumulate(first, panel, sums);
                    }
                },
            );
            in_order(&sums, batch, rows, y);
        }
        Ok(())
    }

    /// `dx = dy · w` in `f32` for this matrix `w` `[rows, columns]`, `dy` `[batch, rows]` and `dx` `[batch, columns]`: the
    /// gradient of [`Self::product_f32`] with respect to `x`. A result does not depend on the other rows of `dy`.
    pub fn transposed_product(&self, dy: &[f32], dx: &mut [f32]) -> Result<(), QuantError> {
        let (rows, columns, block_type) = (self.rows(), self.columns(), self.block_type());
        if !dx.len().is_multiple_of(columns) {
            let expected = dx.len().next_multiple_of(columns);
            return Err(QuantError::Operand { operand: "dx", expected, found: dx.len() });
        }
        check("dy", dx.len() / columns * rows, dy.len())?;
        if rows == 0 {
            dx.fill(0.0);
            return Ok(());
        }
        let data = self.data()?;
        // The columns of a task: whole blocks, and small enough for several tasks per thread.
        let width = block_type.values().max(128);
        for (dy, dx) in dy.chunks(PASS * rows).zip(dx.chunks_mut(PASS * columns)) {
            let batch = dx.len() / columns;
            let dy = PackedRows::new(dy, rows);
            let mut sums = vec![[0f32; WIDTH]; columns / WIDTH * batch];
            sums.par_chunks_mut(width / WIDTH * batch).enumerate().for_each_init(
                || {
                    let values = vec![[0f32; ROWS]; width];
                    (Tile::new(block_type, width), values, vec![[0f32; WIDTH]; width / WIDTH * PANEL])
                },
                |(tile, values, panels), (task, sums)| {
                    let n = sums.len() / batch * WIDTH;
                    let (values, panels) = (&mut values[..n], &mut panels[..n / WIDTH * PANEL]);
                    for first in (0..rows).step_by(PANEL) {
                        let count = PANEL.min(rows - first);
                        let weights = &data[first * self.row_bytes()..(first + count) * self.row_bytes()];
                        let block = task * width / block_type.values();
                        for (i, weights) in weights.chunks(ROWS * self.row_bytes()).enumerate() {
                            dequantise_panels(tile, values, weights, self.row_bytes(), block, panels, i * ROWS);
                        }
                        for (panel, sums) in panels.chunks_exact(PANEL).zip(sums.chunks_exact_mut(batch)) {
                            dy.accumulate(first, &panel[..count], sums);
                        }
                    }
                },
            );
            in_order(&sums, batch, columns, dx);
        }
        Ok(())
    }
}

/// Writes sums `[width / WIDTH, batch, WIDTH]` to `out` `[batch, width]`.
fn in_order(sums: &[[f32; WIDTH]], batch: usize, width: usize, out: &mut [f32]) {
    out.par_chunks_exact_mut(width).enumerate().for_each(|(i, out)| {
        for (out, sums) in out.chunks_mut(WIDTH).zip(sums.chunks_exact(batch)) {
            out.copy_from_slice(&sums[i][..out.len()]);
        }
    });
}
