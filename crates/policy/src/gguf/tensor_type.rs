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

/// A type of ggml that rlar does not read.
struct OtherType {
    number: u32,
    name: &'static str,
}

const fn other(number: u32, name: &'static str) -> OtherType {
    OtherType { number, name }
}

/// ggml's types that rlar does not read, whose names are for error messages.
const OTHER_TYPES: [OtherType; 22] = [
    other(9, "Q8_1"),
    other(10, "Q2_K"),
    other(11, "Q3_K"),
    other(15, "Q8_K"),
    other(16, "IQ2_XXS"),
    other(17, "IQ2_XS"),
    other(18, "IQ3_XXS"),
    other(19, "IQ1_S"),
    other(21, "IQ3_S"),
    other(22, "IQ2_S"),
    other(23, "IQ4_XS"),
    other(24, "I8"),
    other(25, "I16"),
    other(26, "I32"),
    other(27, "I64"),
    other(28, "F64"),
    other(29, "IQ1_M"),
    other(34, "TQ1_0"),
    other(35, "TQ2_0"),
    other(39, "MXFP4"),
    other(40, "NVFP4"),
    other(41, "Q1_0"),
];

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

    /// ggml's name of the type with this number, for error messages; the number itself for one that ggml does not have.
    pub fn name_of(number: u32) -> String {
        let other = OTHER_TYPES.iter().find(|t| t.number == number).map(|t| t.name);
        match (Self::of(number), other) {
            (Some(Self::Float(FloatType::Float32)), _) => "F32".into(),
            (Some(Self::Float(FloatType::Float16)), _) => "F16".into(),
            (Some(Self::Float(FloatType::Bfloat16)), _) => "BF16".into(),
            (Some(Self::Quantised(block_type)), _) => block_type.to_string(),
            (None, Some(name)) => name.to_owned(),
            (None, None) => number.to_string(),
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
