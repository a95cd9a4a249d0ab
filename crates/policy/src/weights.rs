//! A collection with one value per tensor of a model, for weights, gradients and the optimizer's moments.

use std::borrow::Cow;
use std::ops::Index;
use std::sync::Arc;

use rand::{Rng, RngExt};

use crate::layout::{Form, Id, Layout, Spec, Start};

/// One value of type `T` for each tensor of a layout, such as its weights, its gradient or its moments.
#[derive(Clone, Debug)]
pub struct Weights<T> {
    layout: Arc<Layout>,
    values: Vec<T>,
}

impl<T> Weights<T> {
    /// Makes a value for every tensor with `make`, in the layout's order. At the first error of `make`, it stops and
    /// returns this error.
    pub fn try_from<E>(layout: &Arc<Layout>, make: impl FnMut(&Spec) -> Result<T, E>) -> Result<Self, E> {
        let values = layout.specs().iter().map(make).collect::<Result<_, E>>()?;
        Ok(Self { layout: layout.clone(), values })
    }

    /// Makes a value for every tensor, in the layout's order: [`Weights::try_from`] for a `make` that cannot fail.
    pub fn from(layout: &Arc<Layout>, make: impl FnMut(&Spec) -> T) -> Self {
        Self { layout: layout.clone(), values: layout.specs().iter().map(make).collect() }
    }

    /// The layout: the declarations of the tensors that the values belong to.
    pub fn layout(&self) -> &Arc<Layout> {
        &self.layout
    }

    /// Every value together with the declaration of its tensor, in the layout's order.
    pub fn entries(&self) -> impl Iterator<Item = (&Spec, &T)> {
        self.layout.specs().iter().zip(&self.values)
    }

    /// The values in the layout's order, to change them in place.
    pub fn values_mut(&mut self) -> &mut [T] {
        &mut self.values
    }

    /// Declares those tensors frozen whose values `is_frozen` selects, so that training does not change them.
    #[must_use]
    pub fn freeze(mut self, is_frozen: impl Fn(&T) -> bool) -> Self {
        let frozen: Vec<usize> = (0..self.values.len()).filter(|i| is_frozen(&self.values[*i])).collect();
        if !frozen.is_empty() {
            Arc::make_mut(&mut self.layout).freeze(frozen);
        }
        self
    }

    /// Applies `f` to every value and returns the results, which belong to the same tensors.
    pub fn map<U>(&self, mut f: impl FnMut(&Spec, &T) -> U) -> Weights<U> {
        let values = self.entries().map(|(spec, value)| f(spec, value)).collect();
        Weights { layout: self.layout.clone(), values }
    }
}

impl<T> Index<Id> for Weights<T> {
    type Output = T;
    fn index(&self, id: Id) -> &T {
        &self.values[id.0]
    }
}

/// The initial values of a tensor of an untrained model, as the tensor's declaration says. Matrices are normally
/// distributed with standard deviation `1/√fan_in` (for matrices that write to the residual stream further divided by
/// `√(2 · layers)`, as in GPT-2), embeddings with 0.02; norms start with factors of 1, and biases and LoRA's matrix `b`
/// with zeros. A model's tensors must be initialised in the layout's order, because they share one stream of random
/// numbers.
pub fn start(spec: &Spec, rng: &mut impl Rng) -> Vec<f32> {
    match spec.start {
        Start::Constant(value) => vec![value; spec.elements()],
        Start::Normal(deviation) => (0..spec.elements()).map(|_| normal(rng) * deviation).collect(),
    }
}

/// Draws a random number from the standard normal distribution (Box–Muller).
fn normal(rng: &mut impl Rng) -> f32 {
    let (u, v): (f64, f64) = (rng.random(), rng.random());
    ((-2.0 * (1.0 - u).ln()).sqrt() * (std::f64::consts::TAU * v).cos()) as f32
}

/// The transpose of a row-major matrix `[rows, columns]`.
pub(crate) fn transposed(values: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    let mut out = vec![0f32; values.len()];
    for (r, row) in values.chunks_exact(columns.max(1)).enumerate() {
        for (c, value) in row.iter().enumerate() {
            out[c * rows + r] = *value;
        }
    }
    out
}

/// Converts a tensor's values from the order in files, which for GPT-2 is transposed, to the order in memory.
pub(crate) fn from_stored(spec: &Spec, values: Vec<f32>) -> Vec<f32> {
    match spec.form {
        Form::Transposed => transposed(&values, spec.shape[1], spec.shape[0]),
        _ => values,
    }
}

/// Converts a tensor's values from the order in memory to the order in files, which for GPT-2 is transposed.
pub(crate) fn to_stored<'v>(spec: &Spec, values: Cow<'v, [f32]>) -> Cow<'v, [f32]> {
    match spec.form {
        Form::Transposed => transposed(&values, spec.shape[0], spec.shape[1]).into(),
        _ => values,
    }
}
