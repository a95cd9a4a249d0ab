//! A weight in memory: a dense tensor, or a frozen matrix in the quantised blocks of a GGUF file.

use std::borrow::Cow;
use std::sync::Arc;

use burn::tensor::{Device, Tensor, TensorData};
use rlar_quant::QuantisedMatrix;

use crate::cache;
use crate::ops::kernels::PackedMatrix;

/// The values of a tensor of a model, as they are kept in memory.
#[derive(Clone, Debug)]
pub enum Weight {
    /// A tensor on the model's device, in `f32`.
    Dense(Tensor<2>),
    /// A matrix in quantised blocks in the host's memory. It is frozen: autodiff computes gradients through it, not for
    /// it.
    Quantised(QuantisedMatrix),
    /// A tensor on the CPU with a packed copy, which matrix products use. It is made for sampling: a view that records
    /// gradients has the tensor alone.
    Packed {
        /// The tensor, in `f32`.
        dense: Tensor<2>,
        /// The same values, which may be rounded.
        packed: Arc<PackedMatrix>,
    },
}

impl Weight {
    /// The weight as a dense tensor, `None` for a matrix in quantised blocks.
    pub fn dense(&self) -> Option<&Tensor<2>> {
        match self {
            Self::Dense(tensor) | Self::Packed { dense: tensor, .. } => Some(tensor),
            Self::Quantised(_) => None,
        }
    }

    /// The weight as a dense tensor; a matrix in quantised blocks is dequantised onto `device`.
    pub fn tensor(&self, device: &Device) -> Tensor<2> {
        match self {
            Self::Dense(tensor) | Self::Packed { dense: tensor, .. } => tensor.clone(),
            Self::Quantised(matrix) => from_rows(self.values().into_owned(), matrix.columns(), device),
        }
    }

    /// A copy of the elements in `f32`, row by row; empty if the bytes of a quantised matrix are not all there.
    pub fn values(&self) -> Cow<'_, [f32]> {
        match self {
            Self::Dense(tensor) | Self::Packed { dense: tensor, .. } => cache::values(tensor.clone()).into(),
            Self::Quantised(matrix) => matrix.dequantise().unwrap_or_default().into(),
        }
    }

    /// Number of bytes that the weight takes in memory.
    pub fn bytes(&self) -> u64 {
        match self {
            Self::Dense(tensor) => 4 * tensor.dims().iter().product::<usize>() as u64,
            Self::Packed { dense, packed } => 4 * dense.dims().iter().product::<usize>() as u64 + packed.size() as u64,
            Self::Quantised(matrix) => matrix.size() as u64,
        }
    }

    /// A dense weight with a copy that `pack` makes of its values and its number of columns; others as they are.
    pub(crate) fn packed(&self, pack: fn(&[f32], usize) -> PackedMatrix) -> Self {
        match self {
            Self::Dense(dense) => {
                let packed = Arc::new(pack(&self.values(), dense.dims()[1]));
                Self::Packed { dense: dense.clone(), packed }
            }
            Self::Quantised(_) | Self::Packed { .. } => self.clone(),
        }
    }

    /// Whether the weight is a matrix in quantised blocks.
    pub fn is_quantised(&self) -> bool {
        matches!(self, Self::Quantised(_))
    }
}

/// Dequantises rows of a matrix, such as the embeddings of tokens: `[rows, columns]` on `device`. A row that does not
/// exist is NaN.
pub(crate) fn dequantised_rows(
    matrix: &QuantisedMatrix,
    rows: impl IntoIterator<Item = usize>,
    device: &Device,
) -> Tensor<2> {
    let mut values = Vec::new();
    for row in rows {
        let start = values.len();
        values.resize(start + matrix.columns(), f32::NAN);
        if matrix.dequantise_row(row, &mut values[start..]).is_err() {
            values[start..].fill(f32::NAN);
        }
    }
    from_rows(values, matrix.columns(), device)
}

fn from_rows(values: Vec<f32>, columns: usize, device: &Device) -> Tensor<2> {
    let rows = values.len() / columns.max(1);
    Tensor::from_data(TensorData::new(values, [rows, columns]), device)
}
