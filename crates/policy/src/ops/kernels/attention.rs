//! Grouped-query attention over packed sequences, forward and backward.

use std::sync::Arc;

use rayon::prelude::*;

use super::{Rope, View, exp, matmul, max, sum};
use crate::ops::packing::{Packing, TreePart};

simd!(
/// Turns attention scores into probabilities: row `r` of `p` `[rows, width]` becomes the softmax of the scaled scores
/// of those keys that the query at position `start + r` attends to; the other elements become 0.
pub(super) masked_softmax(p: &mut [f32], width: usize, start: usize, spec: &AttentionSpec) {
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

simd!(
/// Turns `dp` `[rows, width]`, the gradient with respect to the probabilities `p`, into the gradient with respect to
/// the scores before scaling.
softmax_backward(p: &[f32], dp: &mut [f32], width: usize, scale: f32) {
    for (p, dp) in p.chunks_exact(width).zip(dp.chunks_exact_mut(width)) {
        let s = sum(width, |i| p[i] * dp[i]);
        for i in 0..width {
            dp[i] = p[i] * (dp[i] - s) * scale;
        }
    }
});

/// Number and size of the attention heads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heads {
    /// Number of query heads.
    pub query: usize,
    /// Number of key and value heads, which divides `query`: each is shared by `query / kv` query heads.
    pub kv: usize,
    /// Number of elements of a head.
    pub dim: usize,
}

impl Heads {
    /// Width of a row with the queries of all heads: `query · dim`.
    pub fn query_width(self) -> usize {
        self.query * self.dim
    }
    /// Width of a row with the keys (or the values) of all heads: `kv · dim`.
    pub fn kv_width(self) -> usize {
        self.kv * self.dim
    }
}

/// How a layer attends: its heads, rotary positions, mask and scale.
#[derive(Clone, Debug)]
pub struct AttentionSpec {
    /// Number and size of the attention heads.
    pub heads: Heads,
    /// Tables for rotary positions; `None` for models with other positions.
    pub rope: Option<Arc<Rope>>,
    /// Whether attention is causal: a query attends only to its own key and earlier ones.
    pub causal: bool,
    /// Largest number of keys that a query attends to: its own and those directly before it. `None`: no limit.
    pub window: Option<usize>,
    /// Factor by which the scores are multiplied before the softmax, usually `1/√dim`.
    pub scale: f32,
}

impl AttentionSpec {
    /// The range of keys that the query at `position` attends to, out of `total` keys: the first, and the one after the
    /// last.
    pub fn range(&self, position: usize, total: usize) -> (usize, usize) {
        let to = if self.causal { (position + 1).min(total) } else { total };
        let from = self.window.map_or(0, |w| (position + 1).saturating_sub(w));
        (from.min(to), to)
    }

    pub(super) fn rotate(&self, rows: &mut [f32], width: usize, start: usize) {
        if let Some(rope) = &self.rope {
            rope.apply(rows, width, start);
        }
    }

    pub(super) fn rotate_back(&self, rows: &mut [f32], width: usize, start: usize) {
        if let Some(rope) = &self.rope {
            rope.transpose(rows, width, start);
        }
    }
}

/// Cuts `buffer` into consecutive pieces, one of `len * width` elements for each of `lens`.
pub(super) fn split<'a>(mut buffer: &'a mut [f32], lens: &[usize], width: usize) -> Vec<&'a mut [f32]> {
    lens.iter()
        .map(|len| {
            let (head, rest) = std::mem::take(&mut buffer).split_at_mut(len * width);
            buffer = rest;
            head
        })
        .collect()
}

/// Index of the first row of each packed sequence.
pub(super) fn offsets(lens: &[usize]) -> Vec<usize> {
    lens.iter()
        .scan(0, |at, len| {
            let start = *at;
            *at += len;
            Some(start)
        })
        .collect()
}

/// What [`attention`] saves for its backward pass.
#[derive(Clone, Debug)]
pub struct AttentionSaved {
    /// Queries after rotation, `[n, query_width]`.
    pub q: Vec<f32>,
    /// Keys after rotation, `[n, kv_width]`.
    pub k: Vec<f32>,
    /// Attention probabilities of each tree. For each part of the tree (its trunk or a branch) there are
    /// `[query heads, t, s + t]`, where `t` is the number of rows of the part, and `s` that of the trunk before it.
    pub p: Vec<Vec<f32>>,
}

/// Self-attention over packed sequences: `q` `[n, query_width]`, `k` and `v` `[n, kv_width]` give `[n, query_width]`.
/// Also returns what the backward pass reads.
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
                    masked_softmax(p, total, seen, spec);
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

/// Number of query rows whose scores are held in memory at a time, where no backward pass follows.
const TILE: usize = 256;

/// Attention of one head, for a tile of queries at a time: `t` queries at the positions from `seen` on, and `seen + t`
/// keys and values. Rows of `q` and `out` are `qw` elements apart, rows of `k` and `v` `kw` elements.
pub(super) fn attend_tiles(
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
        // No query of the tile attends to a later key than the tile's last query does.
        let (_, total) = spec.range(seen + first + rows - 1, seen + t);
        scores.resize(rows * total, 0.0);
        let (q, out) = (&q[first * qw..], &mut out[first * qw..]);
        matmul([rows, dim, total], View::rows(q, qw), View::rows(k, kw).t(), scores, total, false, false);
        masked_softmax(scores, total, seen + first, spec);
        matmul([rows, total, dim], View::rows(scores, total), View::rows(v, kw), out, qw, false, false);
    }
}

/// [`attention`] where no backward pass follows: nothing is saved.
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
                // A copy places a branch's keys and values directly after its trunk's.
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

/// Gradients of [`attention`] with respect to `q`, `k` and `v`, where `g` `[n, query_width]` is the gradient with
/// respect to its output.
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
                    // Query heads that share keys and values form a group. The first head of a group writes the
                    // gradients of these keys and values, and the others add to them.
                    let add = h % group > 0;
                    let (kv, at_q, at_kv) = (h / group * dim, at * qw + h * dim, at * kw + h / group * dim);
                    let (query, g) = (View::rows(&q[at_q..], qw), View::rows(&g[at_q..], qw));
                    let branch = View::rows(&here[seen..], total);
                    matmul([t, t, dim], branch.t(), g, &mut dv[at_kv..], kw, add, false);
                    matmul([t, dim, t], g, View::rows(&v[at_kv..], kw).t(), &mut ds[seen..], total, false, false);
                    if seen > 0 {
                        let trunk = View::rows(here, total);
                        matmul([seen, t, dim], trunk.t(), g, &mut dv[kv..], kw, true, false);
                        matmul([t, dim, seen], g, View::rows(&v[kv..], kw).t(), &mut ds, total, false, false);
                    }
                    softmax_backward(here, &mut ds, total, spec.scale);
                    let branch = View::rows(&ds[seen..], total);
                    matmul([t, t, dim], branch, View::rows(&k[at_kv..], kw), &mut dq[at_q..], qw, false, false);
                    matmul([t, t, dim], branch.t(), query, &mut dk[at_kv..], kw, add, false);
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
