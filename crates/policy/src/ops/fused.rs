//! Fused operations as burn backend extensions for the CPU backend, each with its own backward pass.
//!
//! A forward under autodiff keeps only what its backward needs; without autodiff nothing is kept.

use std::sync::Arc;

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::autodiff::{Autodiff, NodeId};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Flex, backend_extension};
use burn::tensor::TensorData;
use burn_flex::FlexTensor;

use super::Packing;
use super::kernels::{self, Activation, AttentionSaved, Sight, View};

/// What an attention call needs beside its tensors.
#[derive(Clone, Debug)]
pub struct AttentionPlan {
    /// Who sees whom.
    pub sight: Arc<Sight>,
    /// How the rows are packed.
    pub packing: Packing,
}

/// Forward operations: what the model calls.
#[backend_extension(Flex, Autodiff)]
pub trait FusedOps: Backend {
    /// `x · wᵀ` for `x` `[n, in]`, `w` `[out, in]`; with `steady`, row by row in the same order whatever `n`.
    fn fused_linear(x: FloatTensor<Self>, w: FloatTensor<Self>, steady: bool) -> FloatTensor<Self>;
    /// `x · wᵀ + b` for `b` `[1, out]`.
    fn fused_affine(
        x: FloatTensor<Self>,
        w: FloatTensor<Self>,
        b: FloatTensor<Self>,
        steady: bool,
    ) -> FloatTensor<Self>;
    /// Layer norm of `x` `[n, d]` by `w` and `b` `[1, d]`.
    fn fused_layer_norm(
        x: FloatTensor<Self>,
        w: FloatTensor<Self>,
        b: FloatTensor<Self>,
        eps: f32,
    ) -> FloatTensor<Self>;
    /// Root-mean-square norm of `x` `[n, d]` by `w` `[1, d]`.
    fn fused_rms_norm(x: FloatTensor<Self>, w: FloatTensor<Self>, eps: f32) -> FloatTensor<Self>;
    /// `activation(gate) · up`.
    fn fused_gated(gate: FloatTensor<Self>, up: FloatTensor<Self>, activation: Activation) -> FloatTensor<Self>;
    /// `activation(x)`.
    fn fused_activate(x: FloatTensor<Self>, activation: Activation) -> FloatTensor<Self>;
    /// Packed attention.
    fn fused_attention(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        plan: AttentionPlan,
    ) -> FloatTensor<Self>;
    /// `[n, 2]`: log-prob of each target and entropy, under the softmax of `h · eᵀ`.
    fn fused_token_log_probs(h: FloatTensor<Self>, e: FloatTensor<Self>, targets: Arc<[u32]>) -> FloatTensor<Self>;
}

