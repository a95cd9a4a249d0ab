//! The fused operations under autodiff: each adds a node to the graph, which runs the operation's backward pass.

use std::sync::Arc;

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::autodiff::{Autodiff, NodeId};
use burn::backend::tensor::FloatTensor;
use rlar_quant::QuantisedMatrix;

use super::{AttentionPlan, FusedBackward, FusedOps};
use crate::ops::kernels::{Activation, AttentionSaved, Products, TokenStats};

/// Registers the gradients of those inputs of an operation that autodiff tracks; the others are not computed.
macro_rules! register {
    ($backend:ident, $grads:ident, $($node:expr => $gradient:expr),*) => {
        $(if let Some(node) = $node {
            $grads.register::<$backend>(node.id, $gradient);
        })*
    };
}

#[derive(Debug)]
struct LinearGrad;
impl<B: FusedBackward> Backward<B, 2> for LinearGrad {
    type State = (NodeId, NodeId, Products);
    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, saved: &mut Checkpointer) {
        let ([nx, nw], (x, w, products)) = (ops.parents, ops.state);
        let g = grads.consume::<B>(&ops.node);
        register!(B, grads,
            nx => B::linear_dx(&g, saved.retrieve_node_output(w), products),
            nw => B::linear_dw(&g, saved.retrieve_node_output(x), products));
    }
}

#[derive(Debug)]
struct RmsNormGrad;
impl<B: FusedBackward> Backward<B, 2> for RmsNormGrad {
    type State = (NodeId, NodeId, f32);
    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, saved: &mut Checkpointer) {
        let ([nx, nw], (x, w, eps)) = (ops.parents, ops.state);
        let g = grads.consume::<B>(&ops.node);
        let [dx, dw] = B::rms_norm_backward(saved.retrieve_node_output(x), saved.retrieve_node_output(w), eps, g);
        register!(B, grads, nx => dx, nw => dw);
    }
}

#[derive(Debug)]
struct AffineGrad;
impl<B: FusedBackward> Backward<B, 3> for AffineGrad {
    type State = (NodeId, NodeId, Products);
    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, saved: &mut Checkpointer) {
        let ([nx, nw, nb], (x, w, products)) = (ops.parents, ops.state);
        let g = grads.consume::<B>(&ops.node);
        register!(B, grads,
            nx => B::linear_dx(&g, saved.retrieve_node_output(w), products),
            nw => B::linear_dw(&g, saved.retrieve_node_output(x), products),
            nb => B::linear_db(&g));
    }
}

#[derive(Debug)]
struct LayerNormGrad;
impl<B: FusedBackward> Backward<B, 3> for LayerNormGrad {
    type State = (NodeId, NodeId, f32);
    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, saved: &mut Checkpointer) {
        let ([nx, nw, nb], (x, w, eps)) = (ops.parents, ops.state);
        let g = grads.consume::<B>(&ops.node);
        let [dx, dw, db] = B::layer_norm_backward(saved.retrieve_node_output(x), saved.retrieve_node_output(w), eps, g);
        register!(B, grads, nx => dx, nw => dw, nb => db);
    }
}

#[derive(Debug)]
struct GatedGrad;
impl<B: FusedBackward> Backward<B, 2> for GatedGrad {
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
struct ActivateGrad;
impl<B: FusedBackward> Backward<B, 1> for ActivateGrad {
    type State = (NodeId, Activation);
    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, saved: &mut Checkpointer) {
        let ([nx], (x, activation)) = (ops.parents, ops.state);
        let g = grads.consume::<B>(&ops.node);
        register!(B, grads, nx => B::activate_backward(saved.retrieve_node_output(x), activation, g));
    }
}

#[derive(Debug)]
struct AttentionGrad;
impl<B: FusedBackward> Backward<B, 3> for AttentionGrad {
    type State = (AttentionSaved, NodeId, AttentionPlan);
    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, saved: &mut Checkpointer) {
        let ([nq, nk, nv], (attention, v, plan)) = (ops.parents, ops.state);
        let g = grads.consume::<B>(&ops.node);
        let [dq, dk, dv] = B::attention_backward(&attention, saved.retrieve_node_output(v), g, &plan);
        register!(B, grads, nq => dq, nk => dk, nv => dv);
    }
}

#[derive(Debug)]
struct TokenLogProbsGrad;
impl<B: FusedBackward> Backward<B, 2> for TokenLogProbsGrad {
    type State = (NodeId, NodeId, Arc<[u32]>, Vec<TokenStats>, Products);
    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, saved: &mut Checkpointer) {
        let ([nh, ne], (h, e, targets, rows, products)) = (ops.parents, ops.state);
        let g = grads.consume::<B>(&ops.node);
        let (h, e) = (saved.retrieve_node_output(h), saved.retrieve_node_output(e));
        let [dh, de] = B::token_log_probs_backward(h, e, &targets, &rows, g, products);
        register!(B, grads, nh => dh, ne => de);
    }
}

#[derive(Debug)]
struct QuantisedLinearGrad;
impl<B: FusedBackward> Backward<B, 1> for QuantisedLinearGrad {
    type State = QuantisedMatrix;
    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let ([nx], w) = (ops.parents, ops.state);
        let g = grads.consume::<B>(&ops.node);
        register!(B, grads, nx => B::quantised_linear_dx(g, &w));
    }
}

