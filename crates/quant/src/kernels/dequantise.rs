//! The values of blocks, compiled for several instruction sets, and of tiles.
#![allow(unsafe_code)]
// Without forced inlining, the body would be compiled for the baseline only.
#![allow(clippy::inline_always)]

#[cfg(target_arch = "x86_64")]
use super::{Kernel, avx512_pack};
use super::{ROWS, Tile};
use crate::block_type::BlockType;
use crate::blocks::{UnpackedBlock, unpack};

/// Largest number of values of a block.
const BLOCK: usize = 256;

/// Writes the values of whole blocks: `out` has as many elements as the blocks have values.
pub fn dequantise(block_type: BlockType, blocks: &[u8], out: &mut [f32]) {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has just reported this feature.
        return unsafe { avx2(block_type, blocks, out) };
    }
    body(block_type, blocks, out);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn avx2(block_type: BlockType, blocks: &[u8], out: &mut [f32]) {
    body(block_type, blocks, out);
}

#[inline(always)]
fn body(block_type: BlockType, blocks: &[u8], out: &mut [f32]) {
    let mut block = UnpackedBlock::default();
    for (bytes, out) in blocks.chunks_exact(block_type.bytes()).zip(out.chunks_exact_mut(block_type.values())) {
        unpack(block_type, bytes, &mut block);
        block.dequantise(block_type, out);
    }
}

/// Writes values of up to [`ROWS`] rows of weights, from block `first` on, to `out` `[values, ROWS]`, whose length is that of whole
/// blocks. What belongs to missing rows stays as it is. `tile` is memory for unpacked blocks, for as many values at least.
pub fn dequantise_tile(tile: &mut Tile, weights: &[u8], row_bytes: usize, first: usize, out: &mut [[f32; ROWS]]) {
    let block_type = tile.block_type();
    let (values, bytes) = (block_type.values(), block_type.bytes());
    #[cfg(target_arch = "x86_64")]
    if Kernel::Avx512Vnni.is_available() {
        // SAFETY: the processor has these features.
        unsafe {
            if avx512_pack::pack(tile, weights, row_bytes, first, out.len() / values) {
                return avx512_pack::dequantise(tile, out);
            }
        }
    }
    let mut some = [0f32; BLOCK];
    for (r, row) in weights.chunks_exact(row_bytes).enumerate() {
        let blocks = row[first * bytes..].chunks(BLOCK / values * bytes);
        for (out, blocks) in out.chunks_mut(BLOCK).zip(blocks) {
            let some = &mut some[..out.len()];
            dequantise(block_type, &blocks[..out.len() / values * bytes], some);
            for (out, value) in out.iter_mut().zip(some) {
                out[r] = *value;
            }
        }
    }
}

/// Writes values of up to [`ROWS`] rows of weights, from block `first` on, as rows `at`, `at + 1`, … of panels of [`ROWS`] columns:
/// `panels` is `[values / ROWS, length, ROWS]`. `tile` and `values` are memory, `values` for as many values as a row has here.
pub fn dequantise_panels(
    tile: &mut Tile,
    values: &mut [[f32; ROWS]],
    weights: &[u8],
    row_bytes: usize,
    first: usize,
    panels: &mut [[f32; ROWS]],
    at: usize,
) {
    let length = panels.len() * ROWS / values.len();
    #[cfg(target_arch = "x86_64")]
    if Kernel::Avx512Vnni.is_available() {
        let present = weights.len() / row_bytes;
        dequantise_tile(tile, weights, row_bytes, first, values);
        for (panel, rows) in panels.chunks_exact_mut(length).zip(values.as_chunks::<ROWS>().0) {
            // SAFETY: the processor has this feature.
            unsafe { avx512_pack::write_columns(rows, &mut panel[at..at + present]) };
        }
        return;
    }
    let block_type = tile.block_type();
    let bytes = values.len() / block_type.values() * block_type.bytes();
    let count = values.len();
    let values = &mut values.as_flattened_mut()[..count];
    for (r, row) in weights.chunks_exact(row_bytes).enumerate() {
        let start = first * block_type.bytes();
        dequantise(block_type, &row[start..start + bytes], values);
        for (panel, values) in panels.chunks_exact_mut(length).zip(values.as_chunks::<ROWS>().0) {
            panel[at + r] = *values;
        }
    }
}
