//! Grouped-query attention of new rows over cached keys and values.

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::attention::{AttentionSpec, attend_tiles, offsets, split};
use super::{exp, max, sum};

/// The cached keys (after rotation) and values of one sequence in one layer, `[tokens, kv_width]` each.
#[derive(Clone, Debug, Default)]
pub struct KvSlot {
    k: Vec<f32>,
    v: Vec<f32>,
}

impl KvSlot {
    /// A copy of the first `tokens` keys and values, which are `width` wide.
    pub fn prefix(&self, tokens: usize, width: usize) -> Self {
        Self { k: self.k[..tokens * width].to_vec(), v: self.v[..tokens * width].to_vec() }
    }
}

/// Attention of new rows, `lens[i]` of sequence `i`, over the cached rows of their sequence and over themselves.
/// Appends the new keys and values to `slots[i]`. Shapes are as in [`super::attention()`].
pub fn attention_cached(
    mut q: Vec<f32>,
    mut k: Vec<f32>,
    v: &[f32],
    spec: &AttentionSpec,
    lens: &[usize],
    slots: &mut [&mut KvSlot],
) -> Vec<f32> {
    let heads = spec.heads;
    let (qw, kw, dim, group) = (heads.query_width(), heads.kv_width(), heads.dim, heads.query / heads.kv);
    let mut out = vec![0f32; q.len()];
    let starts = offsets(lens);
    let arch = Arch::new();
    split(&mut q, lens, qw)
        .into_par_iter()
        .zip(split(&mut k, lens, kw))
        .zip(split(&mut out, lens, qw))
        .zip(lens.par_iter().zip(&starts).zip(slots))
        .for_each(|(((q, k), out), ((&t, &start), slot))| {
            let seen = slot.k.len() / kw;
            spec.rotate(q, qw, seen);
            spec.rotate(k, kw, seen);
            slot.k.extend_from_slice(k);
            slot.v.extend_from_slice(&v[start * kw..(start + t) * kw]);
            let total = seen + t;
            let mut scores = Vec::new();
            for h in 0..heads.query {
                let (at, kv) = (h * dim, h / group * dim);
                if t > 1 {
                    let held = [&q[at..], &slot.k[kv..], &slot.v[kv..]];
                    attend_tiles(held, (t, seen), (qw, kw), spec, &mut scores, &mut out[at..]);
                    continue;
                }
                let (from, to) = spec.range(seen, total);
                scores.resize(to - from, 0.0);
                let (keys, values) = (&slot.k[from * kw + kv..], &slot.v[from * kw + kv..]);
                let (q, out) = (&q[at..at + dim], &mut out[at..at + dim]);
                let (scale, scores) = (spec.scale, &mut scores);
                arch.dispatch(Attend { q, k: keys, v: values, width: kw, scale, scores, out });
            }
        });
    out
}

simd!(
/// Turns scores into the numerators of their softmax, and sets `total` to the sum of these.
numerators(scores: &mut [f32], total: &mut [f32; 1]) {
    let m = max(scores);
    for s in scores.iter_mut() {
        *s = exp(*s - m);
    }
    total[0] = sum(scores.len(), |i| scores[i]);
});

/// Attention of one query head `[dim]` over cached keys and values, whose rows are `width` elements apart.
struct Attend<'a> {
    q: &'a [f32],
    k: &'a [f32],
    v: &'a [f32],
    width: usize,
    scale: f32,
    scores: &'a mut [f32],
    out: &'a mut [f32],
}

impl WithSimd for Attend<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { q, k, v, width, scale, scores, out } = self;
        let dim = q.len();
        let (head, tail) = S::as_simd_f32s(q);
        for (s, k) in scores.iter_mut().zip(k.chunks(width)) {
            let (k, rest) = S::as_simd_f32s(&k[..dim]);
            let mut sum = simd.splat_f32s(0.0);
            for (q, k) in head.iter().zip(k) {
                sum = simd.mul_add_f32s(*q, *k, sum);
            }
            let rest: f32 = tail.iter().zip(rest).map(|(q, k)| q * k).sum();
            *s = (simd.reduce_sum_f32s(sum) + rest) * scale;
        }
        let mut total = [0.0];
        numerators(scores, &mut total);
        let inverse = 1.0 / total[0];
        let (vectors, rest) = S::as_mut_simd_f32s(out);
        // Up to four SIMD vectors of the output stay in registers during a pass over the values.
        let lanes = S::F32_LANES;
        for (block, out) in vectors.chunks_mut(4).enumerate() {
            let at = block * 4 * lanes;
            match out {
                [a, b, c, d] => mix::<S, 4>(simd, scores, &v[at..], width, inverse, [a, b, c, d]),
                [a, b, c] => mix::<S, 3>(simd, scores, &v[at..], width, inverse, [a, b, c]),
                [a, b] => mix::<S, 2>(simd, scores, &v[at..], width, inverse, [a, b]),
                [a] => mix::<S, 1>(simd, scores, &v[at..], width, inverse, [a]),
                _ => {}
            }
        }
        let at = dim - rest.len();
        for (i, out) in rest.iter_mut().enumerate() {
            *out = scores.iter().zip(v.chunks(width)).map(|(s, v)| s * v[at + i]).sum::<f32>() * inverse;
        }
    }
}

/// Sets `N` SIMD vectors of the output to `Σ weight · value · inverse`, the sum over the cached values.
#[inline(always)]
fn mix<S: Simd, const N: usize>(
    simd: S,
    weights: &[f32],
    v: &[f32],
    width: usize,
    inverse: f32,
    out: [&mut S::f32s; N],
) {
    let mut sums = [simd.splat_f32s(0.0); N];
    for (weight, v) in weights.iter().zip(v.chunks(width)) {
        let weight = simd.splat_f32s(*weight);
        let (v, _) = S::as_simd_f32s(v);
        for (sum, v) in sums.iter_mut().zip(&v[..N]) {
            *sum = simd.mul_add_f32s(weight, *v, *sum);
        }
    }
    let inverse = simd.splat_f32s(inverse);
    for (out, sum) in out.into_iter().zip(sums) {
        *out = simd.mul_f32s(sum, inverse);
    }
}
