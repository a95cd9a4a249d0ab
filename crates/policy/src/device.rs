//! The devices that models run on, and how operations are computed there.

use burn::tensor::Device;

use crate::error::PolicyError;
use crate::ops::{Ops, Products, has_bf16};

/// Number format of matrix products with weights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// Single precision (`f32`). On a GPU, products of matrices round their inputs to TF32, which has 11 significant bits.
    #[default]
    F32,
    /// bfloat16, on GPUs and on processors with AVX512-BF16. Sums, weights, gradients and the optimizer's state stay in
    /// single precision.
    Bf16,
}

/// A device, and the implementation of the operations that models run on it.
#[derive(Clone, Debug)]
pub struct ComputeDevice {
    /// The device whose memory holds the tensors.
    pub device: Device,
    /// The implementation of the models' operations on this device, such as hand-written kernels on the CPU.
    pub ops: Ops,
}

impl ComputeDevice {
    /// Finds a device by name, in single precision: `cpu`, `cuda:N` for GPU number N, or `auto` (the first GPU if this
    /// build supports GPUs and the NVIDIA driver is installed, otherwise the CPU).
    pub fn new(name: &str) -> Result<Self, PolicyError> {
        match name {
            "cpu" => Ok(Self::cpu()),
            "auto" if !has_driver() => Ok(Self::cpu()),
            "auto" => cuda(0),
            _ => match name.strip_prefix("cuda:").and_then(|n| n.parse().ok()) {
                Some(index) => cuda(index),
                None => Err(PolicyError::UnknownDevice { name: name.to_owned() }),
            },
        }
    }

    /// Finds a device by name as [`ComputeDevice::new`] does, with a precision. `bf16` is an error on a CPU
    /// without AVX512-BF16.
    pub fn with_precision(name: &str, precision: Precision) -> Result<Self, PolicyError> {
        let Self { device, ops } = Self::new(name)?;
        match (precision, ops) {
            (Precision::F32, _) => Ok(Self { device, ops }),
            (Precision::Bf16, Ops::Plain | Ops::Half) => Ok(Self { device, ops: Ops::Half }),
            (Precision::Bf16, Ops::Fused(_)) if has_bf16() => Ok(Self { device, ops: Ops::Fused(Products::Bf16) }),
            (Precision::Bf16, Ops::Fused(_)) => Err(PolicyError::NoBf16),
        }
    }

    /// Whether products of matrices keep single precision throughout, which a GPU's in `f32` do not.
    pub fn is_float32(&self) -> bool {
        matches!(self.ops, Ops::Fused(Products::Single))
    }

    fn cpu() -> Self {
        Self { device: Device::flex(), ops: Ops::Fused(Products::Single) }
    }
}

#[cfg(feature = "cuda")]
fn cuda(index: usize) -> Result<ComputeDevice, PolicyError> {
    if has_driver() {
        Ok(ComputeDevice { device: Device::cuda(index), ops: Ops::Plain })
    } else {
        Err(PolicyError::NoGpu { index, missing: "an NVIDIA driver (there is no /dev/nvidiactl)" })
    }
}

#[cfg(not(feature = "cuda"))]
fn cuda(index: usize) -> Result<ComputeDevice, PolicyError> {
    Err(PolicyError::NoGpu { index, missing: "a build with GPU support (`cargo build --release --features cuda`)" })
}

/// Whether this build supports GPUs and this machine has the NVIDIA driver. The driver's device node is tested rather
/// than its library, because loading `libcuda` without the driver panics in a worker thread.
fn has_driver() -> bool {
    cfg!(feature = "cuda") && std::path::Path::new("/dev/nvidiactl").exists()
}