/// Backward operations, and forwards that keep what these need.
pub trait FusedBackward: FusedOps {
    /// Gradient by `x`, and by `w`, of [`FusedOps::fused_linear`].
    fn linear_dx(g: &FloatTensor<Self>, w: FloatTensor<Self>) -> FloatTensor<Self>;
    /// See [`FusedBackward::linear_dx`].
    fn linear_dw(g: &FloatTensor<Self>, x: FloatTensor<Self>) -> FloatTensor<Self>;
    /// Gradient by `b` of [`FusedOps::fused_affine`].
    fn linear_db(g: &FloatTensor<Self>) -> FloatTensor<Self>;
    /// Gradients of [`FusedOps::fused_layer_norm`].
    fn layer_norm_backward(
        x: FloatTensor<Self>,
        w: FloatTensor<Self>,
        eps: f32,
        g: FloatTensor<Self>,
    ) -> [FloatTensor<Self>; 3];
    /// Gradients of [`FusedOps::fused_rms_norm`].
    fn rms_norm_backward(
        x: FloatTensor<Self>,
        w: FloatTensor<Self>,
        eps: f32,
        g: FloatTensor<Self>,
    ) -> [FloatTensor<Self>; 2];
    /// Gradients of [`FusedOps::fused_gated`].
    fn gated_backward(
        gate: FloatTensor<Self>,
        up: FloatTensor<Self>,
        activation: Activation,
        g: FloatTensor<Self>,
    ) -> [FloatTensor<Self>; 2];
    /// Gradient of [`FusedOps::fused_activate`].
    fn activate_backward(x: FloatTensor<Self>, activation: Activation, g: FloatTensor<Self>) -> FloatTensor<Self>;
    /// [`FusedOps::fused_attention`] with what its backward needs.
    fn attention_saving(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        plan: &AttentionPlan,
    ) -> (FloatTensor<Self>, AttentionSaved);
    /// Gradients of [`FusedOps::fused_attention`].
    fn attention_backward(
        saved: &AttentionSaved,
        v: FloatTensor<Self>,
        g: FloatTensor<Self>,
        plan: &AttentionPlan,
    ) -> [FloatTensor<Self>; 3];
    /// [`FusedOps::fused_token_log_probs`] with what its backward needs.
    fn token_log_probs_saving(
        h: FloatTensor<Self>,
        e: FloatTensor<Self>,
        targets: &[u32],
    ) -> (FloatTensor<Self>, Vec<[f32; 3]>);
    /// Gradients of [`FusedOps::fused_token_log_probs`].
    fn token_log_probs_backward(
        h: FloatTensor<Self>,
        e: FloatTensor<Self>,
        targets: &[u32],
        saved: &[[f32; 3]],
        g: FloatTensor<Self>,
    ) -> [FloatTensor<Self>; 2];
}

fn tensor(values: Vec<f32>, shape: [usize; 2]) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(values, shape))
}

/// A tensor whose elements lie in row order, and its matrix shape.
struct Dense(FlexTensor);

impl Dense {
    fn new(t: &FlexTensor) -> Self {
        Self(t.to_contiguous())
    }
    fn shape(&self) -> [usize; 2] {
        let shape = self.0.layout().shape();
        [shape[0], shape[1]]
    }
}

impl std::ops::Deref for Dense {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        let start = self.0.layout().start_offset();
        &self.0.storage::<f32>()[start..start + self.0.layout().num_elements()]
    }
}

impl FusedOps for Flex {
    fn fused_linear(x: FlexTensor, w: FlexTensor, steady: bool) -> FlexTensor {
        let (x, w) = (Dense::new(&x), Dense::new(&w));
        let ([n, inner], [outer, _]) = (x.shape(), w.shape());
        tensor(kernels::linear([n, inner, outer], &x, &w, None, steady), [n, outer])
    }

    fn fused_rms_norm(x: FlexTensor, w: FlexTensor, eps: f32) -> FlexTensor {
        let (x, w) = (Dense::new(&x), Dense::new(&w));
        tensor(kernels::rms_norm(&x, &w, eps), x.shape())
    }

    fn fused_affine(x: FlexTensor, w: FlexTensor, b: FlexTensor, steady: bool) -> FlexTensor {
        let (x, w, b) = (Dense::new(&x), Dense::new(&w), Dense::new(&b));
        let ([n, inner], [outer, _]) = (x.shape(), w.shape());
        tensor(kernels::linear([n, inner, outer], &x, &w, Some(&b), steady), [n, outer])
    }

    fn fused_layer_norm(x: FlexTensor, w: FlexTensor, b: FlexTensor, eps: f32) -> FlexTensor {
        let (x, w, b) = (Dense::new(&x), Dense::new(&w), Dense::new(&b));
        tensor(kernels::layer_norm(&x, &w, &b, eps), x.shape())
    }

    fn fused_gated(gate: FlexTensor, up: FlexTensor, activation: Activation) -> FlexTensor {
        let (gate, up) = (Dense::new(&gate), Dense::new(&up));
        tensor(kernels::gated(&gate, &up, activation), gate.shape())
    }

