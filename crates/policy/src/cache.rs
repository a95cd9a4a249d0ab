//! The KV cache: keys and values of the sequences that are being generated.

use std::sync::Arc;

use burn::tensor::{Tensor, TensorData, activation};

use crate::ops::kernels::{self, KvSlot};
use crate::ops::{AttentionSpec, Ops, plain};

/// The KV cache: the keys and values of a batch of sequences, in every layer.
#[derive(Clone, Debug)]
pub struct KvCache {
    /// How each layer attends: heads, positions, mask and scale.
    specs: Vec<Arc<AttentionSpec>>,
    lens: Vec<usize>,
    layers: Layers,
}

#[derive(Clone, Debug)]
enum Layers {
    /// The cache on the CPU: for each layer and each sequence, the rotated keys and the values in growing buffers.
    Fused(Vec<Vec<KvSlot>>),
    /// The cache on other devices: for each layer, the rotated keys and the values of all sequences one after the
    /// other, `[Σ lens, kv_width]` each; `None` while empty.
    Plain(Vec<Option<[Tensor<2>; 2]>>),
}

impl KvCache {
    pub(crate) fn new(ops: Ops, specs: Vec<Arc<AttentionSpec>>) -> Self {
        let layers = specs.len();
        let layers = match ops {
            Ops::Fused | Ops::BatchInvariant => Layers::Fused(vec![Vec::new(); layers]),
            Ops::Plain | Ops::Half => Layers::Plain(vec![None; layers]),
        };
        Self { specs, lens: Vec::new(), layers }
    }

    /// Number of cached tokens of each sequence.
    pub fn lens(&self) -> &[usize] {
        &self.lens
    }

    /// Appends `n` empty sequences.
    ///
    /// # Panics
    /// On devices other than the CPU when the cache is not empty; fill a second cache and [`KvCache::join`] it instead.
    pub fn push(&mut self, n: usize) {
        match &mut self.layers {
            Layers::Fused(layers) => layers.iter_mut().for_each(|l| l.extend(vec![KvSlot::default(); n])),
            Layers::Plain(_) => assert!(self.lens.is_empty(), "push into a cache that is not empty"),
        }
        self.lens.extend(vec![0; n]);
    }

    /// Replaces the sequences: the new sequence `i` is the old sequence `order[i]`. So sequences can be dropped,
    /// reordered or copied.
    pub fn reorder(&mut self, order: &[usize]) {
        match &mut self.layers {
            Layers::Fused(layers) => {
                for layer in layers {
                    let mut uses = vec![0; layer.len()];
                    for i in order {
                        uses[*i] += 1;
                    }
                    let take = |i: &usize| {
                        uses[*i] -= 1;
                        if uses[*i] == 0 { std::mem::take(&mut layer[*i]) } else { layer[*i].clone() }
                    };
                    *layer = order.iter().map(take).collect();
                }
            }
            Layers::Plain(layers) => {
                let mut start = 0i64;
                let starts: Vec<i64> = self
                    .lens
                    .iter()
                    .map(|n| {
                        let s = start;
                        start += *n as i64;
                        s
                    })
                    .collect();
                let rows: Vec<i64> = order.iter().flat_map(|i| starts[*i]..starts[*i] + self.lens[*i] as i64).collect();
                for pair in layers.iter_mut() {
                    *pair = match pair.take() {
                        Some(pair) if !rows.is_empty() => {
                            let index = plain::ints(rows.clone(), &pair[0].device());
                            Some(pair.map(|t| t.select(0, index.clone())))
                        }
                        _ => None,
                    };
                }
            }
        }
        self.lens = order.iter().map(|i| self.lens[*i]).collect();
    }

    /// Appends the sequences of another cache of the same decoder.
    pub fn join(&mut self, other: Self) {
        match (&mut self.layers, other.layers) {
            (Layers::Fused(a), Layers::Fused(b)) => a.iter_mut().zip(b).for_each(|(a, b)| a.extend(b)),
            (Layers::Plain(a), Layers::Plain(b)) => {
                for (a, b) in a.iter_mut().zip(b) {
                    *a = match (a.take(), b) {
                        (Some([k, v]), Some([nk, nv])) => {
                            Some([Tensor::cat(vec![k, nk], 0), Tensor::cat(vec![v, nv], 0)])
                        }
                        (a, b) => a.or(b),
                    };
                }
            }
            _ => unreachable!("caches of one decoder have one form"),
        }
        self.lens.extend(other.lens);
    }

    /// Adds `lens[i]` to the number of cached tokens of each sequence, after all layers have stored their keys and
    /// values.
    pub(crate) fn grow(&mut self, lens: &[usize]) {
        self.lens.iter_mut().zip(lens).for_each(|(n, new)| *n += new);
    }

