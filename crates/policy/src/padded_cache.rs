//! The KV cache on a GPU: keys and values of a batch in padded tensors, into which every step writes one column.

use std::sync::Arc;

use burn::tensor::{Device, Int, Tensor, TensorData, activation};

use crate::ops::{AttentionSpec, Heads, Rope, plain};

/// Columns are added in blocks of this many, so that most steps find their tensors as large as the step before.
const BLOCK: usize = 64;

/// The keys and values of a batch of sequences, in every layer. All sequences have the same columns; a column holds a token
/// of a sequence, or padding, which no query attends to. New tokens are at the end of the used columns, on the right.
#[derive(Clone, Debug)]
pub(crate) struct PaddedCache {
    /// For each layer the rotated keys and the values, `[batch, kv heads, capacity, dim]` each; `None` while empty.
    layers: Vec<Option<[Tensor<4>; 2]>>,
    /// For each sequence the position of the token in each used column; `None` is padding.
    positions: Vec<Vec<Option<usize>>>,
    /// Number of columns in use.
    used: usize,
    /// What the layers of the step that is being computed share; `None` between steps.
    step: Option<Step>,
}

/// What all layers of a step share: where its new rows are in padded tensors, and which keys they attend to.
#[derive(Clone, Debug)]
struct Step {
    /// Number of new columns: the largest number of new tokens of a sequence.
    time: usize,
    /// Number of columns that the step's tensors have.
    capacity: usize,
    /// Indices that pad the new rows to `[batch, time]`, and those that remove the padding; `None` if there is none.
    padding: Option<[Tensor<1, Int>; 2]>,
    /// For each sequence the positions of its new rows; `None` is padding.
    positions: Vec<Vec<Option<usize>>>,
    /// Tables of rotary positions that layers have used.
    rotations: Vec<Rotation>,
    /// Masks that layers have used.
    masks: Vec<Mask>,
}

/// Cosines and sines of a step's positions, `[batch, 1, time, dim / 2]` each.
#[derive(Clone, Debug)]
struct Rotation {
    rope: Arc<Rope>,
    tables: [Tensor<4>; 2],
}

/// The mask `[batch, 1, time, capacity]` of the layers with the same window.
#[derive(Clone, Debug)]
struct Mask {
    window: Option<usize>,
    causal: bool,
    values: Tensor<4>,
}

impl PaddedCache {
    pub fn new(layers: usize) -> Self {
        Self { layers: vec![None; layers], positions: Vec::new(), used: 0, step: None }
    }

    /// Adds `n` sequences without tokens to a cache that has no sequences.
    ///
    /// # Panics
    /// If the cache has sequences; fill a second cache and [`PaddedCache::join`] it instead.
    pub fn push(&mut self, n: usize) {
        assert!(self.positions.is_empty(), "push into a cache that is not empty");
        self.positions = vec![Vec::new(); n];
    }

    /// Replaces the sequences: the new sequence `i` is the old sequence `order[i]`. Columns at the left that hold no token
    /// any more are dropped.
    pub fn reorder(&mut self, order: &[usize]) {
        if order.iter().copied().eq(0..self.positions.len()) {
            return;
        }
        self.positions = order.iter().map(|i| self.positions[*i].clone()).collect();
        let first = |p: &Vec<Option<usize>>| p.iter().position(Option::is_some).unwrap_or(p.len());
        let free = self.positions.iter().map(first).min().unwrap_or(self.used) / BLOCK * BLOCK;
        self.used -= free;
        self.positions.iter_mut().for_each(|p| drop(p.drain(..free)));
        for pair in &mut self.layers {
            *pair = match pair.take() {
                Some([k, v]) if !order.is_empty() => {
                    let index = plain::ints(order.iter().map(|i| *i as i64).collect(), &k.device());
                    Some([k, v].map(|t| {
                        let columns = t.dims()[2] - free;
                        t.narrow(2, free, columns).select(0, index.clone())
                    }))
                }
                _ => None,
            };
        }
    }

