//! Where tensors live.

use burn::tensor::Device;

use crate::error::PolicyError;
use crate::ops::Ops;

/// What matrix products of weights are computed in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// Single precision.
    #[default]
    F32,
    /// bfloat16, on a GPU only; weights, gradients and the optimizer stay in single precision.
    Bf16,
}

/// [`device`] with a precision.
pub fn device_in(name: &str, precision: Precision) -> Result<(Device, Ops), PolicyError> {
    let (device, ops) = device(name)?;
    match (precision, ops) {
        (Precision::F32, _) => Ok((device, ops)),
        (Precision::Bf16, Ops::Plain | Ops::Half) => Ok((device, Ops::Half)),
        (Precision::Bf16, Ops::Fused | Ops::Steady) => {
            Err(PolicyError::Request("precision `bf16` is for GPUs; use `f32` on the CPU".into()))
        }
    }
}

/// The device that a name means, and the operations that run on it: `cpu`, `cuda:N`, or `auto` (the first
/// GPU whose driver answers, else the CPU).
pub fn device(name: &str) -> Result<(Device, Ops), PolicyError> {
    match name {
        "cpu" => Ok((Device::flex(), Ops::Fused)),
        "auto" if !driver() => Ok((Device::flex(), Ops::Fused)),
        "auto" => cuda(0),
        _ => match name.strip_prefix("cuda:").and_then(|n| n.parse().ok()) {
            Some(index) => cuda(index),
            None => Err(PolicyError::Request(format!("device `{name}` is not one of: cpu, cuda:0, cuda:1 …, auto"))),
        },
    }
}

#[cfg(feature = "cuda")]
fn cuda(index: usize) -> Result<(Device, Ops), PolicyError> {
    if driver() {
        Ok((Device::cuda(index), Ops::Plain))
    } else {
        Err(PolicyError::Request("no NVIDIA driver answers (libcuda.so.1 is missing); use device `cpu`".into()))
    }
}

#[cfg(not(feature = "cuda"))]
fn cuda(index: usize) -> Result<(Device, Ops), PolicyError> {
    Err(PolicyError::Request(format!(
        "device `cuda:{index}` needs a build with GPU support (`cargo build --release --features cuda`); use device `cpu`"
    )))
}

/// Whether this build and this machine can use a GPU. The device node stands for the driver: loading
/// `libcuda` without it would panic in a worker thread.
fn driver() -> bool {
    cfg!(feature = "cuda") && std::path::Path::new("/dev/nvidiactl").exists()
}
