//! Activations and gated linear units, forward and backward, each in one pass over memory.

use rayon::prelude::*;

use super::exp;

/// Number of elements per parallel task of an elementwise kernel.
const ELEMENTS: usize = 16 * 1024;

/// An elementwise non-linearity, with the names that Hugging Face's `config.json` files use for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// `x · σ(x)`, named `silu` or `swish`.
    Silu,
    /// `x · Φ(x)` with the distribution function of the normal distribution, named `gelu`.
    Gelu,
    /// The tanh approximation of GELU, named `gelu_new`, `gelu_pytorch_tanh` or `gelu_fast`.
    GeluTanh,
    /// `max(x, 0)`, named `relu`.
    Relu,
    /// `tanh(x)`, named `tanh`.
    Tanh,
}

impl Activation {
    /// Finds an activation by one of Hugging Face's names. The error lists the supported names.
    pub fn named(name: &str) -> Result<Self, String> {
        Ok(match name {
            "silu" | "swish" => Self::Silu,
            "gelu" | "gelu_python" => Self::Gelu,
            "gelu_new" | "gelu_pytorch_tanh" | "gelu_fast" => Self::GeluTanh,
            "relu" => Self::Relu,
            "tanh" => Self::Tanh,
            _ => {
                return Err(format!(
                    "activation `{name}` is not supported; supported: silu, gelu, gelu_new, gelu_pytorch_tanh, relu, tanh"
                ));
            }
        })
    }
}

#[inline(always)]
fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

#[inline(always)]
fn tanh(x: f32) -> f32 {
    2.0 * sigmoid(2.0 * x) - 1.0
}

/// The standard normal distribution function `Φ(x)` by Abramowitz & Stegun 7.1.26, with an absolute error below 1.5e-7.
#[inline(always)]
fn normal(x: f32) -> f32 {
    let z = x.abs() * std::f32::consts::FRAC_1_SQRT_2;
    let t = 1.0 / 0.327_591_1f32.mul_add(z, 1.0);
    let mut p = 1.061_405_4f32;
    for c in [-1.453_152, 1.421_413_7, -0.284_496_73, 0.254_829_6] {
        p = p.mul_add(t, c);
    }
    let tail = 0.5 * p * t * exp(-z * z);
    if x < 0.0 { tail } else { 1.0 - tail }
}

const TANH_SCALE: f32 = 0.797_884_6;
const TANH_CUBE: f32 = 0.044_715;

/// `silu(x)` and its derivative.
#[inline(always)]
fn silu(x: f32) -> (f32, f32) {
    let s = sigmoid(x);
    (x * s, s + x * s * (1.0 - s))
}

/// `gelu(x)` and its derivative.
#[inline(always)]
fn gelu(x: f32) -> (f32, f32) {
    let p = normal(x);
    (x * p, p + x * 0.398_942_3 * exp(-0.5 * x * x))
}

/// The tanh approximation of `gelu(x)`, and its derivative.
#[inline(always)]
fn gelu_tanh(x: f32) -> (f32, f32) {
    let t = tanh(TANH_SCALE * (x + TANH_CUBE * x * x * x));
    let inner = TANH_SCALE * (1.0 + 3.0 * TANH_CUBE * x * x);
    (0.5 * x * (1.0 + t), 0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * inner)
}

/// `relu(x)` and its derivative.
#[inline(always)]
fn relu(x: f32) -> (f32, f32) {
    if x > 0.0 { (x, 1.0) } else { (0.0, 0.0) }
}

/// `tanh(x)` and its derivative.
#[inline(always)]
fn tanh_pair(x: f32) -> (f32, f32) {
    let t = tanh(x);
    (t, 1.0 - t * t)
}