    /// Appends the sequences of another cache of the same decoder. The columns of both end together.
    pub fn join(&mut self, mut other: Self) {
        let used = self.used.max(other.used);
        for cache in [&mut *self, &mut other] {
            let missing = used - cache.used;
            cache.used = used;
            cache.positions.iter_mut().for_each(|p| drop(p.splice(0..0, vec![None; missing])));
            for pair in cache.layers.iter_mut().flatten() {
                *pair = pair.clone().map(|t| resized(t, missing, used.next_multiple_of(BLOCK)));
            }
        }
        self.positions.append(&mut other.positions);
        for (pair, new) in self.layers.iter_mut().zip(other.layers) {
            *pair = match (pair.take(), new) {
                (Some([k, v]), Some([new_k, new_v])) => {
                    Some([Tensor::cat(vec![k, new_k], 0), Tensor::cat(vec![v, new_v], 0)])
                }
                (old, new) => old.or(new),
            };
        }
    }

    /// Ends a step, after all layers have stored the keys and values of its tokens.
    pub fn grow(&mut self) {
        let Some(step) = self.step.take() else { return };
        self.positions.iter_mut().zip(step.positions).for_each(|(p, new)| p.extend(new));
        self.used += step.time;
    }

    /// Does what [`crate::cache::KvCache::attend`] does. Sequence `i` has `seen[i]` cached tokens and gets `new[i]` new ones.
    pub fn attend(
        &mut self,
        layer: usize,
        [q, k, v]: [Tensor<2>; 3],
        new: &[usize],
        seen: &[usize],
        spec: &AttentionSpec,
    ) -> Tensor<2> {
        let device = q.device();
        let mut step = self.step.take().unwrap_or_else(|| self.begin(new, seen, &device));
        let Heads { query, kv, dim } = spec.heads;
        let (batch, time) = (new.len(), step.time);
        let spread = |x: Tensor<2>, heads: usize| -> Tensor<4> {
            let x = match &step.padding {
                Some([pad, _]) => x.select(0, pad.clone()),
                None => x,
            };
            x.reshape([batch, time, heads, dim]).swap_dims(1, 2)
        };
        let (mut q, mut k, v) = (spread(q, query), spread(k, kv), spread(v, kv));
        if let Some(rope) = &spec.rope {
            let tables = step.rotation(rope, &device);
            (q, k) = (plain::rotate_by(q, tables.clone()), plain::rotate_by(k, tables));
        }
        let [keys, values] = match self.layers[layer].take() {
            Some(pair) => pair.map(|t| resized(t, 0, step.capacity)),
            None => [(); 2].map(|()| Tensor::zeros([batch, kv, step.capacity, dim], &device)),
        };
        let columns = [0..batch, 0..kv, self.used..self.used + time, 0..dim];
        let (keys, values) = (keys.slice_assign(columns.clone(), k), values.slice_assign(columns, v));
        self.layers[layer] = Some([keys.clone(), values.clone()]);
        // The query heads that share keys and values are stacked as rows, so that keys and values are not copied for each.
        let (rows, capacity) = (query / kv * time, step.capacity);
        let scores = q.reshape([batch, kv, rows, dim]).matmul(keys.swap_dims(2, 3)) * spec.scale;
        let mask = step.mask(&self.positions, spec, &device);
        let p = activation::softmax(scores.reshape([batch, query, time, capacity]) + mask, 3);
        let out = p.reshape([batch, kv, rows, capacity]).matmul(values);
        let out = out.reshape([batch, query, time, dim]).swap_dims(1, 2).reshape([batch * time, query * dim]);
        let out = match &step.padding {
            Some([_, unpad]) => out.select(0, unpad.clone()),
            None => out,
        };
        self.step = Some(step);
        out
    }

