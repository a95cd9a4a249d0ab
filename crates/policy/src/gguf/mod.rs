//! Reading GGUF files (llama.cpp's format for models), versions 2 and 3: metadata, and tensors, which are dequantised
//! to `f32` or stay in their blocks.

mod file;
mod header;
mod model;
mod origin;
mod tensor_type;

pub use file::{Gguf, GgufValue};
pub use origin::GgufOrigin;