/// Runs a loop body with `$f` bound to the function of an activation. The choice is made outside the loop, so that the
/// compiler can vectorise the loop.
macro_rules! chosen {
    ($activation:expr, $f:ident => $body:block) => {
        match $activation {
            Activation::Silu => {
                let $f = silu;
                $body
            }
            Activation::Gelu => {
                let $f = gelu;
                $body
            }
            Activation::GeluTanh => {
                let $f = gelu_tanh;
                $body
            }
            Activation::Relu => {
                let $f = relu;
                $body
            }
            Activation::Tanh => {
                let $f = tanh_pair;
                $body
            }
        }
    };
}

simd!(activate_slice(x: &[f32], y: &mut [f32], activation: Activation) {
    let n = y.len();
    let x = &x[..n];
    chosen!(activation, f => {
        for i in 0..n {
            y[i] = f(x[i]).0;
        }
    });
});

simd!(activate_backward_slice(x: &[f32], g: &[f32], dx: &mut [f32], activation: Activation) {
    let n = dx.len();
    let (x, g) = (&x[..n], &g[..n]);
    chosen!(activation, f => {
        for i in 0..n {
            dx[i] = g[i] * f(x[i]).1;
        }
    });
});

simd!(gated_slice(gate: &[f32], up: &[f32], y: &mut [f32], activation: Activation) {
    let n = y.len();
    let (gate, up) = (&gate[..n], &up[..n]);
    chosen!(activation, f => {
        for i in 0..n {
            y[i] = f(gate[i]).0 * up[i];
        }
    });
});

simd!(gated_backward_slice(
    gate: &[f32], up: &[f32], g: &[f32], dgate: &mut [f32], dup: &mut [f32], activation: Activation,
) {
    let n = dgate.len();
    let (gate, up, g, dup) = (&gate[..n], &up[..n], &g[..n], &mut dup[..n]);
    chosen!(activation, f => {
        for i in 0..n {
            let (value, slope) = f(gate[i]);
            dup[i] = g[i] * value;
            dgate[i] = g[i] * up[i] * slope;
        }
    });
});

/// Applies an activation to every element.
pub fn activate(x: &[f32], activation: Activation) -> Vec<f32> {
    let mut y = vec![0f32; x.len()];
    y.par_chunks_mut(ELEMENTS).zip(x.par_chunks(ELEMENTS)).for_each(|(y, x)| activate_slice(x, y, activation));
    y
}

/// Gradient of [`activate`] with respect to `x`, where `g` is the gradient with respect to its output.
pub fn activate_backward(x: &[f32], g: &[f32], activation: Activation) -> Vec<f32> {
    let mut dx = vec![0f32; x.len()];
    dx.par_chunks_mut(ELEMENTS)
        .zip(x.par_chunks(ELEMENTS).zip(g.par_chunks(ELEMENTS)))
        .for_each(|(dx, (x, g))| activate_backward_slice(x, g, dx, activation));
    dx
}

/// Gated linear unit: `activation(gate) · up`, elementwise.
pub fn gated(gate: &[f32], up: &[f32], activation: Activation) -> Vec<f32> {
    let mut y = vec![0f32; gate.len()];
    y.par_chunks_mut(ELEMENTS)
        .zip(gate.par_chunks(ELEMENTS))
        .zip(up.par_chunks(ELEMENTS))
        .for_each(|((y, gate), up)| gated_slice(gate, up, y, activation));
    y
}

/// Gradients of [`gated`] with respect to `gate` and `up`, where `g` is the gradient with respect to its output.
pub fn gated_backward(gate: &[f32], up: &[f32], g: &[f32], activation: Activation) -> (Vec<f32>, Vec<f32>) {
    let (mut dgate, mut dup) = (vec![0f32; g.len()], vec![0f32; g.len()]);
    dgate
        .par_chunks_mut(ELEMENTS)
        .zip(dup.par_chunks_mut(ELEMENTS))
        .zip(gate.par_chunks(ELEMENTS).zip(up.par_chunks(ELEMENTS).zip(g.par_chunks(ELEMENTS))))
        .for_each(|((dgate, dup), (gate, (up, g)))| gated_backward_slice(gate, up, g, dgate, dup, activation));
    (dgate, dup)
}
