//! The parts of a forward pass that both architectures share: linear layers with their adapters, norms, embeddings.

use std::sync::Arc;

use burn::tensor::{DType, Device, Tensor, TensorData};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::architecture::NormKind;
use crate::cache;
use crate::device::ComputeDevice;
use crate::layout::{Id, Layout, LinearTensors, NormTensors, Spec};
use crate::ops::kernels::PackedMatrix;
use crate::ops::{self, Activation, Ops, plain};
use crate::weight::{Weight, dequantised_rows};
use crate::weights::Weights;

/// Weights on a device, and the options with which a forward pass uses them. Clones share the weights until one of them
/// changes.
#[derive(Clone, Debug)]
pub(crate) struct ForwardPass {
    pub weights: Weights<Weight>,
    pub ops: Ops,
    pub device: Device,
    /// Seed of the dropout of the adapter's inputs; `None`: no dropout.
    pub dropout: Option<u64>,
    /// Whether the weights record gradients.
    pub tracked: bool,
    /// Whether the LoRA adapter, if there is one, is applied.
    pub adapted: bool,
    /// Whether activations are rounded to 8 bits for products with quantised matrices of linear layers.
    pub rounded: bool,
}

impl ForwardPass {
    /// A forward pass with exact products, without autodiff and dropout.
    pub fn new(weights: Weights<Weight>, ComputeDevice { device, ops }: &ComputeDevice) -> Self {
        let (ops, device) = (*ops, device.clone());
        Self { weights, ops, device, dropout: None, tracked: false, adapted: true, rounded: false }
    }

    pub fn layout(&self) -> &Arc<Layout> {
        self.weights.layout()
    }

    /// A weight as a dense tensor, which norms, biases and adapters always are.
    pub fn tensor(&self, id: Id) -> Tensor<2> {
        self.weights[id].tensor(&self.device)
    }

    /// A copy for a backward pass: it shares the memory of the weights, and autodiff records gradients for the trained
    /// ones.
    pub fn with_grad(&self) -> Self {
        let track = |spec: &Spec, w: &Weight| match w {
            Weight::Dense(w) | Weight::Packed { dense: w, .. } if spec.trained => {
                Weight::Dense(w.clone().autodiff().require_grad())
            }
            Weight::Dense(w) | Weight::Packed { dense: w, .. } => Weight::Dense(w.clone().autodiff()),
            Weight::Quantised(_) => w.clone(),
        };
        Self { weights: self.weights.map(track), tracked: true, ..self.clone() }
    }

    /// A linear layer: `x · wᵀ`, plus its bias and its adapter's product where it has them, for `x` `[n, in]`:
    /// `[n, out]`.
    pub fn linear(&self, x: Tensor<2>, l: &LinearTensors) -> Tensor<2> {
        let [y] = self.linears(x, [l]);
        y
    }

    /// Linear layers with the same input. Their products with packed matrices are computed in one parallel loop.
    pub fn linears<const N: usize>(&self, x: Tensor<2>, layers: [&LinearTensors; N]) -> [Tensor<2>; N] {
        let adapters = layers.map(|l| self.adapter(&x, l));
        let matrices = layers.iter().map(|l| match &self.weights[l.weight] {
            Weight::Packed { packed, .. } => Some(&**packed),
            Weight::Dense(_) | Weight::Quantised(_) => None,
        });
        let biased = |y: Tensor<2>, l: &LinearTensors| match l.bias {
            Some(bias) => y + self.tensor(bias),
            None => y,
        };
        let products: Vec<Tensor<2>> = match matrices.collect::<Option<Vec<_>>>() {
            Some(all) => self.packed_products(x, &all).into_iter().zip(layers).map(|(y, l)| biased(y, l)).collect(),
            None => layers
                .iter()
                .map(|l| match (&self.weights[l.weight], l.bias) {
                    (Weight::Dense(w), Some(bias)) => self.ops.affine(x.clone(), w.clone(), self.tensor(bias)),
                    _ => biased(self.product(&x, l.weight), l),
                })
                .collect(),
        };
        let ys = products.into_iter().zip(adapters).map(|(y, adapter)| match adapter {
            Some(adapter) => y + adapter,
            None => y,
        });
        ys.collect::<Vec<_>>().try_into().unwrap_or_else(|_| unreachable!("one result per layer"))
    }

