//! Log-probs and entropies of tokens from hidden states. Only the logits of a chunk of rows are in memory at a time.

use rayon::prelude::*;
use rlar_quant::QuantisedMatrix;

use super::quantised::{product_or_nan, transposed_or_nan};
use super::{View, exp, matmul, matmul_bf16, max, sum};

/// The matrix `[vocab, d]` of an output head, from which logits are computed.
#[derive(Clone, Copy, Debug)]
pub enum HeadMatrix<'a> {
    /// A matrix in `f32`, row by row.
    Dense(&'a [f32]),
    /// A matrix in `f32`, row by row, for products in bfloat16.
    Bf16(&'a [f32]),
    /// A frozen matrix in quantised blocks.
    Quantised(&'a QuantisedMatrix),
}

impl HeadMatrix<'_> {
    /// Number of rows: the size of the vocabulary.
    fn vocab(self, d: usize) -> usize {
        match self {
            Self::Dense(e) | Self::Bf16(e) => e.len() / d,
            Self::Quantised(e) => e.rows(),
        }
    }

    /// Computes logits `z` `[n, vocab]` from hidden states `h` `[n, d]`.
    fn logits(self, h: &[f32], d: usize, z: &mut [f32]) {
        match self {
            Self::Dense(e) => {
                let vocab = e.len() / d;
                matmul([h.len() / d, d, vocab], View::rows(h, d), View::rows(e, d).t(), z, vocab, false, true);
            }
            Self::Bf16(e) => {
                let vocab = e.len() / d;
                matmul_bf16([h.len() / d, d, vocab], View::rows(h, d), View::rows(e, d).t(), z, vocab, false);
            }
            Self::Quantised(e) => product_or_nan(h, e, z),
        }
    }

    /// Computes the gradient `dh` `[n, d]` with respect to hidden states from that with respect to logits, `dz`
    /// `[n, vocab]`.
    fn hidden_gradient(self, dz: &[f32], d: usize, dh: &mut [f32]) {
        match self {
            Self::Dense(e) => {
                let (n, vocab) = (dh.len() / d, e.len() / d);
                matmul([n, vocab, d], View::rows(dz, vocab), View::rows(e, d), dh, d, false, true);
            }
            Self::Bf16(e) => {
                let (n, vocab) = (dh.len() / d, e.len() / d);
                matmul_bf16([n, vocab, d], View::rows(dz, vocab), View::rows(e, d), dh, d, false);
            }
            Self::Quantised(e) => transposed_or_nan(dz, e, dh),
        }
    }

    /// Adds the gradient with respect to the matrix to `de` `[vocab, d]`, given that with respect to logits, `dz`
    /// `[n, vocab]`. A matrix in quantised blocks is frozen.
    fn add_gradient(self, dz: &[f32], h: &[f32], d: usize, de: &mut [f32]) {
        let (n, vocab) = (h.len() / d, self.vocab(d));
        let (dz, h) = (View::rows(dz, vocab).t(), View::rows(h, d));
        match self {
            Self::Dense(_) => matmul([vocab, n, d], dz, h, de, d, true, true),
            Self::Bf16(_) => matmul_bf16([vocab, n, d], dz, h, de, d, true),
            Self::Quantised(_) => {}
        }
    }
}

/// Statistics of the softmax of one row of logits, for one target token.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct TokenStats {
    /// Log-prob of the target token.
    pub log_prob: f32,
    /// Entropy of the softmax, in nats.
    pub entropy: f32,
    /// Logarithm of the sum of the logits' exponentials, which the backward pass reads.
    pub log_sum_exp: f32,
}