    fn fused_activate(x: FlexTensor, activation: Activation) -> FlexTensor {
        let x = Dense::new(&x);
        tensor(kernels::activate(&x, activation), x.shape())
    }

    fn fused_attention(q: FlexTensor, k: FlexTensor, v: FlexTensor, plan: AttentionPlan) -> FlexTensor {
        let (q, k, v) = (Dense::new(&q), Dense::new(&k), Dense::new(&v));
        tensor(kernels::attention_forgetting(&q, &k, &v, &plan.sight, &plan.packing), q.shape())
    }

    fn fused_token_log_probs(h: FlexTensor, e: FlexTensor, targets: Arc<[u32]>) -> FlexTensor {
        Self::token_log_probs_saving(h, e, &targets).0
    }
}

impl FusedBackward for Flex {
    fn linear_dx(g: &FlexTensor, w: FlexTensor) -> FlexTensor {
        let (g, w) = (Dense::new(g), Dense::new(&w));
        let ([n, outer], [_, inner]) = (g.shape(), w.shape());
        let dx = kernels::product([n, outer, inner], View::rows(&g, outer), View::rows(&w, inner));
        tensor(dx, [n, inner])
    }

    fn linear_dw(g: &FlexTensor, x: FlexTensor) -> FlexTensor {
        let (g, x) = (Dense::new(g), Dense::new(&x));
        let ([n, outer], [_, inner]) = (g.shape(), x.shape());
        let dw = kernels::product([outer, n, inner], View::rows(&g, outer).t(), View::rows(&x, inner));
        tensor(dw, [outer, inner])
    }

    fn rms_norm_backward(x: FlexTensor, w: FlexTensor, eps: f32, g: FlexTensor) -> [FlexTensor; 2] {
        let (x, w, g) = (Dense::new(&x), Dense::new(&w), Dense::new(&g));
        let (dx, dw) = kernels::rms_norm_backward(&x, &w, eps, &g);
        [tensor(dx, x.shape()), tensor(dw, w.shape())]
    }

    fn linear_db(g: &FlexTensor) -> FlexTensor {
        let g = Dense::new(g);
        let outer = g.shape()[1];
        tensor(kernels::column_sum(&g, outer), [1, outer])
    }

    fn layer_norm_backward(x: FlexTensor, w: FlexTensor, eps: f32, g: FlexTensor) -> [FlexTensor; 3] {
        let (x, w, g) = (Dense::new(&x), Dense::new(&w), Dense::new(&g));
        let [dx, dw, db] = kernels::layer_norm_backward(&x, &w, eps, &g);
        [tensor(dx, x.shape()), tensor(dw, w.shape()), tensor(db, w.shape())]
    }

    fn gated_backward(gate: FlexTensor, up: FlexTensor, activation: Activation, g: FlexTensor) -> [FlexTensor; 2] {
        let (gate, up, g) = (Dense::new(&gate), Dense::new(&up), Dense::new(&g));
        let (dgate, dup) = kernels::gated_backward(&gate, &up, &g, activation);
        [tensor(dgate, gate.shape()), tensor(dup, gate.shape())]
    }

    fn activate_backward(x: FlexTensor, activation: Activation, g: FlexTensor) -> FlexTensor {
        let (x, g) = (Dense::new(&x), Dense::new(&g));
        tensor(kernels::activate_backward(&x, &g, activation), x.shape())
    }

    fn attention_saving(
        q: FlexTensor,
        k: FlexTensor,
        v: FlexTensor,
        plan: &AttentionPlan,
    ) -> (FlexTensor, AttentionSaved) {
        let (q, k, v) = (Dense::new(&q), Dense::new(&k), Dense::new(&v));
        let (out, saved) = kernels::attention(&q, &k, &v, &plan.sight, &plan.packing);
        (tensor(out, q.shape()), saved)
    }

