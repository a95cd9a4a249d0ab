//! Layouts: the declarations of a model's tensors, with names, shapes, storage and initial values.
//!
//! An architecture declares its tensors once and keeps their [`Id`]s. Loading, checking, gradients, optimizer moments,
//! saving and LoRA read the declarations, so that they work for every architecture.

use serde::{Deserialize, Serialize};

/// Index of a tensor in its layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Id(pub(crate) usize);

/// How a file stores a tensor that is a matrix `[rows, columns]` in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// The file stores the shape `[rows, columns]`, as in memory.
    Matrix,
    /// The file stores the shape `[columns]`, for a tensor with one row: a bias or the weight of a norm.
    Vector,
    /// The file stores the transpose, `[columns, rows]` (GPT-2).
    Transposed,
    /// The file stores the shape `[rows, columns / width, width]`: the kernel of a convolution of this width.
    Convolution(usize),
}

/// Which initial values a tensor has in a model with random weights.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Start {
    /// All elements have this value.
    Constant(f32),
    /// Elements are normally distributed with mean 0 and this standard deviation.
    Normal(f32),
}

/// The declaration of a tensor: its name, shape, storage and initial values.
#[derive(Clone, Debug, PartialEq)]
pub struct Spec {
    /// Name of the tensor in a checkpoint.
    pub name: String,
    /// Shape `[rows, columns]` of the tensor in memory.
    pub shape: [usize; 2],
    /// How files store the tensor.
    pub form: Form,
    /// Initial values of the tensor in a model with random weights.
    pub start: Start,
    /// Whether training changes the tensor; under LoRA, it changes the adapter's tensors only.
    pub trained: bool,
}

impl Spec {
    /// Shape of the tensor in a file.
    pub fn stored(&self) -> Vec<usize> {
        let [rows, columns] = self.shape;
        match self.form {
            Form::Matrix => vec![rows, columns],
            Form::Vector => vec![columns],
            Form::Transposed => vec![columns, rows],
            Form::Convolution(width) => vec![rows, columns / width, width],
        }
    }

    /// Number of elements of the tensor.
    pub fn elements(&self) -> usize {
        self.shape[0] * self.shape[1]
    }
}

/// Settings of a low-rank adapter (LoRA; Hu et al., 2021), which computes `x · wᵀ + scale · (x · aᵀ) · bᵀ` and trains
/// `a` and `b` only. The fields are named as in PEFT's `adapter_config.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Lora {
    /// Rank of the adapter: the number of rows of `a` and of columns of `b`.
    pub r: usize,
    /// Strength of the adapter: `scale` is `lora_alpha / r`, or `lora_alpha / √r` with `use_rslora`.
    pub lora_alpha: f32,
    /// Names of the matrices that get an adapter: whole names, or the last parts of names, such as `q_proj`.
    pub target_modules: Vec<String>,
    /// Dropout probability of the adapter's inputs during training, from 0 to below 1.
    #[serde(default)]
    pub lora_dropout: f32,
    /// Whether `scale` is `lora_alpha / √r` instead of `lora_alpha / r`.
    #[serde(default)]
    pub use_rslora: bool,
}

impl Lora {
    /// Factor by which the adapter's low-rank product is multiplied.
    pub fn scale(&self) -> f32 {
        let r = self.r as f32;
        self.lora_alpha / if self.use_rslora { r.sqrt() } else { r }
    }

    /// Checks that the settings are possible; the error names the one that is not.
    pub fn check(&self) -> Result<(), String> {
        if self.r == 0 || self.r > 4096 {
            return Err(format!("`r` is {}; it must lie between 1 and 4096", self.r));
        }
        if !self.lora_alpha.is_finite() || !(0.0..1.0).contains(&self.lora_dropout) {
            return Err("`lora_alpha` must be finite, and `lora_dropout` from 0 to below 1".into());
        }
        if self.target_modules.is_empty() {
            return Err("`target_modules` is empty; name at least one matrix, such as `q_proj`".into());
        }
        Ok(())
    }
}

/// Ids of the tensors of a linear layer: `x · wᵀ`, plus a bias and an adapter's low-rank product where it has them.
#[derive(Clone, Copy, Debug)]
pub struct LinearTensors {
    /// Matrix `w` `[out, in]`.
    pub weight: Id,
    /// Bias `[1, out]`; `None` for a layer without one.
    pub bias: Option<Id>,
    /// The adapter's matrices `a` `[r, in]` and `b` `[out, r]`; `None` for a layer without an adapter.
    pub lora: Option<[Id; 2]>,
}

/// Ids of the tensors of a norm, each of shape `[1, width]`.
#[derive(Clone, Copy, Debug)]
pub struct NormTensors {
    /// Weight, by which the normalised rows are multiplied.
    pub weight: Id,
    /// Bias of a layer norm; `None` for an RMS norm.
    pub bias: Option<Id>,
}

