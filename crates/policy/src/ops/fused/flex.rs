//! The fused operations on burn's CPU backend: each calls its kernel.

use std::sync::Arc;

use burn::backend::Flex;
use burn::tensor::TensorData;
use burn_flex::FlexTensor;
use rlar_quant::QuantisedMatrix;

use super::{AttentionPlan, FusedBackward, FusedOps};
use crate::ops::kernels::{self, Activation, AttentionSaved, HeadMatrix, Products, TokenStats};

fn tensor(values: Vec<f32>, shape: [usize; 2]) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(values, shape))
}

/// Log-probs and entropies `[tokens, 2]` of tokens, together with the statistics that they are a part of.
fn with_stats(saved: Vec<TokenStats>) -> (FlexTensor, Vec<TokenStats>) {
    let out = saved.iter().flat_map(|t| [t.log_prob, t.entropy]).collect();
    (tensor(out, [saved.len(), 2]), saved)
}

/// A matrix whose elements are contiguous in row order.
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

/// The matrix of an output head, with the products that it is used for.
fn head(e: &[f32], products: Products) -> HeadMatrix<'_> {
    match products {
        Products::Single | Products::BatchInvariant => HeadMatrix::Dense(e),
        Products::Bf16 => HeadMatrix::Bf16(e),
    }
}

impl FusedOps for Flex {
    fn fused_linear(x: FlexTensor, w: FlexTensor, products: Products) -> FlexTensor {
        let (x, w) = (Dense::new(&x), Dense::new(&w));
        let ([n, inner], [outer, _]) = (x.shape(), w.shape());
        tensor(kernels::linear([n, inner, outer], &x, &w, None, products), [n, outer])
    }

    fn fused_rms_norm(x: FlexTensor, w: FlexTensor, eps: f32) -> FlexTensor {
        let (x, w) = (Dense::new(&x), Dense::new(&w));
        tensor(kernels::rms_norm(&x, &w, eps), x.shape())
    }

    fn fused_affine(x: FlexTensor, w: FlexTensor, b: FlexTensor, products: Products) -> FlexTensor {
        let (x, w, b) = (Dense::new(&x), Dense::new(&w), Dense::new(&b));
        let ([n, inner], [outer, _]) = (x.shape(), w.shape());
        tensor(kernels::linear([n, inner, outer], &x, &w, Some(&b), products), [n, outer])
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
        tensor(kernels::attention_without_saving(&q, &k, &v, &plan.spec, &plan.packing), q.shape())
    }

    fn fused_token_log_probs(h: FlexTensor, e: FlexTensor, targets: Arc<[u32]>, products: Products) -> FlexTensor {
        Self::token_log_probs_saving(h, e, &targets, products).0
    }

    fn fused_quantised_linear(x: FlexTensor, w: QuantisedMatrix, rounded: bool) -> FlexTensor {
        let x = Dense::new(&x);
        tensor(kernels::quantised_linear(&x, &w, rounded), [x.shape()[0], w.rows()])
    }

    fn fused_quantised_log_probs(h: FlexTensor, e: QuantisedMatrix, targets: Arc<[u32]>) -> FlexTensor {
        Self::quantised_log_probs_saving(h, &e, &targets).0
    }
}

impl FusedBackward for Flex {
    fn linear_dx(g: &FlexTensor, w: FlexTensor, products: Products) -> FlexTensor {
        let (g, w) = (Dense::new(g), Dense::new(&w));
        let ([n, outer], [_, inner]) = (g.shape(), w.shape());
        tensor(kernels::linear_dx([n, inner, outer], &g, &w, products), [n, inner])
    }

    fn linear_dw(g: &FlexTensor, x: FlexTensor, products: Products) -> FlexTensor {
        let (g, x) = (Dense::new(g), Dense::new(&x));
        let ([n, outer], [_, inner]) = (g.shape(), x.shape());
        tensor(kernels::linear_dw([n, inner, outer], &g, &x, products), [outer, inner])
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
        let (out, saved) = kernels::attention(&q, &k, &v, &plan.spec, &plan.packing);
        (tensor(out, q.shape()), saved)
    }

    fn attention_backward(
        saved: &AttentionSaved,
        v: FlexTensor,
        g: FlexTensor,
        plan: &AttentionPlan,
    ) -> [FlexTensor; 3] {
        let (v, g) = (Dense::new(&v), Dense::new(&g));
        let [dq, dk, dv] = kernels::attention_backward(saved, &v, &g, &plan.spec, &plan.packing);
        [tensor(dq, g.shape()), tensor(dk, v.shape()), tensor(dv, v.shape())]
    }

    fn token_log_probs_saving(
        h: FlexTensor,
        e: FlexTensor,
        targets: &[u32],
        products: Products,
    ) -> (FlexTensor, Vec<TokenStats>) {
        let (h, e) = (Dense::new(&h), Dense::new(&e));
        with_stats(kernels::token_log_probs(&h, head(&e, products), h.shape()[1], targets))
    }

    fn token_log_probs_backward(
        h: FlexTensor,
        e: FlexTensor,
        targets: &[u32],
        saved: &[TokenStats],
        g: FlexTensor,
        products: Products,
    ) -> [FlexTensor; 2] {
        let (h, e, g) = (Dense::new(&h), Dense::new(&e), Dense::new(&g));
        let (dh, de) = kernels::token_log_probs_backward(&h, head(&e, products), h.shape()[1], targets, saved, &g);
        [tensor(dh, h.shape()), tensor(de, e.shape())]
    }

    fn quantised_linear_dx(g: FlexTensor, w: &QuantisedMatrix) -> FlexTensor {
        let g = Dense::new(&g);
        tensor(kernels::quantised_linear_dx(&g, w), [g.shape()[0], w.columns()])
    }

    fn quantised_log_probs_saving(
        h: FlexTensor,
        e: &QuantisedMatrix,
        targets: &[u32],
    ) -> (FlexTensor, Vec<TokenStats>) {
        let h = Dense::new(&h);
        with_stats(kernels::token_log_probs(&h, HeadMatrix::Quantised(e), h.shape()[1], targets))
    }

    fn quantised_log_probs_dh(
        h: FlexTensor,
        e: &QuantisedMatrix,
        targets: &[u32],
        saved: &[TokenStats],
        g: FlexTensor,
    ) -> FlexTensor {
        let (h, g) = (Dense::new(&h), Dense::new(&g));
        let head = HeadMatrix::Quantised(e);
        let (dh, _) = kernels::token_log_probs_backward(&h, head, h.shape()[1], targets, saved, &g);
        tensor(dh, h.shape())
    }
}
