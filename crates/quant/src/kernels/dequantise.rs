//! The values of blocks, compiled for several instruction sets.
#![allow(unsafe_code)]
// Without forced inlining, the body would be compiled for the baseline only.
#![allow(clippy::inline_always)]

use crate::block_type::BlockType;
use crate::blocks::{UnpackedBlock, unpack};

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
