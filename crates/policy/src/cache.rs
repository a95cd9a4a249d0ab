//! The KV cache: keys and values of the sequences that are being generated.

use std::sync::Arc;

use burn::tensor::{Tensor, TensorData};

use crate::ops::kernels::{self, KvSlot};
use crate::ops::{AttentionSpec, Ops};
use crate::padded_cache::PaddedCache;

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
    /// The cache on other devices.
    Padded(Box<PaddedCache>),
}

impl KvCache {
    pub(crate) fn new(ops: Ops, specs: Vec<Arc<AttentionSpec>>) -> Self {
        let layers = match ops {
            Ops::Fused(_) => Layers::Fused(vec![Vec::new(); specs.len()]),
            Ops::Plain | Ops::Half => Layers::Padded(Box::new(PaddedCache::new(specs.len()))),
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
            Layers::Padded(padded) => padded.push(n),
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
            Layers::Padded(padded) => padded.reorder(order),
        }
        self.lens = order.iter().map(|i| self.lens[*i]).collect();
    }

    /// A cache whose only sequence is the first `tokens` tokens of a sequence of this cache; `None` on devices other than the
    /// CPU.
    pub(crate) fn prefix(&self, sequence: usize, tokens: usize) -> Option<Self> {
        let Layers::Fused(layers) = &self.layers else { return None };
        let prefix = |(layer, spec): (&Vec<KvSlot>, &Arc<AttentionSpec>)| {
            vec![layer[sequence].prefix(tokens, spec.heads.kv_width())]
        };
        let layers = Layers::Fused(layers.iter().zip(&self.specs).map(prefix).collect());
        Some(Self { specs: self.specs.clone(), lens: vec![tokens], layers })
    }

    /// Takes out the sequences from `at` on, as a cache of their own; `None` on devices other than the CPU.
    pub(crate) fn split_off(&mut self, at: usize) -> Option<Self> {
        let Layers::Fused(layers) = &mut self.layers else { return None };
        let layers = Layers::Fused(layers.iter_mut().map(|layer| layer.split_off(at)).collect());
        Some(Self { specs: self.specs.clone(), lens: self.lens.split_off(at), layers })
    }

    /// Appends the sequences of another cache of the same decoder.
    pub fn join(&mut self, other: Self) {
        match (&mut self.layers, other.layers) {
            (Layers::Fused(a), Layers::Fused(b)) => a.iter_mut().zip(b).for_each(|(a, b)| a.extend(b)),
            (Layers::Padded(a), Layers::Padded(b)) => a.join(*b),
            _ => unreachable!("caches of one decoder have one form"),
        }
        self.lens.extend(other.lens);
    }

    /// Adds `lens[i]` to the number of cached tokens of each sequence, after all layers have stored their keys and
    /// values.
    pub(crate) fn grow(&mut self, lens: &[usize]) {
        if let Layers::Padded(padded) = &mut self.layers {
            padded.grow();
        }
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
            Layers::Padded(padded) => padded.attend(layer, [q, k, v], new, &self.lens, &self.specs[layer]),
        }
    }
}

/// Copies the elements of a tensor to the host's memory, row by row.
pub(crate) fn values(t: Tensor<2>) -> Vec<f32> {
    t.into_data_as::<f32>().try_into_vec::<f32>().unwrap_or_default()
}
