//! BLEU (Papineni et al., 2002), computed as by sacrebleu 2.6: with 1- to 4-grams and exponential smoothing.

use super::{BleuTokenizer, matching, ngrams};

/// Maximum length of the n-grams, in tokens.
const ORDER: usize = 4;

/// The counts from which BLEU is computed. The counts of a corpus are the sums of the counts of its candidates (the
/// texts that are scored).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BleuStatistics {
    /// Number of tokens in the candidate, or in all candidates of a corpus.
    candidate_length: usize,
    /// Number of tokens in the reference whose length is closest to that of the candidate; for a corpus, the sum over
    /// the candidates.
    reference_length: usize,
    /// Number of n-grams of the candidate that also occur in a reference (clipped counts), at index n − 1.
    matched: [usize; ORDER],
    /// Number of all n-grams of the candidate, at index n − 1.
    total: [usize; ORDER],
}

impl BleuStatistics {
    /// Counts the n-grams of one candidate and their matches in its references.
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

    /// BLEU, from 0 to 100. With `effective_order`, which is used for single sentences, the n-grams that are longer
    /// than the candidate are ignored.
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
                // Without any n-grams, precision is 0; in place of its logarithm sacrebleu uses −9999999999.
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

/// BLEU of one sentence, from 0 to 100. n-grams that are longer than the sentence are ignored.
pub fn sentence(candidate: &str, references: &[&str], tokenizer: BleuTokenizer) -> f64 {
    BleuStatistics::new(candidate, references, tokenizer).bleu(true)
}

/// BLEU of a corpus, from 0 to 100. `pairs` are the candidates, each with its references.
pub fn corpus<'a>(pairs: impl IntoIterator<Item = (&'a str, Vec<&'a str>)>, tokenizer: BleuTokenizer) -> f64 {
    let mut sum = BleuStatistics::default();
    for (candidate, references) in pairs {
        sum += BleuStatistics::new(candidate, &references, tokenizer);
    }
    sum.bleu(false)
}
