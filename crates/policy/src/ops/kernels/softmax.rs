//! The numerators of a softmax over the vocabulary, for sampling.

use super::exp;

simd!(weights_of(logits: &[f32], top: f32, scale: f32, out: &mut [f32]) {
    let n = out.len();
    let logits = &logits[..n];
    for i in 0..n {
        out[i] = exp((logits[i] - top) * scale);
    }
});

/// Computes the numerators of a softmax over `logits` `[vocab]`: `exp((logit − top) · scale)`, where `top` is the
/// largest logit.
pub fn weights(logits: &[f32], top: f32, scale: f32) -> Vec<f32> {
    let mut out = vec![0f32; logits.len()];
    weights_of(logits, top, scale, &mut out);
    out
}