    /// The product of a layer's adapter, if it has one.
    fn adapter(&self, x: &Tensor<2>, l: &LinearTensors) -> Option<Tensor<2>> {
        let (Some([a, b]), Some(lora), true) = (l.lora, self.layout().lora(), self.adapted) else { return None };
        let x = match self.dropout {
            Some(seed) if lora.lora_dropout > 0.0 => self.drop(x.clone(), lora.lora_dropout, seed ^ (a.0 as u64) << 32),
            _ => x.clone(),
        };
        Some(self.product(&self.product(&x, a), b) * lora.scale())
    }

    /// The product `x · wᵀ` with a weight `[out, in]`, for `x` `[n, in]`: `[n, out]`.
    fn product(&self, x: &Tensor<2>, weight: Id) -> Tensor<2> {
        match &self.weights[weight] {
            Weight::Dense(w) => self.ops.linear(x.clone(), w.clone()),
            Weight::Quantised(w) => ops::quantised_linear(x.clone(), w.clone(), self.rounded),
            Weight::Packed { packed, .. } => self.packed_products(x.clone(), &[packed]).remove(0),
        }
    }

    /// The products `x · wᵀ` with packed matrices `[out, in]`, for `x` `[n, in]`: `[n, out]` each.
    fn packed_products(&self, x: Tensor<2>, matrices: &[&PackedMatrix]) -> Vec<Tensor<2>> {
        let n = x.dims()[0];
        let products = PackedMatrix::products(matrices, &cache::values(x));
        let tensor = |(y, matrix): (Vec<f32>, &&PackedMatrix)| {
            Tensor::from_data(TensorData::new(y, [n, matrix.rows()]), &self.device)
        };
        products.into_iter().zip(matrices).map(tensor).collect()
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
        let w = self.tensor(n.weight);
        match (kind, n.bias) {
            (NormKind::Layer { eps }, Some(bias)) => self.ops.layer_norm(x, w, self.tensor(bias), eps),
            (NormKind::Rms { eps, offset }, _) if offset != 0.0 => self.ops.rms_norm(x, w + offset, eps),
            (NormKind::Rms { eps, .. } | NormKind::Layer { eps }, _) => self.ops.rms_norm(x, w, eps),
        }
    }

    /// Applies an activation to every element of `x`.
    pub fn activate(&self, x: Tensor<2>, activation: Activation) -> Tensor<2> {
        self.ops.activate(x, activation)
    }

    /// Looks up rows of a table (an embedding) by index: `[rows, width]`.
    pub fn rows(&self, table: Id, rows: impl IntoIterator<Item = usize>) -> Tensor<2> {
        match &self.weights[table] {
            Weight::Dense(table) | Weight::Packed { dense: table, .. } => {
                let rows = plain::ints(rows.into_iter().map(|r| r as i64).collect(), &self.device);
                table.clone().select(0, rows).cast(DType::F32)
            }
            Weight::Quantised(table) => {
                let rows = dequantised_rows(table, rows, &self.device);
                if self.tracked { rows.autodiff() } else { rows }
            }
        }
    }

    /// Computes for each row of `hidden` `[n, d]` the log-prob of its target token and the entropy, in nats, under the
    /// output head `[vocab, d]`: `[n, 2]`.
    pub fn token_log_probs(&self, hidden: Tensor<2>, head: Id, targets: Arc<[u32]>) -> Tensor<2> {
        match &self.weights[head] {
            Weight::Dense(head) | Weight::Packed { dense: head, .. } => {
                self.ops.token_log_probs(hidden, head.clone(), targets)
            }
            Weight::Quantised(head) => ops::quantised_log_probs(hidden, head.clone(), targets),
        }
    }
}
