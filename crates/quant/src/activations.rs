//! Activations rounded to 8 bits per block.

use rayon::prelude::*;

use crate::error::QuantError;

/// Adding this to a small `f32` rounds it to an integer, ties to even, which is then in the low bits.
const ROUND: f32 = 12_582_912.0;
/// Blocks whose largest magnitude is below this (2⁻¹⁰⁰) count as zeros, so that its reciprocal is finite.
const TINY: f32 = 7.888_609e-31;

/// From this many rows of activations on, it is faster to unpack the weights of a tile once for all of them.
pub const BATCH: usize = 4;

/// Rows of activations `[batch, columns]`, rounded to 8 bits in blocks of 32 or 256 values as in llama.cpp's `Q8_0` and
/// `Q8_K`: `x ≈ scale · q` with `scale = max|x| / 127` of the block and `q` from −127 to 127, rounded to the nearest.
///
/// Unlike in llama.cpp, the scales of blocks of 32 are `f32`, not half precision. A block with an infinite value or NaN
/// has the scale NaN, and so has every product with it.
#[derive(Clone, Debug)]
pub struct QuantisedRows {
    batch: usize,
    columns: usize,
    block: usize,
    values: Vec<i8>,
    scales: Vec<f32>,
    sums_of_16: Vec<i16>,
    sums_of_32: Vec<i16>,
    interleaved: Option<Interleaved>,
}

/// Rows of activations in groups of four for the kernels of batches. The last group is filled up with zeros.
#[derive(Clone, Debug, Default)]
pub struct Interleaved {
    /// Rounded values `[groups, columns / 4, 4 rows, 4 columns]`.
    pub values: Vec<[[i8; 4]; 4]>,
    /// Scales `[groups, blocks, 4 rows]`.
    pub scales: Vec<[f32; 4]>,
    /// Sums of 32 rounded values, `[groups, columns / 32, 4 rows]`.
    pub sums_of_32: Vec<[i32; 4]>,
    /// Sums of 16 rounded values in pairs, the first in the low 16 bits, `[groups, columns / 32, 4 rows]`.
    pub pairs_of_16: Vec<[i32; 4]>,
    /// Sums of 32 rounded values in pairs, `[groups, columns / 64, 4 rows]`; empty for blocks of 32.
    pub pairs_of_32: Vec<[i32; 4]>,
}

/// One row of [`QuantisedRows`].
#[derive(Clone, Copy)]
pub struct QuantisedRow<'a> {
    /// The rounded values, `[columns]`.
    pub values: &'a [i8],
    /// The scale of every block.
    pub scales: &'a [f32],
    /// The sum of every 16 rounded values.
    pub sums_of_16: &'a [i16],
    /// The sum of every 32 rounded values.
    pub sums_of_32: &'a [i16],
}

impl QuantisedRows {
    /// Rounds `x` `[batch, columns]` in blocks of `block` values, which is 32 or 256 and divides `columns`;
    /// [`QuantisedMatrix::activation_block`](crate::QuantisedMatrix::activation_block) says what a matrix needs.
    pub fn new(x: &[f32], columns: usize, block: usize) -> Result<Self, QuantError> {
        if columns == 0 || ![32, 256].contains(&block) || !columns.is_multiple_of(block) {
            let expected = columns.next_multiple_of(block.max(32)).max(32);
            return Err(QuantError::Operand { operand: "a row of activations", expected, found: columns });
        }
        if !x.len().is_multiple_of(columns) {
            let expected = x.len().next_multiple_of(columns);
            return Err(QuantError::Operand { operand: "the activations", expected, found: x.len() });
        }
        let batch = x.len() / columns;
        let mut rows = Self {
            batch,
            columns,
            block,
            values: vec![0; x.len()],
            scales: vec![0.0; x.len() / block],
            sums_of_16: vec![0; x.len() / 16],
            sums_of_32: vec![0; x.len() / 32],
            interleaved: None,
        };
        if batch < 8 {
            let sums =
                rows.sums_of_16.chunks_exact_mut(columns / 16).zip(rows.sums_of_32.chunks_exact_mut(columns / 32));
            let values = x.chunks_exact(columns).zip(rows.values.chunks_exact_mut(columns));
            values.zip(rows.scales.chunks_exact_mut(columns / block)).zip(sums).for_each(
                |(((x, values), scales), (sums_of_16, sums_of_32))| {
                    round_row(block, x, values, scales, sums_of_16, sums_of_32);
                },
            );
        } else {
            let sums = rows.sums_of_16.par_chunks_exact_mut(columns / 16);
            let sums = sums.zip(rows.sums_of_32.par_chunks_exact_mut(columns / 32));
            let values = x.par_chunks_exact(columns).zip(rows.values.par_chunks_exact_mut(columns));
            values.zip(rows.scales.par_chunks_exact_mut(columns / block)).zip(sums).for_each(
                |(((x, values), scales), (sums_of_16, sums_of_32))| {
                    round_row(block, x, values, scales, sums_of_16, sums_of_32);
                },
            );
        }
        if batch >= BATCH {
            rows.interleaved = Some(rows.interleave());
        }
        Ok(rows)
    }

