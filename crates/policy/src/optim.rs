//! The AdamW optimizer with clipping by global norm. It updates the weights of a decoder in place.

use std::path::Path;
use std::sync::Arc;

use burn::tensor::{Tensor, TensorData};
use serde::{Deserialize, Serialize};

use crate::checkpoint;
use crate::decoder::Decoder;
use crate::error::PolicyError;
use crate::float_type::FloatType;
use crate::layout::{Form, Spec};
use crate::ops::in_pool;
use crate::ops::kernels::{self, AdamStep};
use crate::save::File;
use crate::weight::Weight;
use crate::weights::Weights;

/// Hyperparameters of the AdamW optimizer (Loshchilov & Hutter, 2019), except the learning rate.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct AdamW {
    /// Decay of the first moments (averages of gradients) per step, from 0 to below 1.
    pub beta1: f32,
    /// Decay of the second moments (averages of squared gradients) per step, from 0 to below 1.
    pub beta2: f32,
    /// Added to the root of the second moments, by which the first moments are divided.
    pub eps: f32,
    /// Decoupled weight decay: a step also subtracts `lr · weight_decay · w` from each weight `w`, except biases and
    /// norm weights.
    pub weight_decay: f32,
    /// Largest global norm of the gradients: gradients with a larger norm are scaled down to it. 0: no clipping.
    pub max_norm: f32,
}

/// The state of the AdamW optimizer: first and second moments of every weight, and the number of steps taken.
#[derive(Clone, Debug)]
pub struct Moments {
    /// First moments (averages of gradients) of each tensor; empty for frozen tensors.
    pub m: Weights<Vec<f32>>,
    /// Second moments (averages of squared gradients) of each tensor; empty for frozen tensors.
    pub v: Weights<Vec<f32>>,
    /// Number of steps taken so far.
    pub steps: u64,
}

/// Names of the files of a checkpoint that hold the first and the second moments.
const FILES: [&str; 2] = ["adam_m.safetensors", "adam_v.safetensors"];

impl Moments {
    /// The file with the first moments, as [`Moments::load`] reads it.
    pub fn first_file(&self) -> Result<File, PolicyError> {
        Ok((FILES[0], Self::bytes(&self.m)?))
    }

    /// The file with the second moments, as [`Moments::load`] reads it.
    pub fn second_file(&self) -> Result<File, PolicyError> {
        Ok((FILES[1], Self::bytes(&self.v)?))
    }

    fn bytes(x: &Weights<Vec<f32>>) -> Result<Vec<u8>, PolicyError> {
        checkpoint::to_safetensors(x, FloatType::Float32, |spec| spec.trained.then(|| spec.name.clone()))
    }

    /// Loads the moments for a decoder from the folder of a checkpoint; they are the saved ones bit for bit. `steps` is
    /// the number of steps taken, which the files do not hold.
    pub fn load(decoder: &Decoder, folder: &Path, steps: u64) -> Result<Self, PolicyError> {
        let trained = Arc::new(decoder.layout().trained());
        let read = |name: &str| -> Result<Weights<Vec<f32>>, PolicyError> {
            let found = checkpoint::find_in_file(&folder.join(name), &trained)?;
            let mut values = Vec::new();
            found.read(|_| Vec::new(), |_, v| values.push(v))?;
            let mut values = values.into_iter();
            let mut next = |spec: &Spec| if spec.trained { values.next() } else { None };
            Ok(Weights::from(decoder.layout(), |spec| next(spec).unwrap_or_default()))
        };
        Ok(Self { m: read(FILES[0])?, v: read(FILES[1])?, steps })
    }

    /// The state before the first step, with zeros for every trained weight of a decoder.
    pub fn zeros(decoder: &Decoder) -> Self {
        let zeros = Weights::from(decoder.layout(), |spec| vec![0f32; if spec.trained { spec.elements() } else { 0 }]);
        Self { m: zeros.clone(), v: zeros, steps: 0 }
    }
}

/// Gradients of a decoder's trained weights, summed over micro-batches.
#[derive(Debug, Default)]
pub struct Gradients(Option<Weights<Option<TensorData>>>);

impl Gradients {
    /// Runs the backward pass of `loss` `[1]` and adds the gradients with respect to `tracked`, the weights of a
    /// [`Decoder::with_grad`] view.
    pub fn accumulate(&mut self, tracked: &Weights<Weight>, loss: &Tensor<1>) {
        let mut grads = loss.backward();
        self.collect(tracked, &mut grads);
    }