    fn attention_backward(
        saved: &AttentionSaved,
        v: FlexTensor,
        g: FlexTensor,
        plan: &AttentionPlan,
    ) -> [FlexTensor; 3] {
        let (v, g) = (Dense::new(&v), Dense::new(&g));
        let [dq, dk, dv] = kernels::attention_backward(saved, &v, &g, &plan.sight, &plan.packing);
        [tensor(dq, g.shape()), tensor(dk, v.shape()), tensor(dv, v.shape())]
    }

    fn token_log_probs_saving(h: FlexTensor, e: FlexTensor, targets: &[u32]) -> (FlexTensor, Vec<[f32; 3]>) {
        let (h, e) = (Dense::new(&h), Dense::new(&e));
        let saved = kernels::token_log_probs(&h, &e, h.shape()[1], targets);
        let out = saved.iter().flat_map(|[log_prob, entropy, _]| [*log_prob, *entropy]).collect();
        (tensor(out, [targets.len(), 2]), saved)
    }

    fn token_log_probs_backward(
        h: FlexTensor,
        e: FlexTensor,
        targets: &[u32],
        saved: &[[f32; 3]],
        g: FlexTensor,
    ) -> [FlexTensor; 2] {
        let (h, e, g) = (Dense::new(&h), Dense::new(&e), Dense::new(&g));
        let (dh, de) = kernels::token_log_probs_backward(&h, &e, h.shape()[1], targets, saved, &g);
        [tensor(dh, h.shape()), tensor(de, e.shape())]
    }
}

/// Registers a gradient with a parent that wants one.
macro_rules! register {
    ($backend:ident, $grads:ident, $($node:expr => $gradient:expr),*) => {
        $(if let Some(node) = $node {
            $grads.register::<$backend>(node.id, $gradient);
        })*
    };
}

#[derive(Debug)]
struct Linear;
impl<B: FusedBackward> Backward<B, 2> for Linear {
    type State = [NodeId; 2];
    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, saved: &mut Checkpointer) {
        let ([nx, nw], [x, w]) = (ops.parents, ops.state);
        let g = grads.consume::<B>(&ops.node);
        register!(B, grads,
            nx => B::linear_dx(&g, saved.retrieve_node_output(w)),
            nw => B::linear_dw(&g, saved.retrieve_node_output(x)));
    }
}

#[derive(Debug)]
struct RmsNorm;
impl<B: FusedBackward> Backward<B, 2> for RmsNorm {
    type State = (NodeId, NodeId, f32);
    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, saved: &mut Checkpointer) {
        let ([nx, nw], (x, w, eps)) = (ops.parents, ops.state);
        let g = grads.consume::<B>(&ops.node);
        let [dx, dw] = B::rms_norm_backward(saved.retrieve_node_output(x), saved.retrieve_node_output(w), eps, g);
        register!(B, grads, nx => dx, nw => dw);
    }
}

#[derive(Debug)]
struct Affine;
impl<B: FusedBackward> Backward<B, 3> for Affine {
    type State = [NodeId; 2];
    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, saved: &mut Checkpointer) {
        let ([nx, nw, nb], [x, w]) = (ops.parents, ops.state);
        let g = grads.consume::<B>(&ops.node);
        register!(B, grads,
            nx => B::linear_dx(&g, saved.retrieve_node_output(w)),
            nw => B::linear_dw(&g, saved.retrieve_node_output(x)),
            nb => B::linear_db(&g));
    }
}

#[derive(Debug)]
struct LayerNorm;
impl<B: FusedBackward> Backward<B, 3> for LayerNorm {
    type State = (NodeId, NodeId, f32);
    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, saved: &mut Checkpointer) {
        let ([nx, nw, nb], (x, w, eps)) = (ops.parents, ops.state);
        let g = grads.consume::<B>(&ops.node);
        let [dx, dw, db] = B::layer_norm_backward(saved.retrieve_node_output(x), saved.retrieve_node_output(w), eps, g);
        register!(B, grads, nx => dx, nw => dw, nb => db);
    }
}

