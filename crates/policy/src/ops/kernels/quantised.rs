//! Linear layers whose matrix is in the quantised blocks of a GGUF file.
//!
//! A product fails only if the shapes do not fit, which loading a model rules out. Its result is then NaN, which
//! sampling and scoring report.

use rlar_quant::{QuantError, QuantisedMatrix, QuantisedRows};

/// Linear layer `x · wᵀ` for `x` `[n, in]` and `w` `[out, in]`. With `rounded`, `x` is rounded to 8 bits per block;
/// otherwise the product is computed in `f32`. The result of a row does not depend on the other rows.
pub fn quantised_linear(x: &[f32], w: &QuantisedMatrix, rounded: bool) -> Vec<f32> {
    let mut y = vec![0f32; x.len() / w.columns() * w.rows()];
    if rounded {
        let product = QuantisedRows::new(x, w.columns(), w.activation_block()).and_then(|x| w.product(&x, &mut y));
        or_nan(&product, &mut y);
    } else {
        product_or_nan(x, w, &mut y);
    }
    y
}

/// Gradient of [`quantised_linear`] with respect to `x`, `[n, in]`, given the gradient `g` `[n, out]` with respect to
/// its output.
pub fn quantised_linear_dx(g: &[f32], w: &QuantisedMatrix) -> Vec<f32> {
    let mut dx = vec![0f32; g.len() / w.rows().max(1) * w.columns()];
    transposed_or_nan(g, w, &mut dx);
    dx
}

/// `y = x · wᵀ` in `f32`.
pub fn product_or_nan(x: &[f32], w: &QuantisedMatrix, y: &mut [f32]) {
    or_nan(&w.product_f32(x, y), y);
}

/// `dx = dy · w` in `f32`.
pub fn transposed_or_nan(dy: &[f32], w: &QuantisedMatrix, dx: &mut [f32]) {
    or_nan(&w.transposed_product(dy, dx), dx);
}

fn or_nan(product: &Result<(), QuantError>, out: &mut [f32]) {
    if product.is_err() {
        out.fill(f32::NAN);
    }
}
