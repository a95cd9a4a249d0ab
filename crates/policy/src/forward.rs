//! A forward pass over one set of weights: linear layers with their adapters, norms, embeddings.

use std::sync::Arc;

use burn::tensor::{Device, Tensor, TensorData};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::architecture::NormKind;
use crate::layout::{Layout, LinearTensors, NormTensors};
use crate::ops::{Activation, Ops, plain};
use crate::weights::Weights;

/// Weights on a device, and the options with which they are run. Clones share the weights until one of them changes.
#[derive(Clone, Debug)]
pub(crate) struct ForwardPass {
    pub weights: Weights<Tensor<2>>,
    pub ops: Ops,
    pub device: Device,
    /// Seed of the adapter's dropout; `None`: no dropout.
    pub dropout: Option<u64>,
    /// Whether gradients are recorded.
    pub tracked: bool,
    /// Whether the adapter is applied.
    pub adapted: bool,
}

impl ForwardPass {
    pub fn layout(&self) -> &Arc<Layout> {
        self.weights.layout()
    }

    /// A view whose trained weights record gradients.
    pub fn with_grad(&self) -> Self {
        let track = |spec: &crate::layout::Spec, w: &Tensor<2>| {
            let w = w.clone().autodiff();
            if spec.trained { w.require_grad() } else { w }
        };
        Self { weights: self.weights.map(track), tracked: true, ..self.clone() }
    }

    /// `x · wᵀ` with bias and adapter, `x` `[n, in]`: `[n, out]`.
    pub fn linear(&self, x: &Tensor<2>, l: &LinearTensors) -> Tensor<2> {
        let w = self.weights[l.weight].clone();
        let y = match l.bias {
            Some(bias) => self.ops.affine(x.clone(), w, self.weights[bias].clone()),
            None => self.ops.linear(x.clone(), w),
        };
        let (Some([a, b]), Some(lora), true) = (l.lora, self.layout().lora(), self.adapted) else { return y };
        let x = match self.dropout {
            Some(seed) if lora.lora_dropout > 0.0 => self.drop(x.clone(), lora.lora_dropout, seed ^ (a.0 as u64) << 32),
            _ => x.clone(),
        };
        let low = self.ops.linear(x, self.weights[a].clone());
        y + self.ops.linear(low, self.weights[b].clone()) * lora.scale()
    }

    /// Dropout: zeroes a share of the elements of `x` `[n, width]` and scales up the rest. The seed decides which.
    fn drop(&self, x: Tensor<2>, share: f32, seed: u64) -> Tensor<2> {
        let [rows, columns] = x.dims();
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mask: Vec<f32> =
            (0..rows * columns).map(|_| if rng.random::<f32>() < share { 0.0 } else { 1.0 / (1.0 - share) }).collect();
        x * Tensor::<2>::from_data(TensorData::new(mask, [rows, columns]), &self.device)
    }

    /// The norm of each row of `x` `[n, width]`.
    pub fn norm(&self, x: Tensor<2>, n: &NormTensors, kind: NormKind) -> Tensor<2> {
        let w = self.weights[n.weight].clone();
        match (kind, n.bias) {
            (NormKind::Layer { eps }, Some(bias)) => self.ops.layer_norm(x, w, self.weights[bias].clone(), eps),
            (NormKind::Rms { eps, offset }, _) if offset != 0.0 => self.ops.rms_norm(x, w + offset, eps),
            (NormKind::Rms { eps, .. } | NormKind::Layer { eps }, _) => self.ops.rms_norm(x, w, eps),
        }
    }

    /// `activation(x)`, elementwise.
    pub fn activate(&self, x: Tensor<2>, activation: Activation) -> Tensor<2> {
        self.ops.activate(x, activation)
    }

    /// Rows `[rows, width]` of a table.
    pub fn rows(&self, table: crate::layout::Id, rows: impl IntoIterator<Item = usize>) -> Tensor<2> {
        let rows = plain::ints(rows.into_iter().map(|r| r as i64).collect(), &self.device);
        self.weights[table].clone().select(0, rows)
    }
}