#[derive(Debug)]
struct Gated;
impl<B: FusedBackward> Backward<B, 2> for Gated {
    type State = (NodeId, NodeId, Activation);
    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, saved: &mut Checkpointer) {
        let ([ngate, nup], (gate, up, activation)) = (ops.parents, ops.state);
        let g = grads.consume::<B>(&ops.node);
        let (gate, up) = (saved.retrieve_node_output(gate), saved.retrieve_node_output(up));
        let [dgate, dup] = B::gated_backward(gate, up, activation, g);
        register!(B, grads, ngate => dgate, nup => dup);
    }
}

#[derive(Debug)]
struct Activate;
impl<B: FusedBackward> Backward<B, 1> for Activate {
    type State = (NodeId, Activation);
    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, saved: &mut Checkpointer) {
        let ([nx], (x, activation)) = (ops.parents, ops.state);
        let g = grads.consume::<B>(&ops.node);
        register!(B, grads, nx => B::activate_backward(saved.retrieve_node_output(x), activation, g));
    }
}

#[derive(Debug)]
struct Attention;
impl<B: FusedBackward> Backward<B, 3> for Attention {
    type State = (AttentionSaved, NodeId, AttentionPlan);
    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, saved: &mut Checkpointer) {
        let ([nq, nk, nv], (kept, v, plan)) = (ops.parents, ops.state);
        let g = grads.consume::<B>(&ops.node);
        let [dq, dk, dv] = B::attention_backward(&kept, saved.retrieve_node_output(v), g, &plan);
        register!(B, grads, nq => dq, nk => dk, nv => dv);
    }
}

#[derive(Debug)]
struct TokenLogProbs;
impl<B: FusedBackward> Backward<B, 2> for TokenLogProbs {
    type State = (NodeId, NodeId, Arc<[u32]>, Vec<[f32; 3]>);
    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, saved: &mut Checkpointer) {
        let ([nh, ne], (h, e, targets, rows)) = (ops.parents, ops.state);
        let g = grads.consume::<B>(&ops.node);
        let (h, e) = (saved.retrieve_node_output(h), saved.retrieve_node_output(e));
        let [dh, de] = B::token_log_probs_backward(h, e, &targets, &rows, g);
        register!(B, grads, nh => dh, ne => de);
    }
}

impl<B: FusedBackward, C: CheckpointStrategy> FusedOps for Autodiff<B, C> {
    fn fused_linear(x: FloatTensor<Self>, w: FloatTensor<Self>, steady: bool) -> FloatTensor<Self> {
        match Linear.prepare::<C>([x.node(), w.node()]).compute_bound().stateful() {
            OpsKind::Tracked(mut p) => {
                let state = [p.checkpoint(&x), p.checkpoint(&w)];
                p.finish(state, B::fused_linear(x.into_primitive(), w.into_primitive(), steady))
            }
            OpsKind::UnTracked(p) => p.finish(B::fused_linear(x.into_primitive(), w.into_primitive(), steady)),
        }
    }

    fn fused_rms_norm(x: FloatTensor<Self>, w: FloatTensor<Self>, eps: f32) -> FloatTensor<Self> {
        match RmsNorm.prepare::<C>([x.node(), w.node()]).compute_bound().stateful() {
            OpsKind::Tracked(mut p) => {
                let state = (p.checkpoint(&x), p.checkpoint(&w), eps);
                p.finish(state, B::fused_rms_norm(x.into_primitive(), w.into_primitive(), eps))
            }
            OpsKind::UnTracked(p) => p.finish(B::fused_rms_norm(x.into_primitive(), w.into_primitive(), eps)),
        }
    }

