//! Fused operations as burn backend extensions for the CPU backend, each with its own backward pass.
//!
//! A forward pass under autodiff saves only what its backward pass reads. Without autodiff, nothing is saved.

mod autodiff;
mod flex;

use std::sync::Arc;

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, backend_extension};
use rlar_quant::QuantisedMatrix;

use super::Packing;
use super::kernels::{Activation, AttentionSaved, AttentionSpec, Products, TokenStats};

/// The parameters of an attention call other than its tensors.
#[derive(Clone, Debug)]
pub struct AttentionPlan {
    /// Settings of the layer's attention: heads, mask, rotary positions and scale.
    pub spec: Arc<AttentionSpec>,
    /// How the rows (tokens) are divided into sequences, and which sequences share a prefix.
    pub packing: Packing,
}

/// The forward passes of the fused operations, which models call.
#[backend_extension(Flex, Autodiff)]
pub trait FusedOps: Backend {
    /// Linear layer without bias: `x · wᵀ` for `x` `[n, in]` and `w` `[out, in]`.
    fn fused_linear(x: FloatTensor<Self>, w: FloatTensor<Self>, products: Products) -> FloatTensor<Self>;
    /// Linear layer with bias: `x · wᵀ + b` for `x` `[n, in]`, `w` `[out, in]` and `b` `[1, out]`.
    fn fused_affine(
        x: FloatTensor<Self>,
        w: FloatTensor<Self>,
        b: FloatTensor<Self>,
        products: Products,
    ) -> FloatTensor<Self>;
    /// Layer norm of each row of `x` `[n, d]`, multiplied by `w` `[1, d]`, plus `b` `[1, d]`.
    fn fused_layer_norm(
        x: FloatTensor<Self>,
        w: FloatTensor<Self>,
        b: FloatTensor<Self>,
        eps: f32,
    ) -> FloatTensor<Self>;
    /// RMS norm of each row of `x` `[n, d]`, multiplied by `w` `[1, d]`.
    fn fused_rms_norm(x: FloatTensor<Self>, w: FloatTensor<Self>, eps: f32) -> FloatTensor<Self>;
    /// Gated linear unit, elementwise: `activation(gate) · up` for `gate` and `up` `[n, d]`.
    fn fused_gated(gate: FloatTensor<Self>, up: FloatTensor<Self>, activation: Activation) -> FloatTensor<Self>;
    /// Applies an activation to every element of `x` `[n, d]`.
    fn fused_activate(x: FloatTensor<Self>, activation: Activation) -> FloatTensor<Self>;
    /// Attention over packed sequences: `q` `[n, query · dim]`, `k` and `v` `[n, kv · dim]` give `[n, query · dim]`.
    fn fused_attention(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        plan: AttentionPlan,
    ) -> FloatTensor<Self>;
    /// Computes for each row of `h` `[n, d]` the log-prob of its target and the entropy in nats, both under the softmax
    /// of `h · eᵀ` for `e` `[vocab, d]`: `[n, 2]`.
    fn fused_token_log_probs(
        h: FloatTensor<Self>,
        e: FloatTensor<Self>,
        targets: Arc<[u32]>,
        products: Products,
    ) -> FloatTensor<Self>;
    /// Linear layer whose matrix is in quantised blocks: `x · wᵀ` for `x` `[n, in]` and `w` `[out, in]`. With
    /// `rounded`, `x` is rounded to 8 bits per block.
    fn fused_quantised_linear(x: FloatTensor<Self>, w: QuantisedMatrix, rounded: bool) -> FloatTensor<Self>;
    /// [`FusedOps::fused_token_log_probs`] with a head `e` in quantised blocks.
    fn fused_quantised_log_probs(h: FloatTensor<Self>, e: QuantisedMatrix, targets: Arc<[u32]>) -> FloatTensor<Self>;
}