    /// Runs the backward pass of `loss` `[1]` and adds the gradients with respect to `tracked`, as
    /// [`Gradients::accumulate`] does. Also returns the gradient with respect to `leaf`, a tensor from which the loss
    /// was computed.
    pub(crate) fn accumulate_through(
        &mut self,
        tracked: &Weights<Weight>,
        loss: &Tensor<1>,
        leaf: &Tensor<2>,
    ) -> Tensor<2> {
        let mut grads = loss.backward();
        self.collect(tracked, &mut grads);
        leaf.grad_remove(&mut grads).unwrap_or_else(|| leaf.clone().inner().zeros_like())
    }

    fn collect(&mut self, tracked: &Weights<Weight>, grads: &mut burn::tensor::Gradients) {
        let sums = self.0.get_or_insert_with(|| Weights::from(tracked.layout(), |_| None));
        for ((spec, w), sum) in tracked.entries().zip(sums.values_mut()) {
            let trained = w.dense().filter(|_| spec.trained);
            let Some(gradient) = trained.and_then(|w| w.grad_remove(grads)) else { continue };
            let gradient = gradient.into_data();
            match sum {
                None => *sum = Some(gradient),
                Some(sum) => {
                    if let (Ok(sum), Ok(gradient)) = (sum.as_mut_slice::<f32>(), gradient.as_slice::<f32>()) {
                        kernels::add_assign(sum, gradient);
                    }
                }
            }
        }
    }

    /// Global norm: the Euclidean norm of all gradients together; 0 before any was added.
    pub fn norm(&self) -> f64 {
        let Some(sum) = &self.0 else { return 0.0 };
        let squares = sum.entries().filter_map(|(_, g)| g.as_ref()?.as_slice::<f32>().ok());
        squares.map(kernels::square_sum).sum::<f64>().sqrt()
    }

    /// Copies all gradients into a map from the tensor's name to the elements of its gradient. For a tensor without a
    /// gradient, the list of elements is empty.
    pub fn to_map(&self) -> std::collections::BTreeMap<String, Vec<f32>> {
        let entries = self.0.iter().flat_map(Weights::entries);
        let values = |g: &Option<TensorData>| g.as_ref().and_then(|g| g.as_slice::<f32>().ok()).map(<[f32]>::to_vec);
        entries.map(|(spec, g)| (spec.name.clone(), values(g).unwrap_or_default())).collect()
    }
}

impl AdamW {
    /// Takes one step at learning rate `lr`, and returns the global norm of the gradients before clipping. Where the
    /// norm is not finite, nothing is changed.
    pub fn step(&self, decoder: &mut Decoder, moments: &mut Moments, gradients: Gradients, lr: f32) -> f64 {
        in_pool(|| self.step_here(decoder, moments, gradients, lr))
    }

    fn step_here(&self, decoder: &mut Decoder, moments: &mut Moments, gradients: Gradients, lr: f32) -> f64 {
        let norm = gradients.norm();
        let Some(gradients) = gradients.0 else { return 0.0 };
        if !norm.is_finite() {
            return norm;
        }
        moments.steps += 1;
        let t = moments.steps as i32;
        let max_norm = f64::from(self.max_norm);
        let grad_scale = if max_norm > 0.0 && norm > max_norm { (max_norm / norm) as f32 } else { 1.0 };
        let decays: Vec<bool> = gradients.entries().map(|(spec, _)| spec.form != Form::Vector).collect();
        let mut gradients = gradients;
        let parts = decoder.weights_mut().values_mut().iter_mut().zip(gradients.values_mut());
        let parts = parts.zip(moments.m.values_mut().iter_mut().zip(moments.v.values_mut())).zip(decays);
        for (((weight, gradient), (m, v)), decays) in parts {
            let (Some(gradient), Weight::Dense(weight)) = (gradient.take(), weight) else { continue };
            let step = AdamStep {
                lr,
                beta1: self.beta1,
                beta2: self.beta2,
                correction1: 1.0 - self.beta1.powi(t),
                correction2: 1.0 - self.beta2.powi(t),
                eps: self.eps,
                weight_decay: if decays { self.weight_decay } else { 0.0 },
                grad_scale,
            };
            let device = weight.device();
            // While it is taken out, the tensor's memory has a single owner, so that updating it needs no copy.
            let held = std::mem::replace(weight, Tensor::empty([1, 1], &device));
            let mut data = held.into_data();
            if let (Ok(w), Ok(g)) = (data.as_mut_slice::<f32>(), gradient.as_slice::<f32>()) {
                kernels::adamw(w, g, m, v, &step);
            }
            *weight = Tensor::from_data(data, &device);
        }
        norm
    }
}
