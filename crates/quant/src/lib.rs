//! Matrix products whose weights stay in the quantised block formats of GGUF files, on the CPU.
//!
//! A quantised row is a sequence of blocks of 32 or 256 values. A block holds small integers and the scales that turn
//! them into values. The formats are those of ggml (`ggml-common.h`, `ggml-quants.c` of
//! [llama.cpp](https://github.com/ggml-org/llama.cpp)).
//!
//! 1. [`BlockType`]: the formats, their sizes, and [`BlockType::dequantise`], the exact values of blocks as `f32`.
//! 2. [`QuantisedMatrix`]: a weight matrix `[rows, columns]` over bytes that are shared, not copied, and checked once.
//! 3. [`QuantisedRows`]: activations rounded to 8 bits per block, the scheme of llama.cpp's `Q8_0` and `Q8_K`.
//! 4. [`QuantisedMatrix::product`]: `x · wᵀ` of rounded activations in integers, for one row or many;
//!    [`error_bound`] says how far it may be from the exact product.
//! 5. [`QuantisedMatrix::product_f32`] and [`QuantisedMatrix::transposed_product`]: `x · wᵀ` and `dy · w` in `f32`, with
//!    tiles of rows dequantised on the way. The second is the gradient with respect to the activations.
//!
//! What is computed does not depend on the processor, the number of threads or the other rows of a batch: every
//! [`Kernel`] of the integer product gives the same bits ([`QuantisedMatrix::product`] has the equation).

mod error;
mod block_type;
mod blocks;
mod activations;
mod matrix;
mod product;
mod product_f32;
mod kernels;

pub use activations::QuantisedRows;
pub use block_type::BlockType;
pub use error::QuantError;
pub use kernels::Kernel;
pub use matrix::{QuantisedMatrix, SharedBytes};
pub use product::error_bound;