    /// Attention in one layer: the `new[i]` new rows of each sequence attend to its cached rows and to themselves. `q`
    /// `[Σ new, query_width]`, `k` and `v` `[Σ new, kv_width]` give `[Σ new, query_width]`. The new keys and values are
    /// stored.
    pub(crate) fn attend(
        &mut self,
        layer: usize,
        q: Tensor<2>,
        k: Tensor<2>,
        v: Tensor<2>,
        new: &[usize],
    ) -> Tensor<2> {
        match &mut self.layers {
            Layers::Fused(layers) => {
                let (shape, device) = (q.dims(), q.device());
                let [q, k, v] = [q, k, v].map(values);
                let mut slots: Vec<&mut KvSlot> = layers[layer].iter_mut().collect();
                let out = kernels::attention_cached(q, k, &v, &self.specs[layer], new, &mut slots);
                Tensor::from_data(TensorData::new(out, shape), &device)
            }
            Layers::Plain(layers) => attend_plain(&mut layers[layer], [q, k, v], new, &self.lens, &self.specs[layer]),
        }
    }
}

/// Copies the elements of a tensor to the host's memory, row by row.
pub(crate) fn values(t: Tensor<2>) -> Vec<f32> {
    t.into_data_as::<f32>().try_into_vec::<f32>().unwrap_or_default()
}

/// Does what [`KvCache::attend`] does, with burn's tensor code, for devices other than the CPU. `cached` holds the keys
/// and values of one layer. Sequence `i` has `seen[i]` cached tokens and gets `new[i]` new ones.
fn attend_plain(
    cached: &mut Option<[Tensor<2>; 2]>,
    [q, k, v]: [Tensor<2>; 3],
    new: &[usize],
    seen: &[usize],
    spec: &AttentionSpec,
) -> Tensor<2> {
    let heads = spec.heads;
    let device = q.device();
    let (batch, time) = (new.len(), new.iter().copied().max().unwrap_or(0));
    let positions: Vec<usize> = new.iter().zip(seen).flat_map(|(n, s)| *s..s + n).collect();
    let rows = positions.len();
    let rotate = |x: Tensor<2>, n: usize| -> Tensor<2> {
        let Some(rope) = &spec.rope else { return x };
        let x = x.reshape([rows, 1, n, heads.dim]).swap_dims(1, 2);
        plain::rotate(x, rope, &positions, 1).swap_dims(1, 2).reshape([rows, n * heads.dim])
    };
    let (q, k) = (rotate(q, heads.query), rotate(k, heads.kv));
    // One gather per tensor puts the new rows of each sequence after its cached rows.
    let old: usize = if cached.is_some() { seen.iter().sum() } else { 0 };
    let (mut order, mut from_old, mut from_new) = (Vec::new(), 0, old);
    for (s, n) in seen.iter().zip(new) {
        order.extend((from_old..from_old + s).chain(from_new..from_new + n).map(|i| i as i64));
        from_old += s;
        from_new += n;
    }
    let index = plain::ints(order, &device);
    let merge = |old: Option<Tensor<2>>, new: Tensor<2>| match old {
        Some(old) => Tensor::cat(vec![old, new], 0).select(0, index.clone()),
        None => new,
    };
    let (ok, ov) = cached.take().map_or((None, None), |[k, v]| (Some(k), Some(v)));
    let (k, v) = (merge(ok, k), merge(ov, v));
    *cached = Some([k.clone(), v.clone()]);
    // Queries, keys and values are padded to `[batch, heads, time, dim]`; after attention the padding is removed.
    let totals: Vec<usize> = seen.iter().zip(new).map(|(s, n)| s + n).collect();
    let longest = totals.iter().copied().max().unwrap_or(0);
    let (mut pad_q, mut unpad, mut pad_k, mut mask) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let (mut q_row, mut k_row) = (0, 0);
    for i in 0..batch {
        for t in 0..time {
            pad_q.push(if t < new[i] { q_row + t as i64 } else { 0 });
            mask.extend(plain::mask(spec, seen[i] + t.min(new[i] - 1), 1, longest));
        }
        unpad.extend((0..new[i]).map(|t| (i * time + t) as i64));
        pad_k.extend((0..longest).map(|j| if j < totals[i] { k_row + j as i64 } else { 0 }));
        q_row += new[i] as i64;
        k_row += totals[i] as i64;
    }
    let group = heads.query / heads.kv;
    let spread = |x: Tensor<2>, index: Vec<i64>, t: usize, n: usize| -> Tensor<4> {
        x.select(0, plain::ints(index, &device)).reshape([batch, t, n, heads.dim]).swap_dims(1, 2)
    };
    let q = spread(q, pad_q, time, heads.query).reshape([batch, heads.kv, group * time, heads.dim]);
    let k = spread(k, pad_k.clone(), longest, heads.kv);
    let v = spread(v, pad_k, longest, heads.kv);
    let scores = q.matmul(k.swap_dims(2, 3)) * spec.scale;
    let mask: Tensor<4> = Tensor::from_data(TensorData::new(mask, [batch, 1, time, longest]), &device);
    let p = activation::softmax(scores.reshape([batch, heads.query, time, longest]) + mask, 3);
    let out = p.reshape([batch, heads.kv, group * time, longest]).matmul(v);
    let out = out.reshape([batch, heads.query, time, heads.dim]).swap_dims(1, 2);
    out.reshape([batch * time, heads.query_width()]).select(0, plain::ints(unpad, &device))
}
