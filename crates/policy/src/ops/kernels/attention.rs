//! Grouped-query attention over packed sequences and over a cache.

use std::sync::Arc;

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::{Rope, View, exp, matmul, max, sum};
use crate::ops::packing::{Packing, TreePart};

simd!(
/// Row `r` of `p` becomes the softmax of the scores that query `start + r` may see, times `scale`; the rest
/// is 0.
pub(super) softmax_seen(p: &mut [f32], width: usize, start: usize, spec: &AttentionSpec) {
    for (r, row) in p.chunks_exact_mut(width).enumerate() {
        let (from, to) = spec.range(start + r, width);
        row[..from].fill(0.0);
        row[to..].fill(0.0);
        let seen = &mut row[from..to];
        let m = max(seen);
        for v in seen.iter_mut() {
            *v = exp((*v - m) * spec.scale);
        }
        let inv = 1.0 / sum(seen.len(), |i| seen[i]);
        for v in seen.iter_mut() {
            *v *= inv;
        }
    }
});

simd!(softmax_backward(p: &[f32], dp: &mut [f32], width: usize, scale: f32) {
    for (p, dp) in p.chunks_exact(width).zip(dp.chunks_exact_mut(width)) {
        let s = sum(width, |i| p[i] * dp[i]);
        for i in 0..width {
            dp[i] = p[i] * (dp[i] - s) * scale;
        }
    }
});

simd!(
/// Scores become the numerators of their softmax, and the first of `total` their sum.
numerators(scores: &mut [f32], total: &mut [f32; 1]) {
    let m = max(scores);
    for s in scores.iter_mut() {
        *s = exp(*s - m);
    }
    total[0] = sum(scores.len(), |i| scores[i]);
});

/// One query head against cached keys and values that lie `width` apart.
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
        // Four vectors of the output stay in registers while the values pass by.
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

/// `N` vectors of `Σ weight · value`.
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

/// Numbers of heads and the size of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heads {
    /// Query heads.
    pub query: usize,
    /// Key and value heads; divides `query`.
    pub kv: usize,
    /// Elements per head.
    pub dim: usize,
}

impl Heads {
    /// Width of a row of queries.
    pub fn query_width(self) -> usize {
        self.query * self.dim
    }
    /// Width of a row of keys or values.
    pub fn kv_width(self) -> usize {
        self.kv * self.dim
    }
}

/// Which keys a query sees, and what its scores are multiplied by.
#[derive(Clone, Debug)]
pub struct AttentionSpec {
    /// Head counts and size.
    pub heads: Heads,
    /// Rotary tables; none where positions are learned.
    pub rope: Option<Arc<Rope>>,
    /// Whether a query sees no later key.
    pub causal: bool,
    /// The query itself and what comes before it, this many in all; everything when absent.
    pub window: Option<usize>,
    /// Usually `1/√dim`.
    pub scale: f32,
}

impl AttentionSpec {
    /// The keys (of `total`) that the query at `position` sees.
    pub fn range(&self, position: usize, total: usize) -> (usize, usize) {
        let to = if self.causal { (position + 1).min(total) } else { total };
        let from = self.window.map_or(0, |w| (position + 1).saturating_sub(w));
        (from.min(to), to)
    }

    fn rotate(&self, rows: &mut [f32], width: usize, start: usize) {
        if let Some(rope) = &self.rope {
            rope.apply(rows, width, start);
        }
    }

    fn rotate_back(&self, rows: &mut [f32], width: usize, start: usize) {
        if let Some(rope) = &self.rope {
            rope.transpose(rows, width, start);
        }
    }
}

/// Cuts `buffer` into consecutive pieces of `len * width` elements.
pub(super) fn split<'a>(mut buffer: &'a mut [f32], lens: &[usize], width: usize) -> Vec<&'a mut [f32]> {
    lens.iter()
        .map(|len| {
            let (head, rest) = std::mem::take(&mut buffer).split_at_mut(len * width);
            buffer = rest;
            head
        })
        .collect()
}

/// First row of each packed sequence.
pub(super) fn offsets(lens: &[usize]) -> Vec<usize> {
    lens.iter()
        .scan(0, |at, len| {
            let start = *at;
            *at += len;
            Some(start)
        })
        .collect()
}

/// What [`attention`] keeps for its backward pass.
#[derive(Clone, Debug)]
pub struct AttentionSaved {
    /// Rotated queries `[n, query_width]`.
    pub q: Vec<f32>,
    /// Rotated keys `[n, kv_width]`.
    pub k: Vec<f32>,
    /// Probabilities: per tree, for each of its parts of `t` rows after `s` rows of the trunk, `[query, t, s + t]`.
    pub p: Vec<Vec<f32>>,
}

