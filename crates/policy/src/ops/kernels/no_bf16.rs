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

/// Packs a matrix in bfloat16, which this processor does not have.
///
/// # Panics
/// Always.
pub fn packed(_: &[f32], _: usize) -> Vec<u32> {
    panic!("this processor has no instructions for bfloat16");
}

/// Products in bfloat16, which this processor does not have.
///
/// # Panics
/// Always.
pub fn product_packed(_: [usize; 3], _: &[f32], _: &[u32]) -> Vec<f32> {
    panic!("this processor has no instructions for bfloat16");
}
