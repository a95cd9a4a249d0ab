//! Norms, sums and the optimizer's update, each in one pass over memory.

use rayon::prelude::*;

use super::sum;

/// Number of rows per parallel task: enough to hide the cost of scheduling, few enough to keep all cores busy.
const ROWS: usize = 64;
/// Number of elements per parallel task of an elementwise kernel.
const ELEMENTS: usize = 16 * 1024;

simd!(rms_norm_rows(x: &[f32], w: &[f32], eps: f32, y: &mut [f32]) {
    let d = w.len();
    for (x, y) in x.chunks_exact(d).zip(y.chunks_exact_mut(d)) {
        let r = 1.0 / (sum(d, |i| x[i] * x[i]) / d as f32 + eps).sqrt();
        for i in 0..d {
            y[i] = x[i] * r * w[i];
        }
    }
});

simd!(rms_norm_backward_rows(x: &[f32], w: &[f32], eps: f32, g: &[f32], dx: &mut [f32], dw: &mut [f32]) {
    let d = w.len();
    for ((x, g), dx) in x.chunks_exact(d).zip(g.chunks_exact(d)).zip(dx.chunks_exact_mut(d)) {
        let r = 1.0 / (sum(d, |i| x[i] * x[i]) / d as f32 + eps).sqrt();
        let c = sum(d, |i| g[i] * w[i] * x[i]) * r * r * r / d as f32;
        for i in 0..d {
            dx[i] = g[i] * w[i] * r - x[i] * c;
            dw[i] += g[i] * x[i] * r;
        }
    }
});

simd!(layer_norm_rows(x: &[f32], w: &[f32], b: &[f32], eps: f32, y: &mut [f32]) {
    let d = w.len();
    let b = &b[..d];
    for (x, y) in x.chunks_exact(d).zip(y.chunks_exact_mut(d)) {
        let mean = sum(d, |i| x[i]) / d as f32;
        let r = 1.0 / (sum(d, |i| (x[i] - mean) * (x[i] - mean)) / d as f32 + eps).sqrt();
        for i in 0..d {
            y[i] = (x[i] - mean) * r * w[i] + b[i];
        }
    }
});

simd!(layer_norm_backward_rows(
    x: &[f32], w: &[f32], eps: f32, g: &[f32], dx: &mut [f32], dw: &mut [f32], db: &mut [f32],
) {
    let d = w.len();
    let (dw, db) = (&mut dw[..d], &mut db[..d]);
    for ((x, g), dx) in x.chunks_exact(d).zip(g.chunks_exact(d)).zip(dx.chunks_exact_mut(d)) {
        let mean = sum(d, |i| x[i]) / d as f32;
        let r = 1.0 / (sum(d, |i| (x[i] - mean) * (x[i] - mean)) / d as f32 + eps).sqrt();
        let shift = sum(d, |i| g[i] * w[i]) / d as f32;
        let slope = sum(d, |i| g[i] * w[i] * (x[i] - mean)) * r * r / d as f32;
        for i in 0..d {
            dx[i] = r * (g[i] * w[i] - shift - (x[i] - mean) * slope);
            dw[i] += g[i] * (x[i] - mean) * r;
            db[i] += g[i];
        }
    }
});

simd!(column_sum_rows(g: &[f32], total: &mut [f32]) {
    let d = total.len();
    for g in g.chunks_exact(d) {
        for i in 0..d {
            total[i] += g[i];
        }
    }
});

simd!(
/// One step of AdamW (Loshchilov & Hutter, 2019, algorithm 2) on a part of a tensor.
adamw_slice(w: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32], step: &AdamStep) {
    let n = w.len();
    let (g, m, v) = (&g[..n], &mut m[..n], &mut v[..n]);
    for i in 0..n {
        let gi = g[i] * step.grad_scale;
        m[i] = step.beta1 * m[i] + (1.0 - step.beta1) * gi;
        v[i] = step.beta2 * v[i] + (1.0 - step.beta2) * gi * gi;
        let update = m[i] / step.correction1 / ((v[i] / step.correction2).sqrt() + step.eps);
        w[i] -= step.lr * (update + step.weight_decay * w[i]);
    }
});

/// The constants of one AdamW step.
#[derive(Clone, Copy, Debug)]
pub struct AdamStep {
    /// Learning rate of this step.
    pub lr: f32,
    /// Decay of the first moments per step.
    pub beta1: f32,
    /// Decay of the second moments per step.
    pub beta2: f32,
    /// Bias correction of the first moments at step `t`: `1 − beta1ᵗ`.
    pub correction1: f32,
    /// Bias correction of the second moments at step `t`: `1 − beta2ᵗ`.
    pub correction2: f32,
    /// Added to the root of the second moments, by which the first moments are divided.
    pub eps: f32,
    /// Decoupled weight decay: the step also subtracts `lr · weight_decay · w` from each weight `w`.
    pub weight_decay: f32,
    /// Factor by which the gradients are multiplied to clip their norm; 1 without clipping.
    pub grad_scale: f32,
}

