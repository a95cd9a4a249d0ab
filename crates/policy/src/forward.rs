//! The parts of a forward pass that both architectures share: linear layers with their adapters, norms, embeddings.

use std::sync::Arc;

use burn::tensor::{Device, Tensor, TensorData};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::architecture::NormKind;
use crate::layout::{Layout, LinearTensors, NormTensors};
use crate::ops::{Activation, Ops, plain};
use crate::weights::Weights;

/// Weights on a device, and the options with which a forward pass uses them. Clones share the weights until one of them
/// changes.
#[derive(Clone, Debug)]
pub(crate) struct ForwardPass {
    pub weights: Weights<Tensor<2>>,
    pub ops: Ops,
    pub device: Device,
    /// Seed of the dropout of the adapter's inputs; `None`: no dropout.
    pub dropout: Option<u64>,
    /// Whether the weights record gradients.
    pub tracked: bool,
    /// Whether the LoRA adapter, if there is one, is applied.
    pub adapted: bool,
}

impl ForwardPass {
    pub fn layout(&self) -> &Arc<Layout> {
        self.weights.layout()
    }

    /// A copy for a backward pass: it shares the memory of the weights, and autodiff records gradients for the trained
    /// ones.
    pub fn with_grad(&self) -> Self {
        let track = |spec: &crate::layout::Spec, w: &Tensor<2>| {
            let w = w.clone().autodiff();
            if spec.trained { w.require_grad() } else { w }
        };
        Self { weights: self.weights.map(track), tracked: true, ..self.clone() }
    }

    /// A linear layer: `x · wᵀ`, plus its bias and its adapter's product where it has them, for `x` `[n, in]`:
    /// `[n, out]`.
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

    /// Dropout: sets each element of `x` `[n, width]` to 0 with probability `share`, and divides the others by
    /// `1 − share`. The seed decides which elements.
    fn drop(&self, x: Tensor<2>, share: f32, seed: u64) -> Tensor<2> {
        let [rows, columns] = x.dims();
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mask: Vec<f32> =
            (0..rows * columns).map(|_| if rng.random::<f32>() < share { 0.0 } else { 1.0 / (1.0 - share) }).collect();
        x * Tensor::<2>::from_data(TensorData::new(mask, [rows, columns]), &self.device)
    }

    /// Normalises each row of `x` `[n, width]`.
    pub fn norm(&self, x: Tensor<2>, n: &NormTensors, kind: NormKind) -> Tensor<2> {
        let w = self.weights[n.weight].clone();
        match (kind, n.bias) {
            (NormKind::Layer { eps }, Some(bias)) => self.ops.layer_norm(x, w, self.weights[bias].clone(), eps),
            (NormKind::Rms { eps, offset }, _) if offset != 0.0 => self.ops.rms_norm(x, w + offset, eps),
            (NormKind::Rms { eps, .. } | NormKind::Layer { eps }, _) => self.ops.rms_norm(x, w, eps),
        }
    }

    /// Applies an activation to every element of `x`.
    pub fn activate(&self, x: Tensor<2>, activation: Activation) -> Tensor<2> {
        self.ops.activate(x, activation)
    }

    /// Looks up rows of a table (an embedding) by index: `[rows, width]`.
    pub fn rows(&self, table: crate::layout::Id, rows: impl IntoIterator<Item = usize>) -> Tensor<2> {
        let rows = plain::ints(rows.into_iter().map(|r| r as i64).collect(), &self.device);
        self.weights[table].clone().select(0, rows)
    }
}