/// The backward passes of the fused operations, and those forward passes that save what a backward pass reads. `g` is
/// the gradient with respect to an operation's output.
pub trait FusedBackward: FusedOps {
    /// Gradient of [`FusedOps::fused_linear`] with respect to `x`, given the gradient `g` with respect to its output.
    fn linear_dx(g: &FloatTensor<Self>, w: FloatTensor<Self>, products: Products) -> FloatTensor<Self>;
    /// Gradient of [`FusedOps::fused_linear`] with respect to `w`, given the gradient `g` with respect to its output.
    fn linear_dw(g: &FloatTensor<Self>, x: FloatTensor<Self>, products: Products) -> FloatTensor<Self>;
    /// Gradient of [`FusedOps::fused_affine`] with respect to `b`, given the gradient `g` with respect to its output.
    fn linear_db(g: &FloatTensor<Self>) -> FloatTensor<Self>;
    /// Gradients of [`FusedOps::fused_layer_norm`] with respect to `x`, `w` and `b`, given the gradient `g` with
    /// respect to its output.
    fn layer_norm_backward(
        x: FloatTensor<Self>,
        w: FloatTensor<Self>,
        eps: f32,
        g: FloatTensor<Self>,
    ) -> [FloatTensor<Self>; 3];
    /// Gradients of [`FusedOps::fused_rms_norm`] with respect to `x` and `w`, given the gradient `g` with respect to
    /// its output.
    fn rms_norm_backward(
        x: FloatTensor<Self>,
        w: FloatTensor<Self>,
        eps: f32,
        g: FloatTensor<Self>,
    ) -> [FloatTensor<Self>; 2];
    /// Gradients of [`FusedOps::fused_gated`] with respect to `gate` and `up`, given the gradient `g` with respect to
    /// its output.
    fn gated_backward(
        gate: FloatTensor<Self>,
        up: FloatTensor<Self>,
        activation: Activation,
        g: FloatTensor<Self>,
    ) -> [FloatTensor<Self>; 2];
    /// Gradient of [`FusedOps::fused_activate`] with respect to `x`, given the gradient `g` with respect to its output.
    fn activate_backward(x: FloatTensor<Self>, activation: Activation, g: FloatTensor<Self>) -> FloatTensor<Self>;
    /// Computes [`FusedOps::fused_attention`], and also returns the intermediate values that its backward pass needs.
    fn attention_saving(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        plan: &AttentionPlan,
    ) -> (FloatTensor<Self>, AttentionSaved);
    /// Gradients of [`FusedOps::fused_attention`] with respect to `q`, `k` and `v`, given the gradient `g` with respect
    /// to its output and the values `saved` by the forward pass.
    fn attention_backward(
        saved: &AttentionSaved,
        v: FloatTensor<Self>,
        g: FloatTensor<Self>,
        plan: &AttentionPlan,
    ) -> [FloatTensor<Self>; 3];
    /// Computes [`FusedOps::fused_token_log_probs`], and also returns the intermediate values that its backward pass
    /// needs.
    fn token_log_probs_saving(
        h: FloatTensor<Self>,
        e: FloatTensor<Self>,
        targets: &[u32],
        products: Products,
    ) -> (FloatTensor<Self>, Vec<TokenStats>);
    /// Gradients of [`FusedOps::fused_token_log_probs`] with respect to `h` and `e`, given the gradient `g` with
    /// respect to its output and the values `saved` by the forward pass.
    fn token_log_probs_backward(
        h: FloatTensor<Self>,
        e: FloatTensor<Self>,
        targets: &[u32],
        saved: &[TokenStats],
        g: FloatTensor<Self>,
        products: Products,
    ) -> [FloatTensor<Self>; 2];
    /// Gradient of [`FusedOps::fused_quantised_linear`] with respect to `x`, given the gradient `g` with respect to its
    /// output.
    fn quantised_linear_dx(g: FloatTensor<Self>, w: &QuantisedMatrix) -> FloatTensor<Self>;
    /// Computes [`FusedOps::fused_quantised_log_probs`], and also returns the intermediate values that its backward
    /// pass needs.
    fn quantised_log_probs_saving(
        h: FloatTensor<Self>,
        e: &QuantisedMatrix,
        targets: &[u32],
    ) -> (FloatTensor<Self>, Vec<TokenStats>);
    /// Gradient of [`FusedOps::fused_quantised_log_probs`] with respect to `h`, given the gradient `g` with respect to
    /// its output and the values `saved` by the forward pass.
    fn quantised_log_probs_dh(
        h: FloatTensor<Self>,
        e: &QuantisedMatrix,
        targets: &[u32],
        saved: &[TokenStats],
        g: FloatTensor<Self>,
    ) -> FloatTensor<Self>;
}
