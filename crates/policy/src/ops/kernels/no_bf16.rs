//! Processors for which there are no matrix products in bfloat16.

use super::View;

/// Whether the processor has the instructions for products in bfloat16.
pub fn has_bf16() -> bool {
    false
}

/// Products in bfloat16, which this processor does not have.
///
/// # Panics
/// Always.
pub fn matmul_bf16(_: [usize; 3], _: View, _: View, _: &mut [f32], _: usize, _: bool) {
    panic!("this processor has no instructions for bfloat16");
}

/// Products in bfloat16, which this processor does not have.
///
/// # Panics
/// Always.
pub fn product_bf16(_: [usize; 3], _: View, _: View) -> Vec<f32> {
    panic!("this processor has no instructions for bfloat16");
}

/// A matrix in bfloat16, of which there is none on this processor.
#[derive(Debug)]
pub enum Bf16Matrix {}

impl Bf16Matrix {
    /// Rounds a matrix to bfloat16, which this processor does not have.
    ///
    /// # Panics
    /// Always.
    pub fn new(_: &[f32], _: usize) -> Self {
        panic!("this processor has no instructions for bfloat16");
    }

    /// A product with the matrix.
    pub fn product(&self, _: &[f32]) -> Vec<f32> {
        match *self {}
    }

    /// Number of bytes that the matrix takes in memory.
    pub fn size(&self) -> usize {
        match *self {}
    }
}
