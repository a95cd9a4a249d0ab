//! BLEU (Papineni et al., 2002) as sacrebleu 2.6 computes it: 1- to 4-grams, exponential smoothing.

use super::{BleuTokenizer, matching, ngrams};

/// The longest n-grams.
const ORDER: usize = 4;

/// The counts from which BLEU is computed; those of a corpus are the sums over its candidates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BleuStatistics {
    /// Tokens of the candidates.
    candidate_length: usize,
    /// Tokens of the references, for each candidate the one closest in length.
    reference_length: usize,
    /// n-grams of the candidates that also occur in a reference, at index n − 1.
    matched: [usize; ORDER],
    /// All n-grams of the candidates, at index n − 1.
    total: [usize; ORDER],
}

impl BleuStatistics {
    /// The counts of one candidate.
    pub fn new(candidate: &str, references: &[&str], tokenizer: BleuTokenizer) -> Self {
        let candidate = tokenizer.tokens(candidate);
        let references: Vec<Vec<String>> = references.iter().map(|r| tokenizer.tokens(r)).collect();
        let distance = |n: usize| n.abs_diff(candidate.len());
        let closest = references.iter().map(Vec::len).min_by_key(|n| (distance(*n), *n)).unwrap_or(0);
        let mut counts = Self { candidate_length: candidate.len(), reference_length: closest, ..Self::default() };
        for n in 1..=ORDER {
            let candidate_grams = ngrams(&candidate, n);
            let mut reference_grams = ngrams(references.first().map_or(&[][..], Vec::as_slice), n);
            for further in references.iter().skip(1) {
                for (gram, count) in ngrams(further, n) {
                    let known = reference_grams.entry(gram).or_insert(0);
                    *known = count.max(*known);
                }
            }
            counts.matched[n - 1] = matching(&candidate_grams, &reference_grams);
            counts.total[n - 1] = candidate_grams.values().sum();
        }
        counts
    }

    /// BLEU, from 0 to 100. With `effective_order`, as for single sentences, n-grams longer than the candidate do not
    /// count.
    pub fn bleu(self, effective_order: bool) -> f64 {
        if self.matched.iter().all(|m| *m == 0) {
            return 0.0;
        }
        let (candidate, reference) = (self.candidate_length as f64, self.reference_length as f64);
        let brevity_penalty = if candidate < reference { (1.0 - reference / candidate).exp() } else { 1.0 };
        let (mut order, mut halvings, mut logs) = (ORDER, 1.0, 0.0);
        for n in 0..ORDER {
            let total = self.total[n] as f64;
            if self.total[n] == 0 {
                // Without n-grams the precision is 0, whose logarithm sacrebleu replaces by −9999999999.
                logs += if effective_order { 0.0 } else { -9_999_999_999.0 * (ORDER - n) as f64 };
                break;
            }
            if effective_order {
                order = n + 1;
            }
            let precision = if self.matched[n] == 0 {
                halvings *= 2.0;
                100.0 / (halvings * total)
            } else {
                100.0 * self.matched[n] as f64 / total
            };
            logs += precision.ln();
        }
        brevity_penalty * (logs / order as f64).exp()
    }
}

impl std::ops::AddAssign for BleuStatistics {
    fn add_assign(&mut self, other: Self) {
        let add = |sum: &mut [usize], other: &[usize]| sum.iter_mut().zip(other).for_each(|(s, x)| *s += x);
        self.candidate_length += other.candidate_length;
        self.reference_length += other.reference_length;
        add(&mut self.matched, &other.matched);
        add(&mut self.total, &other.total);
    }
}

/// BLEU of one sentence, from 0 to 100, with effective order.
pub fn sentence(candidate: &str, references: &[&str], tokenizer: BleuTokenizer) -> f64 {
    BleuStatistics::new(candidate, references, tokenizer).bleu(true)
}

/// BLEU of a corpus, from 0 to 100. `pairs` are the candidates with their references.
pub fn corpus<'a>(pairs: impl IntoIterator<Item = (&'a str, Vec<&'a str>)>, tokenizer: BleuTokenizer) -> f64 {
    let mut sum = BleuStatistics::default();
    for (candidate, references) in pairs {
        sum += BleuStatistics::new(candidate, &references, tokenizer);
    }
    sum.bleu(false)
}