    /// Begins a step in which sequence `i` has `seen[i]` tokens and gets `new[i]` more. They are the last of its new columns.
    fn begin(&self, new: &[usize], seen: &[usize], device: &Device) -> Step {
        let time = new.iter().copied().max().unwrap_or(0);
        let row = |(n, s): (&usize, &usize)| [vec![None; time - n], (*s..s + n).map(Some).collect()].concat();
        let positions: Vec<Vec<Option<usize>>> = new.iter().zip(seen).map(row).collect();
        let padding = new.iter().any(|n| *n != time).then(|| {
            let (mut pad, mut unpad, mut rows) = (Vec::new(), Vec::new(), 0);
            for (at, position) in positions.iter().flatten().enumerate() {
                pad.push(if position.is_some() { rows } else { 0 });
                if position.is_some() {
                    unpad.push(at as i64);
                    rows += 1;
                }
            }
            [plain::ints(pad, device), plain::ints(unpad, device)]
        });
        let capacity = (self.used + time).next_multiple_of(BLOCK);
        Step { time, capacity, padding, positions, rotations: Vec::new(), masks: Vec::new() }
    }
}

impl Step {
    fn rotation(&mut self, rope: &Arc<Rope>, device: &Device) -> [Tensor<4>; 2] {
        if let Some(known) = self.rotations.iter().find(|known| Arc::ptr_eq(&known.rope, rope)) {
            return known.tables.clone();
        }
        let positions: Vec<usize> = self.positions.iter().flatten().map(|p| p.unwrap_or(0)).collect();
        let tables = plain::rotations(rope, &positions, self.time, device);
        self.rotations.push(Rotation { rope: rope.clone(), tables: tables.clone() });
        tables
    }

    /// The mask that is added to the scores of the step's queries: 0 where a query attends to a key, and −1e30 elsewhere. A
    /// query of padding attends to its own column alone, so that its softmax is finite.
    fn mask(&mut self, cached: &[Vec<Option<usize>>], spec: &AttentionSpec, device: &Device) -> Tensor<4> {
        let is_same = |known: &&Mask| known.window == spec.window && known.causal == spec.causal;
        if let Some(known) = self.masks.iter().find(is_same) {
            return known.values.clone();
        }
        let mut values = Vec::with_capacity(cached.len() * self.time * self.capacity);
        for (old, new) in cached.iter().zip(&self.positions) {
            let keys: Vec<Option<usize>> = old.iter().chain(new).copied().collect();
            let total = keys.iter().flatten().count();
            for (row, query) in new.iter().enumerate() {
                let attended = query.map(|position| spec.range(position, total));
                let attends = |(column, key): (usize, &Option<usize>)| match (attended, key) {
                    (Some((from, to)), Some(key)) => (from..to).contains(key),
                    (Some(_), None) => false,
                    (None, _) => column == old.len() + row,
                };
                values.extend(keys.iter().enumerate().map(|key| if attends(key) { 0.0 } else { -1e30_f32 }));
                values.resize(values.len() + self.capacity - keys.len(), -1e30);
            }
        }
        let shape = [cached.len(), 1, self.time, self.capacity];
        let values: Tensor<4> = Tensor::from_data(TensorData::new(values, shape), device);
        self.masks.push(Mask { window: spec.window, causal: spec.causal, values: values.clone() });
        values
    }
}

/// Gives a tensor `[batch, heads, columns, dim]` a number of empty columns at the left and as many at the right as are needed
/// for `capacity` columns; columns beyond it, which must be empty, are cut off.
fn resized(t: Tensor<4>, left: usize, capacity: usize) -> Tensor<4> {
    let [batch, heads, columns, dim] = t.dims();
    if left == 0 && columns == capacity {
        return t;
    }
    let kept = columns.min(capacity - left);
    let zeros = |columns: usize| Tensor::zeros([batch, heads, columns, dim], &t.device());
    let (before, after) = (zeros(left), zeros(capacity - left - kept));
    Tensor::cat(vec![before, t.narrow(2, 0, kept), after], 2)
}
