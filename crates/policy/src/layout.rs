//! The tensors of a model, declared once: names, shapes, storage and initial values.
//!
//! An architecture declares its tensors and keeps their [`Id`]s. Loading, checking, gradients, moments, saving and LoRA
//! read the declaration, so that they work for every architecture.

use serde::{Deserialize, Serialize};

/// A tensor's index in its layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Id(pub(crate) usize);

/// How a file stores a tensor whose shape in memory is `[rows, columns]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// As `[rows, columns]`.
    Matrix,
    /// As `[columns]`; there is one row.
    Vector,
    /// As `[columns, rows]` (GPT-2).
    Transposed,
    /// As `[rows, columns / width, width]`: the kernel of a convolution of this width.
    Convolution(usize),
}

/// The initial values of a tensor in a model with random weights.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Start {
    /// This number everywhere.
    Constant(f32),
    /// Normal with mean 0 and this standard deviation.
    Normal(f32),
}

/// The declaration of a tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct Spec {
    /// Name in a checkpoint.
    pub name: String,
    /// `[rows, columns]` in memory.
    pub shape: [usize; 2],
    /// How files store it.
    pub form: Form,
    /// Initial values.
    pub start: Start,
    /// Whether training changes it; under LoRA, only the adapter's tensors.
    pub trained: bool,
}

impl Spec {
    /// Shape in a file.
    pub fn stored(&self) -> Vec<usize> {
        let [rows, columns] = self.shape;
        match self.form {
            Form::Matrix => vec![rows, columns],
            Form::Vector => vec![columns],
            Form::Transposed => vec![columns, rows],
            Form::Convolution(width) => vec![rows, columns / width, width],
        }
    }

    /// Number of elements.
    pub fn elements(&self) -> usize {
        self.shape[0] * self.shape[1]
    }
}

/// Low-rank adaptation (Hu et al., 2021): `x · wᵀ + scale · (x · aᵀ) · bᵀ` with everything but `a` and `b`
/// frozen. Fields are named as in PEFT's `adapter_config.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Lora {
    /// Rows of `a`.
    pub r: usize,
    /// `scale` is `lora_alpha / r`.
    pub lora_alpha: f32,
    /// Names of the adapted matrices: whole names, or their last parts such as `q_proj`.
    pub target_modules: Vec<String>,
    /// Share of the inputs of `a` that training drops, from 0 to below 1.
    #[serde(default)]
    pub lora_dropout: f32,
    /// Divides by `√r` instead of `r`.
    #[serde(default)]
    pub use_rslora: bool,
}

impl Lora {
    /// Factor of the low-rank product.
    pub fn scale(&self) -> f32 {
        let r = self.r as f32;
        self.lora_alpha / if self.use_rslora { r.sqrt() } else { r }
    }

    /// Checks the values; the error names the key that is impossible.
    pub fn check(&self) -> Result<(), String> {
        if self.r == 0 || self.r > 4096 {
            return Err(format!("`r` is {}; it must lie between 1 and 4096", self.r));
        }
        if !self.lora_alpha.is_finite() || !(0.0..1.0).contains(&self.lora_dropout) {
            return Err("`lora_alpha` must be finite, and `lora_dropout` from 0 to below 1".into());
        }
        if self.target_modules.is_empty() {
            return Err("`target_modules` names nothing".into());
        }
        Ok(())
    }
}

/// The tensors of a linear layer: `x · wᵀ`, plus a bias and a low-rank product where there are any.
#[derive(Clone, Copy, Debug)]
pub struct LinearTensors {
    /// `[out, in]`.
    pub weight: Id,
    /// `[1, out]`.
    pub bias: Option<Id>,
    /// LoRA's `a` `[r, in]` and `b` `[out, r]`.
    pub lora: Option<[Id; 2]>,
}

/// The tensors of a norm, `[1, width]` each.
#[derive(Clone, Copy, Debug)]
pub struct NormTensors {
    /// Weight.
    pub weight: Id,
    /// Bias, of a layer norm.
    pub bias: Option<Id>,
}

/// The tensors of a model in a fixed order.
#[derive(Clone, Debug, Default)]
pub struct Layout {
    specs: Vec<Spec>,
    lora: Option<Lora>,
}

impl Layout {
    /// An empty layout. With `lora`, the matrices that it names get low-rank companions, and everything else is frozen.
    pub fn new(lora: Option<Lora>) -> Self {
        Self { specs: Vec::new(), lora }
    }

    /// All tensors, in the order of declaration.
    pub fn specs(&self) -> &[Spec] {
        &self.specs
    }

    /// The adapter; `None` where all weights are trained.
    pub fn lora(&self) -> Option<&Lora> {
        self.lora.as_ref()
    }

    /// A layout of the tensors that training changes.
    #[must_use]
    pub fn trained(&self) -> Self {
        Self { specs: self.specs.iter().filter(|s| s.trained).cloned().collect(), lora: None }
    }

    /// Number of weights.
    pub fn parameters(&self) -> usize {
        self.specs.iter().map(Spec::elements).sum()
    }

    /// Declares a tensor.
    pub fn tensor(&mut self, name: String, shape: [usize; 2], form: Form, start: Start) -> Id {
        let trained = self.lora.is_none();
        self.specs.push(Spec { name, shape, form, start, trained });
        Id(self.specs.len() - 1)
    }

    /// Declares a table of `rows` vectors.
    pub fn embedding(&mut self, name: &str, rows: usize, width: usize) -> Id {
        self.tensor(format!("{name}.weight"), [rows, width], Form::Matrix, Start::Normal(0.02))
    }

    /// Declares a matrix `[outer, inner]` with its low-rank companions where LoRA names it. `damp` divides the standard
    /// deviation of its initial values, `1/√inner`.
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

    /// Declares a norm of `width` elements; the initial weight is `weight`.
    pub fn norm(&mut self, name: &str, width: usize, weight: f32, bias: bool) -> NormTensors {
        let mut vector =
            |part: &str, start| self.tensor(format!("{name}.{part}"), [1, width], Form::Vector, Start::Constant(start));
        NormTensors { weight: vector("weight", weight), bias: bias.then(|| vector("bias", 0.0)) }
    }

    /// Checks the adapter; the error names a target that the model does not have.
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

/// Whether a target of LoRA selects a module: it is the module's name, or the last parts of it.
fn names(target: &str, module: &str) -> bool {
    module.strip_suffix(target).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}
