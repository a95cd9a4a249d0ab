//! ROUGE (Lin, 2004), computed as by rouge-score 0.1.2 without stemming.

use std::collections::HashMap;

use super::{matching, ngrams};

/// The score of a candidate (the text that is scored) against a reference: precision, recall and F1, each from 0 to 1.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RougeScore {
    /// The share of the candidate's n-grams or tokens that occur in the reference too, from 0 to 1.
    pub precision: f64,
    /// The share of the reference's n-grams or tokens that occur in the candidate too, from 0 to 1.
    pub recall: f64,
    /// The harmonic mean of precision and recall, from 0 to 1.
    pub f1: f64,
}

impl RougeScore {
    fn new(matched: usize, candidate: usize, reference: usize) -> Self {
        let precision = matched as f64 / candidate.max(1) as f64;
        let recall = matched as f64 / reference.max(1) as f64;
        let sum = precision + recall;
        Self { precision, recall, f1: if sum > 0.0 { 2.0 * precision * recall / sum } else { 0.0 } }
    }
}

/// The tokens of a text: runs of ASCII letters and digits, in lower case.
fn tokens(text: &str) -> Vec<String> {
    let lower = text.to_lowercase();
    lower
        .split(|c: char| !(c.is_ascii_lowercase() || c.is_ascii_digit()))
        .filter(|t| !t.is_empty())
        .map(str::to_owned)
        .collect()
}

/// ROUGE-N: the score from the n-grams that candidate and reference have in common.
pub fn n(candidate: &str, reference: &str, n: usize) -> RougeScore {
    let (candidate, reference) = (tokens(candidate), tokens(reference));
    let (a, b) = (ngrams(&candidate, n.max(1)), ngrams(&reference, n.max(1)));
    RougeScore::new(matching(&a, &b), a.values().sum(), b.values().sum())
}

/// ROUGE-L: the score from the longest common subsequence of tokens.
pub fn l(candidate: &str, reference: &str) -> RougeScore {
    let (candidate, reference) = (tokens(candidate), tokens(reference));
    if candidate.is_empty() || reference.is_empty() {
        return RougeScore::default();
    }
    let mut row = vec![0usize; candidate.len() + 1];
    for r in &reference {
        let mut diagonal = 0;
        for (j, c) in candidate.iter().enumerate() {
            let above = row[j + 1];
            row[j + 1] = if r == c { diagonal + 1 } else { above.max(row[j]) };
            diagonal = above;
        }
    }
    RougeScore::new(row[candidate.len()], candidate.len(), reference.len())
}

/// ROUGE-Lsum: the score from the tokens of each line of the reference that are in a longest common subsequence with
/// some line of the candidate.
pub fn lsum(candidate: &str, reference: &str) -> RougeScore {
    let lines = |text: &str| text.split('\n').filter(|l| !l.is_empty()).map(tokens).collect::<Vec<_>>();
    let (candidate, reference) = (lines(candidate), lines(reference));
    let count = |lines: &[Vec<String>]| lines.iter().map(Vec::len).sum::<usize>();
    let mut left: [HashMap<&str, usize>; 2] = [HashMap::new(), HashMap::new()];
    for (left, lines) in left.iter_mut().zip([&candidate, &reference]) {
        for token in lines.iter().flatten() {
            *left.entry(token).or_insert(0) += 1;
        }
    }
    let mut hits = 0;
    for r in &reference {
        let mut in_union = vec![false; r.len()];
        for c in &candidate {
            for index in common_subsequence(r, c) {
                in_union[index] = true;
            }
        }
        for (token, _) in r.iter().zip(in_union).filter(|(_, is_in)| *is_in) {
            // A token cannot match more often than it occurs in the candidate or in the reference.
            let [a, b] = &mut left;
            if let (Some(a), Some(b)) = (a.get_mut(token.as_str()), b.get_mut(token.as_str()))
                && *a > 0
                && *b > 0
            {
                (*a, *b, hits) = (*a - 1, *b - 1, hits + 1);
            }
        }
    }
    RougeScore::new(hits, count(&candidate), count(&reference))
}

/// The indices in `r` of the tokens of a longest common subsequence of `r` and `c`, in descending order.
fn common_subsequence(r: &[String], c: &[String]) -> Vec<usize> {
    let width = c.len() + 1;
    let mut table = vec![0u32; (r.len() + 1) * width];
    for i in 1..=r.len() {
        for j in 1..=c.len() {
            table[i * width + j] = if r[i - 1] == c[j - 1] {
                table[(i - 1) * width + j - 1] + 1
            } else {
                table[(i - 1) * width + j].max(table[i * width + j - 1])
            };
        }
    }
    let (mut i, mut j, mut found) = (r.len(), c.len(), Vec::new());
    while i > 0 && j > 0 {
        if r[i - 1] == c[j - 1] {
            (i, j) = (i - 1, j - 1);
            found.push(i);
        } else if table[i * width + j - 1] > table[(i - 1) * width + j] {
            j -= 1;
        } else {
            i -= 1;
        }
    }
    found
}
