//! What can be wrong with quantised matrices and with what is multiplied with them.

use thiserror::Error;

use crate::block_type::BlockType;

/// Why a quantised matrix cannot be made or a product cannot be computed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum QuantError {
    /// ggml's number of a tensor type that this crate does not read.
    #[error("type {number} is not supported; supported: {supported}", supported = BlockType::names())]
    UnknownType {
        /// ggml's number of the type.
        number: u32,
    },
    /// The rows do not consist of whole blocks.
    #[error("rows of {columns} values cannot be in {block_type}, whose blocks have {values} values")]
    PartialBlock {
        /// The type of the blocks.
        block_type: BlockType,
        /// Number of values per row.
        columns: usize,
        /// Number of values per block.
        values: usize,
    },
    /// The shape needs more bytes than a machine can address.
    #[error("the shape [{rows}, {columns}] is too large")]
    TooLarge {
        /// Number of rows.
        rows: usize,
        /// Number of values per row.
        columns: usize,
    },
    /// There are more or fewer bytes than the shape needs.
    #[error("the shape [{rows}, {columns}] in {block_type} takes {expected} bytes; there are {found}")]
    Length {
        /// The type of the blocks.
        block_type: BlockType,
        /// Number of rows.
        rows: usize,
        /// Number of values per row.
        columns: usize,
        /// Number of bytes that the shape needs.
        expected: usize,
        /// Number of bytes that there are.
        found: usize,
    },
    /// A part of shared bytes that reaches beyond their end.
    #[error("bytes {start} to {end} are not all there: there are {found}")]
    Range {
        /// First byte of the part.
        start: usize,
        /// Byte after the last byte of the part.
        end: usize,
        /// Number of bytes that there are.
        found: usize,
    },
    /// A block whose scale or minimum is infinite or not a number.
    #[error("the scale of block {block} of row {row} is not a finite number; fetch the file again")]
    Scale {
        /// Index of the row.
        row: usize,
        /// Index of the block within the row.
        block: usize,
    },
    /// A row that the matrix does not have.
    #[error("row {row} does not exist; there are {rows}")]
    Row {
        /// Index of the row.
        row: usize,
        /// Number of rows.
        rows: usize,
    },
    /// An operand of a product whose number of elements does not fit the matrix.
    #[error("{operand} has {found} elements; {expected} are needed")]
    Operand {
        /// Which operand it is, such as `x`.
        operand: &'static str,
        /// Number of elements that are needed.
        expected: usize,
        /// Number of elements that there are.
        found: usize,
    },
    /// Activations that are rounded in blocks of another size than the matrix needs.
    #[error("the activations are rounded in blocks of {found} values; {block_type} needs blocks of {expected}")]
    ActivationBlock {
        /// The type of the matrix.
        block_type: BlockType,
        /// Number of values per block that it needs.
        expected: usize,
        /// Number of values per block of the activations.
        found: usize,
    },
    /// A kernel for instructions that this processor does not have.
    #[error("this processor has no {kernel}")]
    Kernel {
        /// The name of the kernel.
        kernel: &'static str,
    },
}
