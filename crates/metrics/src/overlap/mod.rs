//! Published metrics of the overlap of a text with references, to the digit of their reference implementations.

pub mod bleu;
pub mod chrf;
pub mod rouge;
pub mod ter;
mod tokenize;

use std::collections::HashMap;
use std::hash::Hash;

pub use tokenize::BleuTokenizer;

/// The counts of all n-grams of `n` items.
fn ngrams<T: Eq + Hash>(items: &[T], n: usize) -> HashMap<&[T], usize> {
    let mut counts = HashMap::new();
    for gram in items.windows(n) {
        *counts.entry(gram).or_insert(0) += 1;
    }
    counts
}

/// The number of n-grams in both, each counted at most as often as in the one with fewer of it (clipped counts).
fn matching<K: Eq + Hash>(a: &HashMap<K, usize>, b: &HashMap<K, usize>) -> usize {
    a.iter().map(|(gram, n)| (*n).min(b.get(gram).copied().unwrap_or(0))).sum()
}
