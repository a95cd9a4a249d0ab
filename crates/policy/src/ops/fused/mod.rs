//! Fused operations as burn backend extensions for the CPU backend, each with its own backward pass.
//!
//! A forward pass under autodiff saves only what its backward pass reads; without autodiff nothing is saved.

mod autodiff;
mod flex;

use std::sync::Arc;

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, backend_extension};

use super::Packing;
use super::kernels::{Activation, AttentionSaved, AttentionSpec, TokenStats};

/// The parameters of an attention call besides its tensors.
#[derive(Clone, Debug)]
pub struct AttentionPlan {
    /// Heads, mask, rotary positions and scale.
    pub spec: Arc<AttentionSpec>,
    /// How the rows are packed.
    pub packing: Packing,
}

/// The forward passes, which a model calls.
#[backend_extension(Flex, Autodiff)]
pub trait FusedOps: Backend {
    /// `x · wᵀ` for `x` `[n, in]`, `w` `[out, in]`; with `batch_invariant`, a row's result does not depend on the
    /// other rows.
    fn fused_linear(x: FloatTensor<Self>, w: FloatTensor<Self>, batch_invariant: bool) -> FloatTensor<Self>;
    /// `x · wᵀ + b` for `b` `[1, out]`.
    fn fused_affine(
        x: FloatTensor<Self>,
        w: FloatTensor<Self>,
        b: FloatTensor<Self>,
        batch_invariant: bool,
    ) -> FloatTensor<Self>;
    /// Layer norm of `x` `[n, d]`, scaled by `w` and shifted by `b`, `[1, d]` each.
    fn fused_layer_norm(
        x: FloatTensor<Self>,
        w: FloatTensor<Self>,
        b: FloatTensor<Self>,
        eps: f32,
    ) -> FloatTensor<Self>;
    /// Root-mean-square norm of `x` `[n, d]`, scaled by `w` `[1, d]`.
    fn fused_rms_norm(x: FloatTensor<Self>, w: FloatTensor<Self>, eps: f32) -> FloatTensor<Self>;
    /// `activation(gate) · up`, all `[n, d]`.
    fn fused_gated(gate: FloatTensor<Self>, up: FloatTensor<Self>, activation: Activation) -> FloatTensor<Self>;
    /// `activation(x)`, both `[n, d]`.
    fn fused_activate(x: FloatTensor<Self>, activation: Activation) -> FloatTensor<Self>;
    /// Attention over packed sequences: `q` `[n, query · dim]`, `k` and `v` `[n, kv · dim]` to `[n, query · dim]`.
    fn fused_attention(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        plan: AttentionPlan,
    ) -> FloatTensor<Self>;
    /// `[n, 2]`: the log-prob of each target and the entropy of the softmax of `h · eᵀ`, `h` `[n, d]`, `e`
    /// `[vocab, d]`.
    fn fused_token_log_probs(h: FloatTensor<Self>, e: FloatTensor<Self>, targets: Arc<[u32]>) -> FloatTensor<Self>;
}

/// The backward passes, and the forward passes that save what these read. `g` is the gradient with respect to the
/// output.
pub trait FusedBackward: FusedOps {
    /// Gradient of [`FusedOps::fused_linear`] with respect to `x`.
    fn linear_dx(g: &FloatTensor<Self>, w: FloatTensor<Self>) -> FloatTensor<Self>;
    /// Gradient of [`FusedOps::fused_linear`] with respect to `w`.
    fn linear_dw(g: &FloatTensor<Self>, x: FloatTensor<Self>) -> FloatTensor<Self>;
    /// Gradient of [`FusedOps::fused_affine`] with respect to `b`.
    fn linear_db(g: &FloatTensor<Self>) -> FloatTensor<Self>;
    /// Gradients of [`FusedOps::fused_layer_norm`] with respect to `x`, `w` and `b`.
    fn layer_norm_backward(
        x: FloatTensor<Self>,
        w: FloatTensor<Self>,
        eps: f32,
        g: FloatTensor<Self>,
    ) -> [FloatTensor<Self>; 3];
    /// Gradients of [`FusedOps::fused_rms_norm`] with respect to `x` and `w`.
    fn rms_norm_backward(
        x: FloatTensor<Self>,
        w: FloatTensor<Self>,
        eps: f32,
        g: FloatTensor<Self>,
    ) -> [FloatTensor<Self>; 2];
    /// Gradients of [`FusedOps::fused_gated`] with respect to `gate` and `up`.
    fn gated_backward(
        gate: FloatTensor<Self>,
        up: FloatTensor<Self>,
        activation: Activation,
        g: FloatTensor<Self>,
    ) -> [FloatTensor<Self>; 2];
    /// Gradient of [`FusedOps::fused_activate`] with respect to `x`.
    fn activate_backward(x: FloatTensor<Self>, activation: Activation, g: FloatTensor<Self>) -> FloatTensor<Self>;
    /// [`FusedOps::fused_attention`] with what its backward pass reads.
    fn attention_saving(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        plan: &AttentionPlan,
    ) -> (FloatTensor<Self>, AttentionSaved);
    /// Gradients of [`FusedOps::fused_attention`] with respect to `q`, `k` and `v`.
    fn attention_backward(
        saved: &AttentionSaved,
        v: FloatTensor<Self>,
        g: FloatTensor<Self>,
        plan: &AttentionPlan,
    ) -> [FloatTensor<Self>; 3];
    /// [`FusedOps::fused_token_log_probs`] with what its backward pass reads.
    fn token_log_probs_saving(
        h: FloatTensor<Self>,
        e: FloatTensor<Self>,
        targets: &[u32],
    ) -> (FloatTensor<Self>, Vec<TokenStats>);
    /// Gradients of [`FusedOps::fused_token_log_probs`] with respect to `h` and `e`.
    fn token_log_probs_backward(
        h: FloatTensor<Self>,
        e: FloatTensor<Self>,
        targets: &[u32],
        saved: &[TokenStats],
        g: FloatTensor<Self>,
    ) -> [FloatTensor<Self>; 2];
}