    /// The rows in groups of four; `None` for fewer than [`BATCH`] rows.
    pub(crate) fn interleaved(&self) -> Option<&Interleaved> {
        self.interleaved.as_ref()
    }

    fn interleave(&self) -> Interleaved {
        let groups = self.batch.div_ceil(4);
        let pairs = if self.block == 256 { self.columns / 64 } else { 0 };
        let mut out = Interleaved {
            values: vec![[[0; 4]; 4]; groups * self.columns / 4],
            scales: vec![[0.0; 4]; groups * self.columns / self.block],
            sums_of_32: vec![[0; 4]; groups * self.columns / 32],
            pairs_of_16: vec![[0; 4]; groups * self.columns / 32],
            pairs_of_32: vec![[0; 4]; groups * pairs],
        };
        let pair = |pair: &[i16]| i32::from(pair[0] as u16) | i32::from(pair[1]) << 16;
        for r in 0..self.batch {
            let (group, lane, row) = (r / 4, r % 4, self.row(r));
            let part = |n: usize| group * n..(group + 1) * n;
            for (out, values) in out.values[part(self.columns / 4)].iter_mut().zip(row.values.as_chunks::<4>().0) {
                out[lane] = *values;
            }
            for (out, scale) in out.scales[part(self.columns / self.block)].iter_mut().zip(row.scales) {
                out[lane] = *scale;
            }
            for (out, sum) in out.sums_of_32[part(self.columns / 32)].iter_mut().zip(row.sums_of_32) {
                out[lane] = i32::from(*sum);
            }
            for (out, sums) in out.pairs_of_16[part(self.columns / 32)].iter_mut().zip(row.sums_of_16.chunks_exact(2)) {
                out[lane] = pair(sums);
            }
            for (out, sums) in out.pairs_of_32[part(pairs)].iter_mut().zip(row.sums_of_32.chunks_exact(2)) {
                out[lane] = pair(sums);
            }
        }
        out
    }

    /// Number of rows.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// Number of values per row.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Number of values per block: 32 or 256.
    pub fn block(&self) -> usize {
        self.block
    }

    /// The scale of a block: half of it is the largest rounding error there.
    ///
    /// # Panics
    /// When there is no such row or block.
    pub fn scale(&self, row: usize, block: usize) -> f32 {
        self.row(row).scales[block]
    }

    /// The values after rounding, `[batch, columns]`.
    pub fn dequantise(&self) -> Vec<f32> {
        let scales = self.scales.iter().flat_map(|scale| std::iter::repeat_n(*scale, self.block));
        self.values.iter().zip(scales).map(|(q, scale)| f32::from(*q) * scale).collect()
    }

    /// One row.
    ///
    /// # Panics
    /// When there is no such row.
    pub(crate) fn row(&self, row: usize) -> QuantisedRow<'_> {
        let part = |n: usize| row * n..(row + 1) * n;
        QuantisedRow {
            values: &self.values[part(self.columns)],
            scales: &self.scales[part(self.columns / self.block)],
            sums_of_16: &self.sums_of_16[part(self.columns / 16)],
            sums_of_32: &self.sums_of_32[part(self.columns / 32)],
        }
    }
}

/// Rounds a row, block by block, and adds up the rounded values.
fn round_row(
    block: usize,
    x: &[f32],
    values: &mut [i8],
    scales: &mut [f32],
    sums_of_16: &mut [i16],
    sums_of_32: &mut [i16],
) {
    for ((x, values), scale) in x.chunks_exact(block).zip(values.chunks_exact_mut(block)).zip(scales) {
        *scale = round_block(x, values);
    }
    for (sum, values) in sums_of_16.iter_mut().zip(values.chunks_exact(16)) {
        *sum = values.iter().map(|v| i16::from(*v)).sum();
    }
    for (sum, pair) in sums_of_32.iter_mut().zip(sums_of_16.chunks_exact(2)) {
        *sum = pair[0] + pair[1];
    }
}

/// Rounds a block and returns its scale.
fn round_block(x: &[f32], values: &mut [i8]) -> f32 {
    // Eight partial maxima, which the compiler can vectorise. The bits of magnitudes are ordered like the magnitudes,
    // and those of NaN are above those of every number.
    let mut maxima = [0u32; 8];
    for x in x.chunks_exact(8) {
        for (max, x) in maxima.iter_mut().zip(x) {
            *max = (*max).max(x.to_bits() & 0x7fff_ffff);
        }
    }
    let max = f32::from_bits(maxima.into_iter().fold(0, u32::max));
    if !max.is_finite() {
        values.fill(0);
        return f32::NAN;
    }
    if max < TINY {
        values.fill(0);
        return 0.0;
    }
    let inverse = 127.0 / max;
    for (value, x) in values.iter_mut().zip(x) {
        *value = (x * inverse + ROUND).to_bits() as i8;
    }
    max / 127.0
}
