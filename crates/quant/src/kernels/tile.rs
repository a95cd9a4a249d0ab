//! Unpacked rows of weights, interleaved for the kernels of batches: a vector holds four integers of every row.

// Kernels compile `Tile::pack` for the instruction sets that they enable, which needs inlining.
#![allow(clippy::inline_always)]

use crate::block_type::BlockType;
use crate::blocks::{UnpackedBlock, unpack};

/// Number of rows of a tile: the 32-bit lanes of an AVX-512 vector, or of two AVX2 vectors.
pub const ROWS: usize = 16;
/// Number of values of each row that are unpacked at a time; then a tile stays in the first-level cache.
const PANEL: usize = 1024;

/// The bytes of a vector: four bytes, or two 16-bit integers, of each row. Aligned to a cache line.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub struct Line<T>(pub T);

/// Up to [`PANEL`] values of [`ROWS`] rows of weights.
pub struct Tile {
    block_type: BlockType,
    /// Number of blocks per row that are in the tile.
    pub blocks: usize,
    /// Integers `[blocks, values / 4, ROWS, 4]`.
    pub integers: Vec<Line<[u8; 64]>>,
    /// Scales of groups of 32 values (16 for `Q6_K`), `[blocks, groups, ROWS, 2]`, each twice.
    pub scales: Vec<Line<[i16; 32]>>,
    /// Factors that belong to sums of activations, `[blocks, groups / 2, ROWS, 2]`: the minima of groups, or for `Q6_K` the
    /// scales.
    pub minima: Vec<Line<[i16; 32]>>,
    /// Scale of the block, `[blocks, ROWS]`.
    pub block_scales: Vec<Line<[f32; ROWS]>>,
    /// Minimum of the block, `[blocks, ROWS]`.
    pub block_minima: Vec<Line<[f32; ROWS]>>,
    unpacked: Vec<UnpackedBlock>,
}

impl Tile {
    /// Memory for tiles of a matrix with rows of `columns` values.
    pub fn new(block_type: BlockType, columns: usize) -> Self {
        let blocks = PANEL.min(columns) / block_type.values();
        // Blocks of 32 values have one group, whose scale is that of the block.
        let groups = if block_type.values() == 32 { 0 } else { block_type.groups() };
        Self {
            block_type,
            blocks,
            integers: vec![Line([0; 64]); blocks * block_type.values() / 4],
            scales: vec![Line([0; 32]); blocks * groups],
            minima: vec![Line([0; 32]); blocks * groups / 2],
            block_scales: vec![Line([0.0; ROWS]); blocks],
            block_minima: vec![Line([0.0; ROWS]); blocks],
            unpacked: vec![UnpackedBlock::default(); ROWS],
        }
    }

    /// The type of the blocks.
    pub fn block_type(&self) -> BlockType {
        self.block_type
    }

    /// Largest number of blocks per row in a tile.
    pub fn capacity(&self) -> usize {
        self.block_scales.len()
    }

    /// Unpacks `blocks` blocks of up to [`ROWS`] rows, from block `first` on. Missing rows are zeros. `interleave` writes
    /// 32 integers of each of eight rows: its arguments are the rows, the first of the 32 integers, and the eight lines with
    /// the half of them to write.
    #[inline(always)]
    pub fn pack(
        &mut self,
        weights: &[u8],
        row_bytes: usize,
        first: usize,
        blocks: usize,
        interleave: impl Fn(&[UnpackedBlock], usize, &mut [Line<[u8; 64]>], usize),
    ) {
        let (values, bytes, groups) = (self.block_type.values(), self.block_type.bytes(), self.block_type.groups());
        self.blocks = blocks;
        for b in 0..blocks {
            let rows = weights.chunks_exact(row_bytes);
            let present = rows.len();
            for (row, out) in rows.zip(&mut self.unpacked) {
                unpack(self.block_type, &row[(first + b) * bytes..][..bytes], out);
            }
            self.unpacked[present..].fill(UnpackedBlock::default());
            let lines = &mut self.integers[b * values / 4..(b + 1) * values / 4];
            for (v, lines) in lines.chunks_exact_mut(8).enumerate() {
                for half in 0..2 {
                    interleave(&self.unpacked[8 * half..8 * half + 8], 32 * v, lines, half);
                }
            }
            for (r, block) in self.unpacked.iter().enumerate() {
                self.block_scales[b].0[r] = block.scale;
                self.block_minima[b].0[r] = block.minimum;
            }
            if values == 32 {
                continue;
            }
            // With a group of 16 values, there are as many scales in `UnpackedBlock` as groups; else twice as many.
            let step = 16 / groups;
            for (g, line) in self.scales[b * groups..(b + 1) * groups].iter_mut().enumerate() {
                for (r, block) in self.unpacked.iter().enumerate() {
                    line.0[2 * r] = block.scales[g * step];
                    line.0[2 * r + 1] = block.scales[g * step];
                }
            }
            let minimum = self.block_type.has_minimum();
            for (p, line) in self.minima[b * groups / 2..(b + 1) * groups / 2].iter_mut().enumerate() {
                for (r, block) in self.unpacked.iter().enumerate() {
                    let factors = if minimum { &block.minima } else { &block.scales };
                    line.0[2 * r] = factors[2 * p * step];
                    line.0[2 * r + 1] = factors[(2 * p + 1) * step];
                }
            }
        }
    }
}
