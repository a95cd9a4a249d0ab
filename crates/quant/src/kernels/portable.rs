//! The integer product in plain Rust.

use std::ops::Range;

use super::ROWS;
use crate::activations::{QuantisedRow, QuantisedRows};
use crate::block_type::BlockType;
use crate::blocks::{UnpackedBlock, unpack};

/// Products of one row of weights with all rows of `x`, to `out` `[batch]`.
pub fn row(block_type: BlockType, weights: &[u8], x: &QuantisedRows, out: &mut [f32]) {
    out.fill(0.0);
    let mut block = UnpackedBlock::default();
    for (b, bytes) in weights.chunks_exact(block_type.bytes()).enumerate() {
        unpack(block_type, bytes, &mut block);
        for (c, out) in out.iter_mut().enumerate() {
            *out += product(block_type, &block, x.row(c), b);
        }
    }
}

/// Products of up to [`ROWS`] rows of weights with the rows `columns` of `x`, to `sums` `[columns]`.
pub fn tile(
    block_type: BlockType,
    weights: &[u8],
    row_bytes: usize,
    x: &QuantisedRows,
    columns: Range<usize>,
    sums: &mut [[f32; ROWS]],
) {
    let mut block = UnpackedBlock::default();
    for (r, weights) in weights.chunks_exact(row_bytes).enumerate() {
        for sums in sums.iter_mut() {
            sums[r] = 0.0;
        }
        for (b, bytes) in weights.chunks_exact(block_type.bytes()).enumerate() {
            unpack(block_type, bytes, &mut block);
            for (c, sums) in columns.clone().zip(sums.iter_mut()) {
                sums[r] += product(block_type, &block, x.row(c), b);
            }
        }
    }
}

/// The product of a block with block `b` of a row of activations.
fn product(block_type: BlockType, block: &UnpackedBlock, x: QuantisedRow, b: usize) -> f32 {
    let n = block_type.values();
    let values = &x.values[b * n..(b + 1) * n];
    let sums = &x.sums_of_16[b * n / 16..(b + 1) * n / 16];
    let (mut products, mut minima) = (0i32, 0i32);
    for (g, ((values, integers), sum)) in
        values.chunks_exact(16).zip(block.integers.chunks_exact(16)).zip(sums).enumerate()
    {
        let pairs = values.iter().zip(integers);
        let product: i32 = if block_type.signed() {
            pairs.map(|(x, q)| i32::from(*x) * i32::from(*q as i8)).sum()
        } else {
            pairs.map(|(x, q)| i32::from(*x) * i32::from(*q)).sum()
        };
        products += i32::from(block.scales[g]) * (product - block_type.offset() * i32::from(*sum));
        minima += i32::from(block.minima[g]) * i32::from(*sum);
    }
    let mut sum = block.scale * products as f32;
    if block_type.has_minimum() {
        sum += block.minimum * minima as f32;
    }
    x.scales[b] * sum
}