    fn fused_affine(
        x: FloatTensor<Self>,
        w: FloatTensor<Self>,
        b: FloatTensor<Self>,
        steady: bool,
    ) -> FloatTensor<Self> {
        match Affine.prepare::<C>([x.node(), w.node(), b.node()]).compute_bound().stateful() {
            OpsKind::Tracked(mut p) => {
                let state = [p.checkpoint(&x), p.checkpoint(&w)];
                p.finish(state, B::fused_affine(x.into_primitive(), w.into_primitive(), b.into_primitive(), steady))
            }
            OpsKind::UnTracked(p) => {
                p.finish(B::fused_affine(x.into_primitive(), w.into_primitive(), b.into_primitive(), steady))
            }
        }
    }

    fn fused_layer_norm(
        x: FloatTensor<Self>,
        w: FloatTensor<Self>,
        b: FloatTensor<Self>,
        eps: f32,
    ) -> FloatTensor<Self> {
        match LayerNorm.prepare::<C>([x.node(), w.node(), b.node()]).compute_bound().stateful() {
            OpsKind::Tracked(mut p) => {
                let state = (p.checkpoint(&x), p.checkpoint(&w), eps);
                p.finish(state, B::fused_layer_norm(x.into_primitive(), w.into_primitive(), b.into_primitive(), eps))
            }
            OpsKind::UnTracked(p) => {
                p.finish(B::fused_layer_norm(x.into_primitive(), w.into_primitive(), b.into_primitive(), eps))
            }
        }
    }

    fn fused_gated(gate: FloatTensor<Self>, up: FloatTensor<Self>, activation: Activation) -> FloatTensor<Self> {
        match Gated.prepare::<C>([gate.node(), up.node()]).compute_bound().stateful() {
            OpsKind::Tracked(mut p) => {
                let state = (p.checkpoint(&gate), p.checkpoint(&up), activation);
                p.finish(state, B::fused_gated(gate.into_primitive(), up.into_primitive(), activation))
            }
            OpsKind::UnTracked(p) => p.finish(B::fused_gated(gate.into_primitive(), up.into_primitive(), activation)),
        }
    }

    fn fused_activate(x: FloatTensor<Self>, activation: Activation) -> FloatTensor<Self> {
        match Activate.prepare::<C>([x.node()]).compute_bound().stateful() {
            OpsKind::Tracked(mut p) => {
                let state = (p.checkpoint(&x), activation);
                p.finish(state, B::fused_activate(x.into_primitive(), activation))
            }
            OpsKind::UnTracked(p) => p.finish(B::fused_activate(x.into_primitive(), activation)),
        }
    }

    fn fused_attention(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        plan: AttentionPlan,
    ) -> FloatTensor<Self> {
        match Attention.prepare::<C>([q.node(), k.node(), v.node()]).compute_bound().stateful() {
            OpsKind::Tracked(mut p) => {
                let value = p.checkpoint(&v);
                let (out, kept) =
                    B::attention_saving(q.into_primitive(), k.into_primitive(), v.into_primitive(), &plan);
                p.finish((kept, value, plan), out)
            }
            OpsKind::UnTracked(p) => {
                p.finish(B::fused_attention(q.into_primitive(), k.into_primitive(), v.into_primitive(), plan))
            }
        }
    }

    fn fused_token_log_probs(h: FloatTensor<Self>, e: FloatTensor<Self>, targets: Arc<[u32]>) -> FloatTensor<Self> {
        match TokenLogProbs.prepare::<C>([h.node(), e.node()]).compute_bound().stateful() {
            OpsKind::Tracked(mut p) => {
                let (hidden, head) = (p.checkpoint(&h), p.checkpoint(&e));
                let (out, rows) = B::token_log_probs_saving(h.into_primitive(), e.into_primitive(), &targets);
                p.finish((hidden, head, targets, rows), out)
            }
            OpsKind::UnTracked(p) => {
                p.finish(B::fused_token_log_probs(h.into_primitive(), e.into_primitive(), targets))
            }
        }
    }
}