simd!(
/// Computes the statistics of each row of logits `z` `[n, vocab]`, and overwrites `z`.
log_prob_rows(z: &mut [f32], vocab: usize, targets: &[u32], out: &mut [TokenStats]) {
    for ((row, &target), out) in z.chunks_exact_mut(vocab).zip(targets).zip(out) {
        let m = max(row);
        let chosen = row[target as usize] - m;
        for x in row.iter_mut() {
            *x -= m;
        }
        let total = sum(vocab, |i| exp(row[i]));
        let mean = sum(vocab, |i| exp(row[i]) * row[i]) / total;
        let log_total = total.ln();
        *out = TokenStats { log_prob: chosen - log_total, entropy: log_total - mean, log_sum_exp: m + log_total };
    }
});

simd!(
/// Turns each row of logits `z` `[n, vocab]` into the gradient of `g[0] · log-prob + g[1] · entropy` with respect to
/// this row.
log_prob_backward_rows(z: &mut [f32], vocab: usize, targets: &[u32], saved: &[TokenStats], g: &[f32]) {
    for (((row, &target), saved), g) in z.chunks_exact_mut(vocab).zip(targets).zip(saved).zip(g.chunks_exact(2)) {
        let TokenStats { entropy, log_sum_exp, .. } = *saved;
        for x in row.iter_mut() {
            let log_p = *x - log_sum_exp;
            let p = exp(log_p);
            *x = -p * (g[0] + g[1] * (log_p + entropy));
        }
        row[target as usize] += g[0];
    }
});

/// Number of rows of logits per chunk: as many as fit into 32 MiB, but at least 16.
fn logit_rows(vocab: usize) -> usize {
    ((8 << 20) / vocab).max(16)
}

/// Computes for each row of `h` `[n, d]` the log-prob of its target and the entropy, both under the softmax of `h · eᵀ`
/// for `e` `[vocab, d]`.
pub fn token_log_probs(h: &[f32], e: HeadMatrix, d: usize, targets: &[u32]) -> Vec<TokenStats> {
    let vocab = e.vocab(d);
    let mut out = vec![TokenStats::default(); targets.len()];
    let chunk = logit_rows(vocab);
    let mut z = vec![0f32; chunk.min(targets.len()) * vocab];
    for ((h, y), out) in h.chunks(chunk * d).zip(targets.chunks(chunk)).zip(out.chunks_mut(chunk)) {
        let z = &mut z[..y.len() * vocab];
        e.logits(h, d, z);
        z.par_chunks_mut(vocab * 8)
            .zip(y.par_chunks(8))
            .zip(out.par_chunks_mut(8))
            .for_each(|((z, y), out)| log_prob_rows(z, vocab, y, out));
    }
    out
}

/// Gradients of [`token_log_probs`] with respect to `h` and `e`, where `g` `[n, 2]` holds the gradients with respect to
/// log-prob and entropy. The gradient with respect to a head in quantised blocks, which is frozen, is empty.
pub fn token_log_probs_backward(
    h: &[f32],
    e: HeadMatrix,
    d: usize,
    targets: &[u32],
    saved: &[TokenStats],
    g: &[f32],
) -> (Vec<f32>, Vec<f32>) {
    let vocab = e.vocab(d);
    let trained = !matches!(e, HeadMatrix::Quantised(_));
    let (mut dh, mut de) = (vec![0f32; h.len()], vec![0f32; if trained { vocab * d } else { 0 }]);
    let chunk = logit_rows(vocab);
    let mut z = vec![0f32; chunk.min(targets.len()) * vocab];
    let rows = h.chunks(chunk * d).zip(dh.chunks_mut(chunk * d));
    let rows = rows.zip(targets.chunks(chunk)).zip(saved.chunks(chunk)).zip(g.chunks(chunk * 2));
    for ((((h, dh), y), saved), g) in rows {
        let z = &mut z[..y.len() * vocab];
        e.logits(h, d, z);
        z.par_chunks_mut(vocab * 8)
            .zip(y.par_chunks(8))
            .zip(saved.par_chunks(8))
            .zip(g.par_chunks(16))
            .for_each(|(((z, y), saved), g)| log_prob_backward_rows(z, vocab, y, saved, g));
        e.hidden_gradient(z, d, dh);
        e.add_gradient(z, h, d, &mut de);
    }
    (dh, de)
}
