//! Published metrics of how much a text overlaps with reference texts. Results are equal, to the last digit, to those
//! of the reference implementations.

pub mod bleu;
pub mod chrf;
pub mod rouge;
pub mod ter;
mod tokenize;

use std::collections::HashMap;
use std::hash::Hash;

pub use tokenize::BleuTokenizer;

/// How often each n-gram (`n` neighbouring items) occurs in `items`.
fn ngrams<T: Eq + Hash>(items: &[T], n: usize) -> HashMap<&[T], usize> {
    let mut counts = HashMap::new();
    for gram in items.windows(n) {
        *counts.entry(gram).or_insert(0) += 1;
    }
    counts
}

/// The number of n-grams that two texts have in common. An n-gram that occurs several times counts as often as it
/// occurs in both (clipped counts).
fn matching<K: Eq + Hash>(a: &HashMap<K, usize>, b: &HashMap<K, usize>) -> usize {
    a.iter().map(|(gram, n)| (*n).min(b.get(gram).copied().unwrap_or(0))).sum()
}
