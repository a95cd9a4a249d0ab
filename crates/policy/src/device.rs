//! Devices that models run on.

use burn::tensor::Device;

use crate::error::PolicyError;
use crate::ops::Ops;

/// Number format of the matrix products with weights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// Single precision.
    #[default]
    F32,
    /// bfloat16, on a GPU only; weights, gradients and the optimizer stay in single precision.
    Bf16,
}

/// A device and the operations that run on it.
#[derive(Clone, Debug)]
pub struct ComputeDevice {
    /// The device that stores tensors.
    pub device: Device,
    /// The implementation of the operations.
    pub ops: Ops,
}

impl ComputeDevice {
    /// The device with a name, in single precision: `cpu`, `cuda:N`, or `auto` (the first GPU if the NVIDIA driver is
    /// installed, otherwise the CPU).
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

    /// [`ComputeDevice::new`] with a precision. `bf16` is an error on the CPU.
    pub fn with_precision(name: &str, precision: Precision) -> Result<Self, PolicyError> {
        let Self { device, ops } = Self::new(name)?;
        match (precision, ops) {
            (Precision::F32, _) => Ok(Self { device, ops }),
            (Precision::Bf16, Ops::Plain | Ops::Half) => Ok(Self { device, ops: Ops::Half }),
            (Precision::Bf16, Ops::Fused | Ops::BatchInvariant) => Err(PolicyError::Bf16OnCpu),
        }
    }

    fn cpu() -> Self {
        Self { device: Device::flex(), ops: Ops::Fused }
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

/// Whether this build and this machine can use a GPU. The device node is tested instead of the driver's library:
/// loading `libcuda` without the driver panics in a worker thread.
fn has_driver() -> bool {
    cfg!(feature = "cuda") && std::path::Path::new("/dev/nvidiactl").exists()
}