#[derive(Debug)]
struct QuantisedLogProbsGrad;
impl<B: FusedBackward> Backward<B, 1> for QuantisedLogProbsGrad {
    type State = (NodeId, QuantisedMatrix, Arc<[u32]>, Vec<TokenStats>);
    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, saved: &mut Checkpointer) {
        let ([nh], (h, e, targets, rows)) = (ops.parents, ops.state);
        let g = grads.consume::<B>(&ops.node);
        let h = saved.retrieve_node_output(h);
        register!(B, grads, nh => B::quantised_log_probs_dh(h, &e, &targets, &rows, g));
    }
}

impl<B: FusedBackward, C: CheckpointStrategy> FusedOps for Autodiff<B, C> {
    fn fused_linear(x: FloatTensor<Self>, w: FloatTensor<Self>, products: Products) -> FloatTensor<Self> {
        match LinearGrad.prepare::<C>([x.node(), w.node()]).compute_bound().stateful() {
            OpsKind::Tracked(mut p) => {
                let state = (p.checkpoint(&x), p.checkpoint(&w), products);
                p.finish(state, B::fused_linear(x.into_primitive(), w.into_primitive(), products))
            }
            OpsKind::UnTracked(p) => p.finish(B::fused_linear(x.into_primitive(), w.into_primitive(), products)),
        }
    }

    fn fused_rms_norm(x: FloatTensor<Self>, w: FloatTensor<Self>, eps: f32) -> FloatTensor<Self> {
        match RmsNormGrad.prepare::<C>([x.node(), w.node()]).compute_bound().stateful() {
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
        products: Products,
    ) -> FloatTensor<Self> {
        match AffineGrad.prepare::<C>([x.node(), w.node(), b.node()]).compute_bound().stateful() {
            OpsKind::Tracked(mut p) => {
                let state = (p.checkpoint(&x), p.checkpoint(&w), products);
                p.finish(state, B::fused_affine(x.into_primitive(), w.into_primitive(), b.into_primitive(), products))
            }
            OpsKind::UnTracked(p) => {
                p.finish(B::fused_affine(x.into_primitive(), w.into_primitive(), b.into_primitive(), products))
            }
        }
    }

    fn fused_layer_norm(
        x: FloatTensor<Self>,
        w: FloatTensor<Self>,
        b: FloatTensor<Self>,
        eps: f32,
    ) -> FloatTensor<Self> {
        match LayerNormGrad.prepare::<C>([x.node(), w.node(), b.node()]).compute_bound().stateful() {
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
        match GatedGrad.prepare::<C>([gate.node(), up.node()]).compute_bound().stateful() {
            OpsKind::Tracked(mut p) => {
                let state = (p.checkpoint(&gate), p.checkpoint(&up), activation);
                p.finish(state, B::fused_gated(gate.into_primitive(), up.into_primitive(), activation))
            }
            OpsKind::UnTracked(p) => p.finish(B::fused_gated(gate.into_primitive(), up.into_primitive(), activation)),
        }
    }

    fn fused_activate(x: FloatTensor<Self>, activation: Activation) -> FloatTensor<Self> {
        match ActivateGrad.prepare::<C>([x.node()]).compute_bound().stateful() {
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
        match AttentionGrad.prepare::<C>([q.node(), k.node(), v.node()]).compute_bound().stateful() {
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

    fn fused_token_log_probs(
        h: FloatTensor<Self>,
        e: FloatTensor<Self>,
        targets: Arc<[u32]>,
        products: Products,
    ) -> FloatTensor<Self> {
        match TokenLogProbsGrad.prepare::<C>([h.node(), e.node()]).compute_bound().stateful() {
            OpsKind::Tracked(mut p) => {
                let (hidden, head) = (p.checkpoint(&h), p.checkpoint(&e));
                let (out, rows) = B::token_log_probs_saving(h.into_primitive(), e.into_primitive(), &targets, products);
                p.finish((hidden, head, targets, rows, products), out)
            }
            OpsKind::UnTracked(p) => {
                p.finish(B::fused_token_log_probs(h.into_primitive(), e.into_primitive(), targets, products))
            }
        }
    }
    fn fused_quantised_linear(x: FloatTensor<Self>, w: QuantisedMatrix, rounded: bool) -> FloatTensor<Self> {
        match QuantisedLinearGrad.prepare::<C>([x.node()]).compute_bound().stateful() {
            OpsKind::Tracked(p) => p.finish(w.clone(), B::fused_quantised_linear(x.into_primitive(), w, rounded)),
            OpsKind::UnTracked(p) => p.finish(B::fused_quantised_linear(x.into_primitive(), w, rounded)),
        }
    }

    fn fused_quantised_log_probs(h: FloatTensor<Self>, e: QuantisedMatrix, targets: Arc<[u32]>) -> FloatTensor<Self> {
        match QuantisedLogProbsGrad.prepare::<C>([h.node()]).compute_bound().stateful() {
            OpsKind::Tracked(mut p) => {
                let hidden = p.checkpoint(&h);
                let (out, rows) = B::quantised_log_probs_saving(h.into_primitive(), &e, &targets);
                p.finish((hidden, e, targets, rows), out)
            }
            OpsKind::UnTracked(p) => p.finish(B::fused_quantised_log_probs(h.into_primitive(), e, targets)),
        }
    }
}
