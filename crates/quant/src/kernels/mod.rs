//! The kernels of the integer product and their choice at run time. The files below are the only unsafe code of this
//! crate: vector loads, and calls of functions for instructions that the processor was asked for.

mod tile;
mod dequantise;
mod portable;
#[cfg(target_arch = "x86_64")]
mod avx2_rows;
#[cfg(target_arch = "x86_64")]
mod avx2_tile;
#[cfg(target_arch = "x86_64")]
mod avx512_pack;
#[cfg(target_arch = "x86_64")]
mod avx512_tile;
pub(crate) mod gemm;

use std::ops::Range;
use std::sync::OnceLock;

use crate::activations::QuantisedRows;
use crate::block_type::BlockType;
pub use dequantise::{dequantise, dequantise_panels, dequantise_tile};
pub use tile::{ROWS, Tile};

/// An implementation of the integer product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kernel {
    /// Plain Rust, for every processor.
    Portable,
    /// AVX2 with F16C (x86-64-v3).
    Avx2,
    /// AVX-512 with VNNI for batches; single rows, which memory bounds, as in [`Self::Avx2`].
    Avx512Vnni,
}

impl Kernel {
    /// Every kernel, the fastest last.
    pub const ALL: [Self; 3] = [Self::Portable, Self::Avx2, Self::Avx512Vnni];

    /// The fastest kernel that the processor can run.
    pub fn best() -> Self {
        static BEST: OnceLock<Kernel> = OnceLock::new();
        *BEST.get_or_init(|| Self::ALL.into_iter().rfind(|k| k.is_available()).unwrap_or(Self::Portable))
    }

    /// The name of the instructions.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Portable => "plain Rust",
            Self::Avx2 => "AVX2",
            Self::Avx512Vnni => "AVX-512 VNNI",
        }
    }

    /// Whether the processor can run it.
    pub fn is_available(self) -> bool {
        #[cfg(target_arch = "x86_64")]
        {
            let avx2 = || is_x86_feature_detected!("avx2") && is_x86_feature_detected!("f16c");
            match self {
                Self::Portable => true,
                Self::Avx2 => avx2(),
                Self::Avx512Vnni => {
                    avx2()
                        && is_x86_feature_detected!("avx512f")
                        && is_x86_feature_detected!("avx512bw")
                        && is_x86_feature_detected!("avx512vnni")
                }
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        {
            self == Self::Portable
        }
    }

    /// Products of one row of weights with all rows of `x`, to `out` `[batch]`. The kernel is available.
    pub(crate) fn row(self, block_type: BlockType, weights: &[u8], x: &QuantisedRows, out: &mut [f32]) {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 | Self::Avx512Vnni => avx2_rows::row(block_type, weights, x, out),
            _ => portable::row(block_type, weights, x, out),
        }
    }

    /// Products of up to [`ROWS`] rows of weights with the rows `columns` of `x`, to `sums` `[columns]`. `tile` is memory
    /// for the unpacked weights. The kernel is available.
    pub(crate) fn tile(
        self,
        tile: &mut Tile,
        weights: &[u8],
        row_bytes: usize,
        x: &QuantisedRows,
        columns: Range<usize>,
        sums: &mut [[f32; ROWS]],
    ) {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => avx2_tile::products(tile, weights, row_bytes, x, columns, sums),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Vnni => avx512_tile::products(tile, weights, row_bytes, x, columns, sums),
            _ => portable::tile(tile.block_type(), weights, row_bytes, x, columns, sums),
        }
    }
}
