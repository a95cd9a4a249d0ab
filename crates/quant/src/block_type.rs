//! The block formats: their names, ggml's numbers for them, and their sizes.

use std::fmt;

use crate::error::QuantError;
use crate::kernels;

/// A quantised format of GGUF files. The layouts of the blocks are in `blocks.rs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(non_camel_case_types)]
pub enum BlockType {
    /// 32 values of 4 bits, a scale.
    Q4_0,
    /// 32 values of 4 bits, a scale and a minimum.
    Q4_1,
    /// 32 values of 5 bits, a scale.
    Q5_0,
    /// 32 values of 5 bits, a scale and a minimum.
    Q5_1,
    /// 32 values of 8 bits, a scale.
    Q8_0,
    /// 256 values of 4 bits in 8 groups, which have a scale and a minimum of 6 bits each.
    Q4_K,
    /// 256 values of 5 bits in 8 groups, which have a scale and a minimum of 6 bits each.
    Q5_K,
    /// 256 values of 6 bits in 16 groups, which have a scale of 8 bits each.
    Q6_K,
    /// 32 values of 4 bits, which stand for sixteen values of a table, and a scale.
    IQ4_NL,
}

impl BlockType {
    /// Every type.
    pub const ALL: [Self; 9] =
        [Self::Q4_0, Self::Q4_1, Self::Q5_0, Self::Q5_1, Self::Q8_0, Self::Q4_K, Self::Q5_K, Self::Q6_K, Self::IQ4_NL];

    /// Returns the type with one of ggml's numbers (`enum ggml_type`), or [`QuantError::UnknownType`].
    pub fn from_number(number: u32) -> Result<Self, QuantError> {
        Self::ALL.into_iter().find(|t| t.number() == number).ok_or(QuantError::UnknownType { number })
    }

    /// ggml's number of the type (`enum ggml_type`).
    pub const fn number(self) -> u32 {
        match self {
            Self::Q4_0 => 2,
            Self::Q4_1 => 3,
            Self::Q5_0 => 6,
            Self::Q5_1 => 7,
            Self::Q8_0 => 8,
            Self::Q4_K => 12,
            Self::Q5_K => 13,
            Self::Q6_K => 14,
            Self::IQ4_NL => 20,
        }
    }

    /// ggml's name of the type.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Q4_0 => "Q4_0",
            Self::Q4_1 => "Q4_1",
            Self::Q5_0 => "Q5_0",
            Self::Q5_1 => "Q5_1",
            Self::Q8_0 => "Q8_0",
            Self::Q4_K => "Q4_K",
            Self::Q5_K => "Q5_K",
            Self::Q6_K => "Q6_K",
            Self::IQ4_NL => "IQ4_NL",
        }
    }

    /// The names of all types, for error messages.
    pub fn names() -> String {
        Self::ALL.map(Self::name).join(", ")
    }

    /// Number of values per block.
    pub const fn values(self) -> usize {
        match self {
            Self::Q4_K | Self::Q5_K | Self::Q6_K => 256,
            _ => 32,
        }
    }

    /// Number of bytes per block.
    pub const fn bytes(self) -> usize {
        match self {
            Self::Q4_0 | Self::IQ4_NL => 18,
            Self::Q4_1 => 20,
            Self::Q5_0 => 22,
            Self::Q5_1 => 24,
            Self::Q8_0 => 34,
            Self::Q4_K => 144,
            Self::Q5_K => 176,
            Self::Q6_K => 210,
        }
    }

    /// What is subtracted from the stored integers before they are scaled.
    pub(crate) const fn offset(self) -> i32 {
        match self {
            Self::Q4_0 => 8,
            Self::Q5_0 => 16,
            Self::Q6_K => 32,
            _ => 0,
        }
    }

    /// Whether the integers are signed bytes; they are unsigned and below 64 otherwise.
    pub(crate) const fn signed(self) -> bool {
        matches!(self, Self::Q8_0 | Self::IQ4_NL)
    }

    /// Whether values have a minimum that is added after scaling.
    pub(crate) const fn has_minimum(self) -> bool {
        matches!(self, Self::Q4_1 | Self::Q5_1 | Self::Q4_K | Self::Q5_K)
    }

    /// Number of groups of a block that have a scale of their own.
    pub(crate) const fn groups(self) -> usize {
        match self {
            Self::Q4_K | Self::Q5_K => 8,
            Self::Q6_K => 16,
            _ => 1,
        }
    }

    /// Byte offsets of the half-precision numbers of a block: the scale and, where there is one, the minimum.
    pub(crate) const fn halves(self) -> &'static [usize] {
        match self {
            Self::Q6_K => &[208],
            Self::Q4_1 | Self::Q5_1 | Self::Q4_K | Self::Q5_K => &[0, 2],
            _ => &[0],
        }
    }

    /// Number of bytes of a row of `columns` values.
    pub fn row_bytes(self, columns: usize) -> Result<usize, QuantError> {
        let values = self.values();
        if columns == 0 || !columns.is_multiple_of(values) {
            return Err(QuantError::PartialBlock { block_type: self, columns, values });
        }
        (columns / values).checked_mul(self.bytes()).ok_or(QuantError::TooLarge { rows: 1, columns })
    }

    /// Writes the values of whole blocks: `out` has [`Self::values`] elements for [`Self::bytes`] bytes. The values are
    /// those of ggml's `dequantize_row_*`, bit for bit.
    pub fn dequantise(self, blocks: &[u8], out: &mut [f32]) -> Result<(), QuantError> {
        let expected = self.row_bytes(out.len())?;
        if blocks.len() != expected {
            return Err(QuantError::Operand { operand: "the row's bytes", expected, found: blocks.len() });
        }
        kernels::dequantise(self, blocks, out);
        Ok(())
    }
}

impl fmt::Display for BlockType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
