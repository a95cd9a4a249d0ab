//! DeBERTa's disentangled attention (He et al., 2021) over packed sequences, without a backward pass.

use rayon::prelude::*;

use super::attention::{masked_softmax, offsets, split};
use super::{AttentionSpec, Heads, View, matmul};

/// The inputs of DeBERTa's disentangled attention, whose scores also depend on the distance of query and key.
pub struct DisentangledAttention<'a> {
    /// Queries, keys and values, `[n, heads · dim]` each.
    pub content: [&'a [f32]; 3],
    /// The table of relative positions, projected to keys and to queries, `[rows, heads · dim]` each; `None` for a
    /// score that the model does not have.
    pub positions: [Option<&'a [f32]>; 2],
    /// The table's row for every distance from `−(longest − 1)` to `longest − 1`. The first list is for keys at that
    /// distance before a query, the second for queries at that distance before a key.
    pub rows: [&'a [usize]; 2],
}

impl DisentangledAttention<'_> {
    /// Computes attention over packed sequences of `lens[i]` rows each: `[n, heads · dim]`.
    pub fn attend(&self, heads: Heads, scale: f32, lens: &[usize]) -> Vec<f32> {
        let (width, dim) = (heads.query_width(), heads.dim);
        let longest = lens.iter().copied().max().unwrap_or(0);
        let spec = AttentionSpec { heads, rope: None, causal: false, window: None, scale };
        let mut out = vec![0f32; self.content[0].len()];
        let starts = offsets(lens);
        split(&mut out, lens, width).into_par_iter().zip(lens.par_iter().zip(&starts)).for_each(
            |(out, (&t, &start))| {
                let [q, k, v] = self.content.map(|x| &x[start * width..(start + t) * width]);
                let mut scores = vec![0f32; t * t];
                // Only these rows of a table belong to distances that occur within this sequence.
                let reached = self.rows.map(|rows| {
                    let rows = &rows[longest - t..longest + t - 1];
                    let first = rows.iter().copied().min().unwrap_or(0);
                    (rows, first, rows.iter().copied().max().unwrap_or(0) + 1 - first)
                });
                let mut along = vec![0f32; t * reached[0].2.max(reached[1].2)];
                for h in 0..heads.query {
                    let at = h * dim;
                    matmul(
                        [t, dim, t],
                        View::rows(&q[at..], width),
                        View::rows(&k[at..], width).t(),
                        &mut scores,
                        t,
                        false,
                        false,
                    );
                    for (side, (table, (rows, first, count))) in self.positions.iter().zip(&reached).enumerate() {
                        let Some(table) = table else { continue };
                        let x = [q, k][side];
                        let table = View::rows(&table[first * width + at..], width).t();
                        matmul([t, dim, *count], View::rows(&x[at..], width), table, &mut along, *count, false, false);
                        for (i, along) in along.chunks_exact(*count).enumerate().take(t) {
                            for (j, row) in rows[i..i + t].iter().rev().enumerate() {
                                let cell = if side == 0 { i * t + j } else { j * t + i };
                                scores[cell] += along[row - first];
                            }
                        }
                    }
                    masked_softmax(&mut scores, t, 0, &spec);
                    matmul(
                        [t, t, dim],
                        View::rows(&scores, t),
                        View::rows(&v[at..], width),
                        &mut out[at..],
                        width,
                        false,
                        false,
                    );
                }
            },
        );
        out
    }
}