/// Takes one step of AdamW: updates the weights `w` and the moments `m` and `v` in place.
pub fn adamw(w: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32], step: &AdamStep) {
    w.par_chunks_mut(ELEMENTS)
        .zip(g.par_chunks(ELEMENTS))
        .zip(m.par_chunks_mut(ELEMENTS).zip(v.par_chunks_mut(ELEMENTS)))
        .for_each(|((w, g), (m, v))| adamw_slice(w, g, m, v, step));
}

/// Sum of squares `Σ x²` in double precision. It is summed in fixed chunks, so that the result does not depend on the
/// number of threads.
pub fn square_sum(x: &[f32]) -> f64 {
    let parts: Vec<f64> =
        x.par_chunks(ELEMENTS).map(|c| c.iter().map(|v| f64::from(*v) * f64::from(*v)).sum()).collect();
    parts.iter().sum()
}

/// Adds `x` to `y`, elementwise.
pub fn add_assign(y: &mut [f32], x: &[f32]) {
    y.par_chunks_mut(ELEMENTS).zip(x.par_chunks(ELEMENTS)).for_each(|(y, x)| {
        for (y, x) in y.iter_mut().zip(x) {
            *y += x;
        }
    });
}

/// RMS norm of each row of `x` `[n, d]`, multiplied by `w` `[d]`.
pub fn rms_norm(x: &[f32], w: &[f32], eps: f32) -> Vec<f32> {
    let mut y = vec![0f32; x.len()];
    let rows = w.len() * ROWS;
    y.par_chunks_mut(rows).zip(x.par_chunks(rows)).for_each(|(y, x)| rms_norm_rows(x, w, eps, y));
    y
}

/// Gradients of [`rms_norm`] with respect to `x` and `w`, where `g` `[n, d]` is the gradient with respect to its
/// output.
pub fn rms_norm_backward(x: &[f32], w: &[f32], eps: f32, g: &[f32]) -> (Vec<f32>, Vec<f32>) {
    let mut dx = vec![0f32; x.len()];
    let rows = w.len() * ROWS;
    let parts: Vec<Vec<f32>> = dx
        .par_chunks_mut(rows)
        .zip(x.par_chunks(rows))
        .zip(g.par_chunks(rows))
        .map(|((dx, x), g)| {
            let mut dw = vec![0f32; w.len()];
            rms_norm_backward_rows(x, w, eps, g, dx, &mut dw);
            dw
        })
        .collect();
    let mut dw = vec![0f32; w.len()];
    for part in parts {
        for (a, b) in dw.iter_mut().zip(part) {
            *a += b;
        }
    }
    (dx, dw)
}

/// Layer norm (Ba et al., 2016) of each row of `x` `[n, d]`, multiplied by `w` `[d]`, plus `b` `[d]`.
pub fn layer_norm(x: &[f32], w: &[f32], b: &[f32], eps: f32) -> Vec<f32> {
    let mut y = vec![0f32; x.len()];
    let rows = w.len() * ROWS;
    y.par_chunks_mut(rows).zip(x.par_chunks(rows)).for_each(|(y, x)| layer_norm_rows(x, w, b, eps, y));
    y
}

/// Gradients of [`layer_norm`] with respect to `x`, `w` and `b`, where `g` `[n, d]` is the gradient with respect to its
/// output.
pub fn layer_norm_backward(x: &[f32], w: &[f32], eps: f32, g: &[f32]) -> [Vec<f32>; 3] {
    let mut dx = vec![0f32; x.len()];
    let rows = w.len() * ROWS;
    let parts: Vec<[Vec<f32>; 2]> = dx
        .par_chunks_mut(rows)
        .zip(x.par_chunks(rows))
        .zip(g.par_chunks(rows))
        .map(|((dx, x), g)| {
            let (mut dw, mut db) = (vec![0f32; w.len()], vec![0f32; w.len()]);
            layer_norm_backward_rows(x, w, eps, g, dx, &mut dw, &mut db);
            [dw, db]
        })
        .collect();
    let (mut dw, mut db) = (vec![0f32; w.len()], vec![0f32; w.len()]);
    for [w, b] in parts {
        add_assign(&mut dw, &w);
        add_assign(&mut db, &b);
    }
    [dx, dw, db]
}

/// Sum `[d]` of the rows of `g` `[n, d]`. It is summed in fixed chunks, so that the result does not depend on the
/// number of threads.
pub fn column_sum(g: &[f32], d: usize) -> Vec<f32> {
    let parts: Vec<Vec<f32>> = g
        .par_chunks(d * ROWS)
        .map(|g| {
            let mut part = vec![0f32; d];
            column_sum_rows(g, &mut part);
            part
        })
        .collect();
    let mut total = vec![0f32; d];
    for part in parts {
        add_assign(&mut total, &part);
    }
    total
}
