//! The operations as tensor code of burn: for GPUs, and as the reference with which tests compare the fused kernels.

use burn::tensor::{DType, Device, Int, Tensor, TensorData, activation};

use super::{Activation, AttentionPlan, AttentionSpec, Rope, Tree};

pub fn linear(x: Tensor<2>, w: Tensor<2>) -> Tensor<2> {
    x.matmul(w.transpose())
}

pub fn half_linear(x: Tensor<2>, w: Tensor<2>) -> Tensor<2> {
    linear(x.cast(DType::BF16), w.cast(DType::BF16)).cast(DType::F32)
}

pub fn rms_norm(x: Tensor<2>, w: Tensor<2>, eps: f32) -> Tensor<2> {
    let scale = (x.clone().square().mean_dim(1) + eps).sqrt().recip();
    x * scale * w
}

pub fn layer_norm(x: Tensor<2>, w: Tensor<2>, b: Tensor<2>, eps: f32) -> Tensor<2> {
    let x = x.clone() - x.mean_dim(1);
    let scale = (x.clone().square().mean_dim(1) + eps).sqrt().recip();
    x * scale * w + b
}

pub fn activate(x: Tensor<2>, activation: Activation) -> Tensor<2> {
    match activation {
        Activation::Silu => activation::silu(x),
        Activation::Gelu => activation::gelu(x),
        Activation::GeluTanh => {
            let inner = (x.clone() + x.clone().powi_scalar(3) * 0.044_715) * 0.797_884_6;
            x * (inner.tanh() + 1.0) * 0.5
        }
        Activation::Relu => activation::relu(x),
        Activation::Tanh => x.tanh(),
    }
}

/// Two lists of row indices: those that pad packed rows to `[batch, longest]` (padding repeats row 0), and those that
/// remove the padding again.
pub fn padding(lens: &[usize], longest: usize, device: &Device) -> (Tensor<1, Int>, Tensor<1, Int>) {
    let (mut pad, mut unpad, mut row) = (Vec::new(), Vec::new(), 0i64);
    for (i, &len) in lens.iter().enumerate() {
        for t in 0..longest {
            pad.push(if t < len { row + t as i64 } else { 0 });
        }
        unpad.extend((0..len).map(|t| (i * longest + t) as i64));
        row += len as i64;
    }
    (ints(pad, device), ints(unpad, device))
}

pub fn ints(values: Vec<i64>, device: &Device) -> Tensor<1, Int> {
    let n = values.len();
    Tensor::from_data(TensorData::new(values, [n]), device)
}

/// Applies rotary position embedding to `x` `[batch, heads, time, dim]`, whose tokens have the positions
/// `[batch, time]`.
pub fn rotate(x: Tensor<4>, rope: &Rope, positions: &[usize], time: usize) -> Tensor<4> {
    let tables = rotations(rope, positions, time, &x.device().without_autodiff());
    rotate_by(x, tables)
}

/// The cosines and sines of the positions `[batch, time]`: `[batch, 1, time, dim / 2]` each.
pub fn rotations(rope: &Rope, positions: &[usize], time: usize, device: &Device) -> [Tensor<4>; 2] {
    [false, true].map(|sine| {
        let row = |p: &usize| if sine { rope.at(*p).1 } else { rope.at(*p).0 };
        let rows: Vec<f32> = positions.iter().flat_map(row).copied().collect();
        let half = rows.len() / positions.len().max(1);
        Tensor::from_data(TensorData::new(rows, [positions.len() / time.max(1), 1, time, half]), device)
    })
}

/// Applies rotary position embedding to `x` `[batch, heads, time, dim]` with cosines and sines, as [`rotations`] returns
/// them.
pub fn rotate_by(x: Tensor<4>, [cos, sin]: [Tensor<4>; 2]) -> Tensor<4> {
    let half = x.dims()[3] / 2;
    let (a, b) = (x.clone().narrow(3, 0, half), x.narrow(3, half, half));
    Tensor::cat(vec![a.clone() * cos.clone() - b.clone() * sin.clone(), b * cos + a * sin], 3)
}

/// The mask `[time, total]` that is added to attention scores, for `time` queries at the positions from `start` on: 0
/// where a query attends to a key, and −1e30 elsewhere.
pub fn mask(spec: &AttentionSpec, start: usize, time: usize, total: usize) -> Vec<f32> {
    let row = |t: usize| {
        let (from, to) = spec.range(start + t, total);
        (0..total).map(move |j| if (from..to).contains(&j) { 0.0 } else { -1e30 })
    };
    (0..time).flat_map(row).collect()
}

