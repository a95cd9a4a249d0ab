//! The operations that models are made of: hand-written (fused) kernels on the CPU, burn's tensor code elsewhere.
//!
//! Activations are packed as `[rows, width]`: a sequence is a run of consecutive rows, and there is no padding.

mod fused;
pub mod kernels;
mod packing;
#[allow(missing_docs)]
pub(crate) mod plain;

use std::sync::Arc;

use burn::backend::Dispatch;
use burn::tensor::Tensor;
use rlar_quant::QuantisedMatrix;

pub use fused::AttentionPlan;
use fused::FusedOps;
pub(crate) use kernels::has_bf16;
pub use kernels::{Activation, AttentionSpec, Heads, Products, Rope, RopeConfig, RopeKind};
pub use packing::{Packing, Tree, TreePart};

/// Runs `f` on a thread of rayon's thread pool. While a thread of the pool waits for a parallel loop to end, it helps
/// to compute the loop; a thread outside the pool would sleep instead, thousands of times per step.
pub(crate) fn in_pool<R: Send>(f: impl FnOnce() -> R + Send) -> R {
    rayon::scope(|_| f())
}

/// Linear layer without bias whose matrix is in quantised blocks, on the CPU: `x · wᵀ` for `x` `[n, in]` and `w`
/// `[out, in]` gives `[n, out]`. With `rounded`, `x` is rounded to 8 bits per block, which the gradient disregards. The
/// result of a row does not depend on the other rows.
pub(crate) fn quantised_linear(x: Tensor<2>, w: QuantisedMatrix, rounded: bool) -> Tensor<2> {
    Tensor::from_dispatch(<Dispatch as FusedOps>::fused_quantised_linear(x.into_dispatch(), w, rounded))
}

/// Does what [`Ops::token_log_probs`] does, for a head `e` `[vocab, d]` in quantised blocks, on the CPU.
pub(crate) fn quantised_log_probs(h: Tensor<2>, e: QuantisedMatrix, targets: Arc<[u32]>) -> Tensor<2> {
    Tensor::from_dispatch(<Dispatch as FusedOps>::fused_quantised_log_probs(h.into_dispatch(), e, targets))
}

/// The implementation of the operations that models are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ops {
    /// Hand-written CPU kernels, each with its own backward pass, which compute products with weights in one of several
    /// ways.
    Fused(Products),
    /// Tensor code of burn in `f32`, for any device.
    Plain,
    /// [`Ops::Plain`] with matrix products of weights in bfloat16. Weights, gradients and all other operations are in
    /// `f32`.
    Half,
}

impl Ops {
    /// Whether the implementation is the hand-written CPU kernels.
    pub fn fused(self) -> bool {
        matches!(self, Self::Fused(_))
    }

    /// Linear layer without bias: `x · wᵀ` for `x` `[n, in]` and `w` `[out, in]` gives `[n, out]`.
    pub fn linear(self, x: Tensor<2>, w: Tensor<2>) -> Tensor<2> {
        match self {
            Self::Plain => plain::linear(x, w),
            Self::Half => plain::half_linear(x, w),
            Self::Fused(products) => Tensor::from_dispatch(<Dispatch as FusedOps>::fused_linear(
                x.into_dispatch(),
                w.into_dispatch(),
                products,
            )),
        }
    }

    /// RMS norm (Zhang & Sennrich, 2019) of each row of `x` `[n, d]`, multiplied by `w` `[1, d]`. `eps` is added to the
    /// mean square.
    pub fn rms_norm(self, x: Tensor<2>, w: Tensor<2>, eps: f32) -> Tensor<2> {
        match self {
            Self::Plain | Self::Half => plain::rms_norm(x, w, eps),
            Self::Fused(_) => {
                Tensor::from_dispatch(<Dispatch as FusedOps>::fused_rms_norm(x.into_dispatch(), w.into_dispatch(), eps))
            }
        }
    }

    /// Linear layer with bias: `x · wᵀ + b` for `x` `[n, in]`, `w` `[out, in]` and `b` `[1, out]` gives `[n, out]`.
    pub fn affine(self, x: Tensor<2>, w: Tensor<2>, b: Tensor<2>) -> Tensor<2> {
        match self {
            Self::Plain => plain::linear(x, w) + b,
            Self::Half => plain::half_linear(x, w) + b,
            Self::Fused(products) => Tensor::from_dispatch(<Dispatch as FusedOps>::fused_affine(
                x.into_dispatch(),
                w.into_dispatch(),
                b.into_dispatch(),
                products,
            )),
        }
    }

    /// Layer norm (Ba et al., 2016) of each row of `x` `[n, d]`, multiplied by `w` `[1, d]`, plus `b` `[1, d]`. `eps`
    /// is added to the variance.
    pub fn layer_norm(self, x: Tensor<2>, w: Tensor<2>, b: Tensor<2>, eps: f32) -> Tensor<2> {
        match self {
            Self::Plain | Self::Half => plain::layer_norm(x, w, b, eps),
            Self::Fused(_) => Tensor::from_dispatch(<Dispatch as FusedOps>::fused_layer_norm(
                x.into_dispatch(),
                w.into_dispatch(),
                b.into_dispatch(),
                eps,
            )),
        }
    }

    /// Gated linear unit (Shazeer, 2020), elementwise: `activation(gate) · up` for `gate` and `up` `[n, d]`.
    pub fn gated(self, gate: Tensor<2>, up: Tensor<2>, activation: Activation) -> Tensor<2> {
        match self {
            Self::Plain | Self::Half => plain::activate(gate, activation) * up,
            Self::Fused(_) => Tensor::from_dispatch(<Dispatch as FusedOps>::fused_gated(
                gate.into_dispatch(),
                up.into_dispatch(),
                activation,
            )),
        }
    }

    /// Applies an activation to every element of `x` `[n, d]`.
    pub fn activate(self, x: Tensor<2>, activation: Activation) -> Tensor<2> {
        match self {
            Self::Plain | Self::Half => plain::activate(x, activation),
            Self::Fused(_) => {
                Tensor::from_dispatch(<Dispatch as FusedOps>::fused_activate(x.into_dispatch(), activation))
            }
        }
    }

    /// Grouped-query attention over packed sequences: `q` `[n, query · dim]`, `k` and `v` `[n, kv · dim]` give
    /// `[n, query · dim]`.
    pub fn attention(self, q: Tensor<2>, k: Tensor<2>, v: Tensor<2>, plan: AttentionPlan) -> Tensor<2> {
        match self {
            Self::Plain | Self::Half => plain::attention(q, k, v, &plan),
            Self::Fused(_) => Tensor::from_dispatch(<Dispatch as FusedOps>::fused_attention(
                q.into_dispatch(),
                k.into_dispatch(),
                v.into_dispatch(),
                plan,
            )),
        }
    }

    /// Computes for each row of `h` `[n, d]` the log-prob of its target token and the entropy in nats, both under the
    /// softmax of `h · eᵀ` for `e` `[vocab, d]`: `[n, 2]`. The fused kernel never holds all logits `[n, vocab]`.
    pub fn token_log_probs(self, h: Tensor<2>, e: Tensor<2>, targets: Arc<[u32]>) -> Tensor<2> {
        match self {
            Self::Plain | Self::Half => plain::token_log_probs(h, e, &targets),
            Self::Fused(products) => Tensor::from_dispatch(<Dispatch as FusedOps>::fused_token_log_probs(
                h.into_dispatch(),
                e.into_dispatch(),
                targets,
                products,
            )),
        }
    }
}
