//! The types of tensors in GGUF files that are read: floats, and the quantised blocks of [`rlar_quant`].

use rlar_quant::{BlockType, QuantError};

use crate::float_type::FloatType;

/// The type in which a GGUF file stores a tensor's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TensorType {
    /// One floating-point number per value.
    Float(FloatType),
    /// Blocks of small integers with their scales.
    Quantised(BlockType),
}

impl TensorType {
    /// Returns the type with one of ggml's numbers (`enum ggml_type`); `None` where rlar does not support the type.
    pub fn of(number: u32) -> Option<Self> {
        match number {
            0 => Some(Self::Float(FloatType::Float32)),
            1 => Some(Self::Float(FloatType::Float16)),
            30 => Some(Self::Float(FloatType::Bfloat16)),
            _ => BlockType::from_number(number).ok().map(Self::Quantised),
        }
    }

    /// The names of all supported types, for error messages.
    pub fn names() -> String {
        format!("F32, F16, BF16, {}", BlockType::names())
    }

    /// Number of values per block; 1 for floats.
    pub const fn block_values(self) -> usize {
        match self {
            Self::Float(_) => 1,
            Self::Quantised(block_type) => block_type.values(),
        }
    }

    /// Number of bytes per block.
    pub const fn block_bytes(self) -> usize {
        match self {
            Self::Float(float_type) => float_type.bytes(),
            Self::Quantised(block_type) => block_type.bytes(),
        }
    }

    /// Converts the bytes of whole blocks to values. Bytes that are no whole blocks are an error.
    pub fn values(self, bytes: &[u8]) -> Result<Vec<f32>, QuantError> {
        match self {
            Self::Float(float_type) => Ok(float_type.decode(bytes)),
            Self::Quantised(_) if bytes.is_empty() => Ok(Vec::new()),
            Self::Quantised(block_type) => {
                let mut values = vec![0.0; bytes.len() / block_type.bytes() * block_type.values()];
                block_type.dequantise(bytes, &mut values)?;
                Ok(values)
            }
        }
    }
}