/// Position within its sequence of each row (token) of a tree, that is of sequences with a shared prefix; padded with
/// zeros to `time` rows.
fn positions(tree: &Tree, time: usize) -> Vec<usize> {
    let mut positions: Vec<usize> = tree.parts().flat_map(|p| p.seen..p.seen + p.rows).collect();
    positions.resize(time, 0);
    positions
}

/// The mask `[time, time]` that is added to the attention scores of a tree (sequences with a shared prefix), whose rows
/// are padded to `time`: 0 where a query attends to a key, and −1e30 elsewhere.
fn tree_mask(spec: &AttentionSpec, tree: &Tree, time: usize) -> Vec<f32> {
    let mut mask = vec![-1e30; time * time];
    for part in tree.parts() {
        for row in 0..part.rows {
            let (from, to) = spec.range(part.seen + row, part.seen + part.rows);
            for position in from..to {
                let column = if position < part.seen { position } else { part.start + position - part.seen };
                mask[(part.start + row) * time + column] = 0.0;
            }
        }
    }
    // A padded query attends to one key, so that its softmax is finite.
    for row in tree.rows()..time {
        mask[row * time] = 0.0;
    }
    mask
}

pub fn attention(q: Tensor<2>, k: Tensor<2>, v: Tensor<2>, plan: &AttentionPlan) -> Tensor<2> {
    let (spec, heads) = (&plan.spec, plan.spec.heads);
    let (trees, lens) = (plan.packing.trees(), plan.packing.lens());
    let (batch, time) = (lens.len(), lens.iter().copied().max().unwrap_or(0));
    let device = q.device().without_autodiff();
    let (pad, unpad) = padding(&lens, time, &device);
    let spread = |x: Tensor<2>, n: usize| -> Tensor<4> {
        x.select(0, pad.clone()).reshape([batch, time, n, heads.dim]).swap_dims(1, 2)
    };
    let shared = trees.iter().any(|t| !t.branches.is_empty());
    let positions: Vec<usize> = if shared {
        trees.iter().flat_map(|t| positions(t, time)).collect()
    } else {
        (0..batch).flat_map(|_| 0..time).collect()
    };
    let rotated = |x: Tensor<4>| match &spec.rope {
        Some(rope) => rotate(x, rope, &positions, time),
        None => x,
    };
    let (q, k, v) = (rotated(spread(q, heads.query)), rotated(spread(k, heads.kv)), spread(v, heads.kv));
    let group = heads.query / heads.kv;
    // The query heads that share keys and values are stacked as rows, so that keys and values are not copied for each.
    let q = q.reshape([batch, heads.kv, group * time, heads.dim]);
    let scores = q.matmul(k.swap_dims(2, 3)) * spec.scale;
    let masks: Vec<f32> = if shared {
        trees.iter().flat_map(|t| tree_mask(spec, t, time)).collect()
    } else if spec.causal {
        mask(spec, 0, time, time)
    } else {
        // Padding follows a sequence, so that a causal mask hides it. Attention in both directions needs a mask for it.
        lens.iter().flat_map(|len| (0..time * time).map(|i| if i % time < *len { 0.0 } else { -1e30 })).collect()
    };
    let shape = [masks.len() / (time * time).max(1), 1, time, time];
    let mask: Tensor<4> = Tensor::from_data(TensorData::new(masks, shape), &device);
    let scores = scores.reshape([batch, heads.query, time, time]) + mask;
    let p = activation::softmax(scores, 3).reshape([batch, heads.kv, group * time, time]);
    let out = p.matmul(v).reshape([batch, heads.query, time, heads.dim]).swap_dims(1, 2);
    out.reshape([batch * time, heads.query_width()]).select(0, unpad)
}

pub fn token_log_probs(h: Tensor<2>, e: Tensor<2>, targets: &[u32]) -> Tensor<2> {
    let device = h.device().without_autodiff();
    let log_p = activation::log_softmax(linear(h, e), 1);
    let y = ints(targets.iter().map(|t| i64::from(*t)).collect(), &device).reshape([targets.len(), 1]);
    let entropy = (log_p.clone().exp() * log_p.clone()).sum_dim(1).neg();
    Tensor::cat(vec![log_p.gather(1, y), entropy], 1)
}
