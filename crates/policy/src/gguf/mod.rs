//! GGUF files, llama.cpp's format, version 2 and 3: metadata, and tensors dequantised to `f32`.

mod file;
mod model;
mod quants;

pub use file::{Gguf, GgufValue};