/// The declarations of all tensors of a model, in a fixed order.
#[derive(Clone, Debug, Default)]
pub struct Layout {
    specs: Vec<Spec>,
    lora: Option<Lora>,
}

impl Layout {
    /// Makes an empty layout. With `lora`, the matrices that it names will get low-rank companions, and all other
    /// tensors will be frozen.
    pub fn new(lora: Option<Lora>) -> Self {
        Self { specs: Vec::new(), lora }
    }

    /// The declarations of all tensors, in the order in which they were made.
    pub fn specs(&self) -> &[Spec] {
        &self.specs
    }

    /// Settings of the adapter; `None` for a model without one, whose weights are all trained.
    pub fn lora(&self) -> Option<&Lora> {
        self.lora.as_ref()
    }

    /// The layout of only those tensors that training changes.
    #[must_use]
    pub fn trained(&self) -> Self {
        Self { specs: self.specs.iter().filter(|s| s.trained).cloned().collect(), lora: None }
    }

    /// Declares that training does not change the tensors with these indices.
    pub(crate) fn freeze(&mut self, frozen: impl IntoIterator<Item = usize>) {
        for index in frozen {
            self.specs[index].trained = false;
        }
    }

    /// Number of parameters: the elements of all tensors together.
    pub fn parameters(&self) -> usize {
        self.specs.iter().map(Spec::elements).sum()
    }

    /// Declares a tensor and returns its id. It is frozen if this layout has an adapter.
    pub fn tensor(&mut self, name: String, shape: [usize; 2], form: Form, start: Start) -> Id {
        let trained = self.lora.is_none();
        self.specs.push(Spec { name, shape, form, start, trained });
        Id(self.specs.len() - 1)
    }

    /// Declares an embedding: a table `[rows, width]` with one vector per row.
    pub fn embedding(&mut self, name: &str, rows: usize, width: usize) -> Id {
        self.tensor(format!("{name}.weight"), [rows, width], Form::Matrix, Start::Normal(0.02))
    }

    /// Declares a linear layer with a matrix `[outer, inner]` and, where LoRA names the layer, an adapter. `damp`
    /// divides the standard deviation of the matrix's initial values, which is `1/√inner` without it.
    pub fn linear(
        &mut self,
        name: &str,
        [outer, inner]: [usize; 2],
        bias: bool,
        form: Form,
        damp: f32,
    ) -> LinearTensors {
        let start = Start::Normal(1.0 / (inner as f32).sqrt() / damp);
        let weight = self.tensor(format!("{name}.weight"), [outer, inner], form, start);
        let bias = bias.then(|| self.tensor(format!("{name}.bias"), [1, outer], Form::Vector, Start::Constant(0.0)));
        let lora = self.lora.clone().filter(|l| l.target_modules.iter().any(|target| names(target, name)));
        let lora = lora.map(|l| {
            let mut pair = |part: &str, shape, start| {
                let name = format!("{name}.lora_{part}.weight");
                self.specs.push(Spec { name, shape, form: Form::Matrix, start, trained: true });
                Id(self.specs.len() - 1)
            };
            let a = pair("A", [l.r, inner], Start::Normal(1.0 / (inner as f32).sqrt()));
            [a, pair("B", [outer, l.r], Start::Constant(0.0))]
        });
        LinearTensors { weight, bias, lora }
    }

    /// Declares a norm over `width` elements, with or without a bias; `weight` is the initial value of its weights.
    pub fn norm(&mut self, name: &str, width: usize, weight: f32, bias: bool) -> NormTensors {
        let mut vector =
            |part: &str, start| self.tensor(format!("{name}.{part}"), [1, width], Form::Vector, Start::Constant(start));
        NormTensors { weight: vector("weight", weight), bias: bias.then(|| vector("bias", 0.0)) }
    }

    /// Checks the adapter's settings; the error names an impossible value, or a target module that the model does not
    /// have.
    pub fn check(&self) -> Result<(), String> {
        let Some(lora) = &self.lora else { return Ok(()) };
        lora.check()?;
        let adapted = |target: &str| {
            let mut modules = self.specs.iter().filter_map(|s| s.name.strip_suffix(".lora_A.weight"));
            modules.any(|module| names(target, module))
        };
        match lora.target_modules.iter().find(|t| !adapted(t)) {
            Some(target) => Err(format!("`target_modules` names `{target}`, which this model does not have")),
            None => Ok(()),
        }
    }
}

/// Whether a target of LoRA selects a module. It does if it is the whole name of the module or the last parts of it.
fn names(target: &str, module: &str) -> bool {
    module.strip_suffix(target).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}