/// Self-attention over packed sequences: `q` `[n, query_width]`, `k` and `v` `[n, kv_width]`, where tree `i` owns
/// consecutive rows. Gives `[n, query_width]`.
pub fn attention(
    q: &[f32],
    k: &[f32],
    v: &[f32],
    spec: &AttentionSpec,
    packing: &Packing,
) -> (Vec<f32>, AttentionSaved) {
    let heads = spec.heads;
    let (qw, kw, dim, group) = (heads.query_width(), heads.kv_width(), heads.dim, heads.query / heads.kv);
    let (mut q, mut k, mut out) = (q.to_vec(), k.to_vec(), vec![0f32; q.len()]);
    let lens = packing.lens();
    let starts = offsets(&lens);
    let p = split(&mut q, &lens, qw)
        .into_par_iter()
        .zip(split(&mut k, &lens, kw))
        .zip(split(&mut out, &lens, qw))
        .zip(packing.trees().par_iter().zip(&starts))
        .map(|(((q, k), out), (tree, &start))| {
            let v = &v[start * kw..(start + tree.rows()) * kw];
            let size = |part: TreePart| heads.query * part.rows * (part.seen + part.rows);
            let mut all = vec![0f32; tree.parts().map(size).sum()];
            let mut rest = all.as_mut_slice();
            for part in tree.parts() {
                let (t, seen, at) = (part.rows, part.seen, part.start);
                let total = seen + t;
                spec.rotate(&mut q[at * qw..(at + t) * qw], qw, seen);
                spec.rotate(&mut k[at * kw..(at + t) * kw], kw, seen);
                let (here, after) = std::mem::take(&mut rest).split_at_mut(size(part));
                rest = after;
                for (h, p) in here.chunks_exact_mut(t * total).enumerate() {
                    let (kv, at_q, at_kv) = (h / group * dim, at * qw + h * dim, at * kw + h / group * dim);
                    let (query, out) = (View::rows(&q[at_q..], qw), &mut out[at_q..]);
                    if seen > 0 {
                        matmul([t, dim, seen], query, View::rows(&k[kv..], kw).t(), p, total, false, false);
                    }
                    matmul([t, dim, t], query, View::rows(&k[at_kv..], kw).t(), &mut p[seen..], total, false, false);
                    softmax_seen(p, total, seen, spec);
                    matmul(
                        [t, t, dim],
                        View::rows(&p[seen..], total),
                        View::rows(&v[at_kv..], kw),
                        out,
                        qw,
                        false,
                        false,
                    );
                    if seen > 0 {
                        matmul([t, seen, dim], View::rows(p, total), View::rows(&v[kv..], kw), out, qw, true, false);
                    }
                }
            }
            all
        })
        .collect();
    (out, AttentionSaved { q, k, p })
}

/// Query rows whose scores are held at a time where nothing is kept.
const TILE: usize = 256;

/// One head: queries `[t, dim]` that stand at `seen..` against all keys and values, a tile of queries at a time. Rows of
/// `q` and `out` lie `qw` apart, those of `k` and `v` `kw` apart.
fn attend_tiles(
    [q, k, v]: [&[f32]; 3],
    (t, seen): (usize, usize),
    (qw, kw): (usize, usize),
    spec: &AttentionSpec,
    scores: &mut Vec<f32>,
    out: &mut [f32],
) {
    let dim = spec.heads.dim;
    for first in (0..t).step_by(TILE) {
        let rows = TILE.min(t - first);
        // No query of the tile sees a key behind its last row's.
        let (_, total) = spec.range(seen + first + rows - 1, seen + t);
        scores.resize(rows * total, 0.0);
        let (q, out) = (&q[first * qw..], &mut out[first * qw..]);
        matmul([rows, dim, total], View::rows(q, qw), View::rows(k, kw).t(), scores, total, false, false);
        softmax_seen(scores, total, seen + first, spec);
        matmul([rows, total, dim], View::rows(scores, total), View::rows(v, kw), out, qw, false, false);
    }
}

/// [`attention`] where nothing has to be kept for a backward pass.
pub fn attention_without_saving(q: &[f32], k: &[f32], v: &[f32], spec: &AttentionSpec, packing: &Packing) -> Vec<f32> {
    let heads = spec.heads;
    let (qw, kw, dim, group) = (heads.query_width(), heads.kv_width(), heads.dim, heads.query / heads.kv);
    let (mut q, mut k, mut out) = (q.to_vec(), k.to_vec(), vec![0f32; q.len()]);
    let lens = packing.lens();
    let starts = offsets(&lens);
    split(&mut q, &lens, qw)
        .into_par_iter()
        .zip(split(&mut k, &lens, kw))
        .zip(split(&mut out, &lens, qw))
        .zip(packing.trees().par_iter().zip(&starts))
        .for_each(|(((q, k), out), (tree, &start))| {
            let v = &v[start * kw..(start + tree.rows()) * kw];
            let mut scores = Vec::new();
            for part in tree.parts() {
                let (t, seen, at) = (part.rows, part.seen, part.start);
                spec.rotate(&mut q[at * qw..(at + t) * qw], qw, seen);
                spec.rotate(&mut k[at * kw..(at + t) * kw], kw, seen);
                // A branch's keys and values follow its trunk's only in a copy.
                let joined = |x: &[f32]| [&x[..seen * kw], &x[at * kw..(at + t) * kw]].concat();
                let copies = (seen > 0).then(|| (joined(k), joined(v)));
                let (k, v) = copies.as_ref().map_or((&k[at * kw..], &v[at * kw..]), |(k, v)| (k, v));
                for h in 0..heads.query {
                    let (at, kv) = (at * qw + h * dim, h / group * dim);
                    let held = [&q[at..], &k[kv..], &v[kv..]];
                    attend_tiles(held, (t, seen), (qw, kw), spec, &mut scores, &mut out[at..]);
                }
            }
        });
    out
}

