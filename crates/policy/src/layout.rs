//! The tensors of a model, declared once: names, shapes, how files store them, how they start.
//!
//! An architecture declares its parts here and keeps the [`Id`]s that come back; loading, checking,
//! gradients, moments, saving and LoRA need to know nothing else about it.

use serde::{Deserialize, Serialize};

/// A tensor's place in its layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Id(pub(crate) usize);

/// How a file stores a tensor whose shape in memory is `[rows, columns]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// As it is.
    Matrix,
    /// Without its first axis, which is 1.
    Vector,
    /// With its axes exchanged (GPT-2).
    Transposed,
    /// As `[rows, columns / width, width]`: a convolution of this width.
    Convolution(usize),
}

/// How a tensor starts in a model made from nothing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Start {
    /// The same number everywhere.
    Constant(f32),
    /// Normal, with this deviation.
    Normal(f32),
}

/// One tensor.
#[derive(Clone, Debug, PartialEq)]
pub struct Spec {
    /// Its name in a checkpoint.
    pub name: String,
    /// `[rows, columns]` in memory.
    pub shape: [usize; 2],
    /// How files store it.
    pub form: Form,
    /// How it starts.
    pub start: Start,
    /// Whether training changes it.
    pub trained: bool,
}

impl Spec {
    /// Its shape in a file.
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
/// frozen. Field names are PEFT's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Lora {
    /// Rows of `a`.
    pub r: usize,
    /// `scale` is `lora_alpha / r`.
    pub lora_alpha: f32,
    /// Last parts of the names of the adapted matrices, such as `q_proj`.
    pub target_modules: Vec<String>,
    /// Share of the inputs of `a` that training drops.
    #[serde(default)]
    pub lora_dropout: f32,
    /// Divides by `√r` instead of `r`.
    #[serde(default)]
    pub use_rslora: bool,
}

impl Lora {
    /// What the low-rank product is multiplied by.
    pub fn scale(&self) -> f32 {
        let r = self.r as f32;
        self.lora_alpha / if self.use_rslora { r.sqrt() } else { r }
    }

    /// Says what is impossible about it.
    pub fn check(&self) -> Result<(), String> {
        if self.r == 0 || self.r > 4096 {
            return Err(format!("`r` is {}; it must lie between 1 and 4096", self.r));
        }
        if !self.lora_alpha.is_finite() || !(0.0..1.0).contains(&self.lora_dropout) {
            return Err("`lora_alpha` must be finite and `lora_dropout` from 0 to below 1".into());
        }
        if self.target_modules.is_empty() {
            return Err("`target_modules` names nothing".into());
        }
        Ok(())
    }
}

/// `x · wᵀ`, perhaps plus a bias, perhaps plus a low-rank product.
#[derive(Clone, Copy, Debug)]
pub struct LinearTensors {
    /// `[out, in]`.
    pub weight: Id,
    /// `[1, out]`.
    pub bias: Option<Id>,
    /// `[r, in]` and `[out, r]`.
    pub lora: Option<[Id; 2]>,
}

/// A norm's weight and, for layer norm, its bias: `[1, width]` each.
#[derive(Clone, Copy, Debug)]
pub struct NormTensors {
    /// Scale.
    pub weight: Id,
    /// Shift.
    pub bias: Option<Id>,
}

/// The tensors of a model in a fixed order.
#[derive(Clone, Debug, Default)]
pub struct Layout {
    specs: Vec<Spec>,
    lora: Option<Lora>,
}

impl Layout {
    /// An empty layout whose matrices will be adapted as `lora` says.
    pub fn new(lora: Option<Lora>) -> Self {
        Self { specs: Vec::new(), lora }
    }

    /// All tensors.
    pub fn specs(&self) -> &[Spec] {
        &self.specs
    }

    /// The adaptation.
    pub fn lora(&self) -> Option<&Lora> {
        self.lora.as_ref()
    }

    /// The tensors that training changes, as a layout of their own.
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

    /// Declares a matrix `[outer, inner]`, with its low-rank companions when it is to be adapted. `damp`
    /// divides the deviation that it starts with.
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

    /// Declares a norm of `width`; its weight starts at `weight`.
    pub fn norm(&mut self, name: &str, width: usize, weight: f32, bias: bool) -> NormTensors {
        let mut vector =
            |part: &str, start| self.tensor(format!("{name}.{part}"), [1, width], Form::Vector, Start::Constant(start));
        NormTensors { weight: vector("weight", weight), bias: bias.then(|| vector("bias", 0.0)) }
    }

    /// Says which targets of the adaptation the model does not have.
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

/// Whether a target of an adaptation means a module: its whole name, or the end of it.
fn names(target: &str, module: &str) -> bool {
    module.strip_suffix(target).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}
