//! The operations that models are made of: fused kernels on the CPU, plain tensor code on other devices.
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

pub use fused::AttentionPlan;
use fused::FusedOps;
pub use kernels::{Activation, AttentionSpec, Heads, Rope, RopeConfig, RopeKind};
pub use packing::{Packing, Tree, TreePart};

/// Runs `f` on a thread of the pool, which works while it waits for a parallel loop. A thread outside the pool would
/// sleep instead, thousands of times per step.
pub(crate) fn in_pool<R: Send>(f: impl FnOnce() -> R + Send) -> R {
    rayon::scope(|_| f())
}

/// The implementation of the operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ops {
    /// Hand-written CPU kernels with their own backward passes.
    Fused,
    /// [`Ops::Fused`] with batch-invariant matrix products: the result of a row does not depend on the other rows.
    BatchInvariant,
    /// Plain tensor code, on any device.
    Plain,
    /// [`Ops::Plain`] with matrix products of weights in bf16. Weights, gradients and all other operations are in
    /// `f32`.
    Half,
}

impl Ops {
    /// Whether the hand-written CPU kernels run.
    pub fn fused(self) -> bool {
        matches!(self, Self::Fused | Self::BatchInvariant)
    }

    /// `x · wᵀ` for `x` `[n, in]` and `w` `[out, in]`: `[n, out]`.
    pub fn linear(self, x: Tensor<2>, w: Tensor<2>) -> Tensor<2> {
        match self {
            Self::Plain => plain::linear(x, w),
            Self::Half => plain::half_linear(x, w),
            Self::Fused | Self::BatchInvariant => Tensor::from_dispatch(<Dispatch as FusedOps>::fused_linear(
                x.into_dispatch(),
                w.into_dispatch(),
                self == Self::BatchInvariant,
            )),
        }
    }

    /// Root-mean-square norm (Zhang & Sennrich, 2019) of `x` `[n, d]`, scaled by `w` `[1, d]`.
    pub fn rms_norm(self, x: Tensor<2>, w: Tensor<2>, eps: f32) -> Tensor<2> {
        match self {
            Self::Plain | Self::Half => plain::rms_norm(x, w, eps),
            Self::Fused | Self::BatchInvariant => {
                Tensor::from_dispatch(<Dispatch as FusedOps>::fused_rms_norm(x.into_dispatch(), w.into_dispatch(), eps))
            }
        }
    }

    /// `x · wᵀ + b` for `x` `[n, in]`, `w` `[out, in]` and `b` `[1, out]`: `[n, out]`.
    pub fn affine(self, x: Tensor<2>, w: Tensor<2>, b: Tensor<2>) -> Tensor<2> {
        match self {
            Self::Plain => plain::linear(x, w) + b,
            Self::Half => plain::half_linear(x, w) + b,
            Self::Fused | Self::BatchInvariant => Tensor::from_dispatch(<Dispatch as FusedOps>::fused_affine(
                x.into_dispatch(),
                w.into_dispatch(),
                b.into_dispatch(),
                self == Self::BatchInvariant,
            )),
        }
    }

    /// Layer norm (Ba et al., 2016) of `x` `[n, d]`, scaled by `w` and shifted by `b`, `[1, d]` each.
    pub fn layer_norm(self, x: Tensor<2>, w: Tensor<2>, b: Tensor<2>, eps: f32) -> Tensor<2> {
        match self {
            Self::Plain | Self::Half => plain::layer_norm(x, w, b, eps),
            Self::Fused | Self::BatchInvariant => Tensor::from_dispatch(<Dispatch as FusedOps>::fused_layer_norm(
                x.into_dispatch(),
                w.into_dispatch(),
                b.into_dispatch(),
                eps,
            )),
        }
    }

    /// `activation(gate) · up` (Shazeer, 2020), both `[n, d]`.
    pub fn gated(self, gate: Tensor<2>, up: Tensor<2>, activation: Activation) -> Tensor<2> {
        match self {
            Self::Plain | Self::Half => plain::activate(gate, activation) * up,
            Self::Fused | Self::BatchInvariant => Tensor::from_dispatch(<Dispatch as FusedOps>::fused_gated(
                gate.into_dispatch(),
                up.into_dispatch(),
                activation,
            )),
        }
    }

    /// `activation(x)` for `x` `[n, d]`.
    pub fn activate(self, x: Tensor<2>, activation: Activation) -> Tensor<2> {
        match self {
            Self::Plain | Self::Half => plain::activate(x, activation),
            Self::Fused | Self::BatchInvariant => {
                Tensor::from_dispatch(<Dispatch as FusedOps>::fused_activate(x.into_dispatch(), activation))
            }
        }
    }

    /// Grouped-query attention over packed sequences: `q` `[n, query · dim]`, `k` and `v` `[n, kv · dim]` to
    /// `[n, query · dim]`.
    pub fn attention(self, q: Tensor<2>, k: Tensor<2>, v: Tensor<2>, plan: AttentionPlan) -> Tensor<2> {
        match self {
            Self::Plain | Self::Half => plain::attention(q, k, v, &plan),
            Self::Fused | Self::BatchInvariant => Tensor::from_dispatch(<Dispatch as FusedOps>::fused_attention(
                q.into_dispatch(),
                k.into_dispatch(),
                v.into_dispatch(),
                plan,
            )),
        }
    }

    /// Log-prob of each target token and entropy of its distribution, `[n, 2]`: the softmax of `h · eᵀ` for `h`
    /// `[n, d]` and `e` `[vocab, d]`. The fused kernel never holds all logits `[n, vocab]`.
    pub fn token_log_probs(self, h: Tensor<2>, e: Tensor<2>, targets: Arc<[u32]>) -> Tensor<2> {
        match self {
            Self::Plain | Self::Half => plain::token_log_probs(h, e, &targets),
            Self::Fused | Self::BatchInvariant => Tensor::from_dispatch(<Dispatch as FusedOps>::fused_token_log_probs(
                h.into_dispatch(),
                e.into_dispatch(),
                targets,
            )),
        }
    }
}