/// Gradients of [`attention`] by `q`, `k` and `v`.
pub fn attention_backward(
    saved: &AttentionSaved,
    v: &[f32],
    g: &[f32],
    spec: &AttentionSpec,
    packing: &Packing,
) -> [Vec<f32>; 3] {
    let heads = spec.heads;
    let (qw, kw, dim, group) = (heads.query_width(), heads.kv_width(), heads.dim, heads.query / heads.kv);
    let (mut dq, mut dk, mut dv) = (vec![0f32; saved.q.len()], vec![0f32; saved.k.len()], vec![0f32; v.len()]);
    let lens = packing.lens();
    let starts = offsets(&lens);
    split(&mut dq, &lens, qw)
        .into_par_iter()
        .zip(split(&mut dk, &lens, kw))
        .zip(split(&mut dv, &lens, kw))
        .zip(packing.trees().par_iter().zip(&starts).zip(&saved.p))
        .for_each(|(((dq, dk), dv), ((tree, &start), p))| {
            let rows = |x, w: usize| -> &[f32] {
                let x: &[f32] = x;
                &x[start * w..(start + tree.rows()) * w]
            };
            let (q, k, v, g) = (rows(&saved.q, qw), rows(&saved.k, kw), rows(v, kw), rows(g, qw));
            let mut p = p.as_slice();
            let mut ds = Vec::new();
            for part in tree.parts() {
                let (t, seen, at) = (part.rows, part.seen, part.start);
                let total = seen + t;
                ds.resize(t * total, 0.0);
                for h in 0..heads.query {
                    let (here, rest) = p.split_at(t * total);
                    p = rest;
                    // The first head of a key's group writes its gradient, the others add.
                    let add = h % group > 0;
                    let (kv, at_q, at_kv) = (h / group * dim, at * qw + h * dim, at * kw + h / group * dim);
                    let (query, g) = (View::rows(&q[at_q..], qw), View::rows(&g[at_q..], qw));
                    let own = View::rows(&here[seen..], total);
                    matmul([t, t, dim], own.t(), g, &mut dv[at_kv..], kw, add, false);
                    matmul([t, dim, t], g, View::rows(&v[at_kv..], kw).t(), &mut ds[seen..], total, false, false);
                    if seen > 0 {
                        let trunk = View::rows(here, total);
                        matmul([seen, t, dim], trunk.t(), g, &mut dv[kv..], kw, true, false);
                        matmul([t, dim, seen], g, View::rows(&v[kv..], kw).t(), &mut ds, total, false, false);
                    }
                    softmax_backward(here, &mut ds, total, spec.scale);
                    let own = View::rows(&ds[seen..], total);
                    matmul([t, t, dim], own, View::rows(&k[at_kv..], kw), &mut dq[at_q..], qw, false, false);
                    matmul([t, t, dim], own.t(), query, &mut dk[at_kv..], kw, add, false);
                    if seen > 0 {
                        let trunk = View::rows(&ds, total);
                        matmul([t, seen, dim], trunk, View::rows(&k[kv..], kw), &mut dq[at_q..], qw, true, false);
                        matmul([seen, t, dim], trunk.t(), query, &mut dk[kv..], kw, true, false);
                    }
                }
            }
            for part in tree.parts() {
                let (from, to) = (part.start, part.start + part.rows);
                spec.rotate_back(&mut dq[from * qw..to * qw], qw, part.seen);
                spec.rotate_back(&mut dk[from * kw..to * kw], kw, part.seen);
            }
        });
    [dq, dk, dv]
}

/// Keys and values of one sequence in one layer: `[positions seen, kv_width]`, keys rotated.
#[derive(Clone, Debug, Default)]
pub struct KvSlot {
    k: Vec<f32>,
    v: Vec<f32>,
}

/// Attention of `lens[i]` new rows of sequence `i` over everything its slot holds and over themselves;
/// the new keys and values join the slot. Shapes as in [`attention`].
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
