//! The floating-point types in which files store weights.

use half::{bf16, f16};
use safetensors::tensor::Dtype;

/// A floating-point type in which a file stores weights. In memory, weights are in single precision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FloatType {
    /// Single precision, 32 bits.
    #[default]
    Float32,
    /// Half precision, 16 bits: 5 of exponent, 10 of fraction.
    Float16,
    /// bfloat16, 16 bits: 8 of exponent, 7 of fraction.
    Bfloat16,
}

impl FloatType {
    const ALL: [Self; 3] = [Self::Float32, Self::Float16, Self::Bfloat16];

    /// The type's name in `PyTorch`, which `dtype` in a `config.json` gives.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Float32 => "float32",
            Self::Float16 => "float16",
            Self::Bfloat16 => "bfloat16",
        }
    }

    /// The type with this name in `PyTorch`; `None` for any other name.
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|t| t.name() == name)
    }

    /// The type's name in safetensors files.
    pub(crate) const fn dtype(self) -> Dtype {
        match self {
            Self::Float32 => Dtype::F32,
            Self::Float16 => Dtype::F16,
            Self::Bfloat16 => Dtype::BF16,
        }
    }

    /// The type with this name in safetensors files; `None` where rlar does not support it.
    pub(crate) fn of_dtype(dtype: Dtype) -> Option<Self> {
        Self::ALL.into_iter().find(|t| t.dtype() == dtype)
    }

    /// Number of bytes of a value.
    pub(crate) const fn bytes(self) -> usize {
        match self {
            Self::Float32 => 4,
            Self::Float16 | Self::Bfloat16 => 2,
        }
    }

    /// The bytes of values in this type, little-endian. Each value is rounded to the nearest one of the type, ties to
    /// even.
    pub(crate) fn encode(self, values: &[f32]) -> Vec<u8> {
        match self {
            Self::Float32 => values.iter().flat_map(|x| x.to_le_bytes()).collect(),
            Self::Float16 => values.iter().flat_map(|x| f16::from_f32(*x).to_le_bytes()).collect(),
            Self::Bfloat16 => values.iter().flat_map(|x| bf16::from_f32(*x).to_le_bytes()).collect(),
        }
    }

    /// The values of bytes in this type, little-endian; exact. Bytes after the last whole value are ignored.
    pub(crate) fn decode(self, bytes: &[u8]) -> Vec<f32> {
        match self {
            Self::Float32 => bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect(),
            Self::Float16 => bytes.chunks_exact(2).map(|b| f16::from_le_bytes([b[0], b[1]]).to_f32()).collect(),
            Self::Bfloat16 => bytes.chunks_exact(2).map(|b| bf16::from_le_bytes([b[0], b[1]]).to_f32()).collect(),
        }
    }

    /// Whether a value is in the range of the type: rounded to it, a finite value is still finite.
    pub(crate) fn has_in_range(self, value: f32) -> bool {
        match self {
            Self::Float32 => value.is_finite(),
            Self::Float16 => f16::from_f32(value).is_finite(),
            Self::Bfloat16 => bf16::from_f32(value).is_finite(),
        }
    }
}
