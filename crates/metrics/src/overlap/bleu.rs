//! BLEU (Papineni et al., 2002) as sacrebleu 2.6 computes it: up to 4-grams, exponential smoothing.

use super::{Tokenizer, ngrams, shared};

const ORDER: usize = 4;

/// Sums of what BLEU is a function of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Tokens of the candidates, and of the references closest to them in length.
    lengths: [usize; 2],
    /// n-grams that a reference has, too, by n − 1.
    matched: [usize; ORDER],
    /// n-grams of the candidates.
    total: [usize; ORDER],
}

impl Statistics {
    /// Those of one candidate.
    pub fn of(candidate: &str, references: &[&str], tokenizer: Tokenizer) -> Self {
        let candidate = tokenizer.tokens(candidate);
        let references: Vec<Vec<String>> = references.iter().map(|r| tokenizer.tokens(r)).collect();
        let distance = |n: usize| n.abs_diff(candidate.len());
        let closest = references.iter().map(Vec::len).min_by_key(|n| (distance(*n), *n)).unwrap_or(0);
        let mut s = Self { lengths: [candidate.len(), closest], ..Self::default() };
        for n in 1..=ORDER {
            let own = ngrams(&candidate, n);
            let mut most = ngrams(references.first().map_or(&[][..], Vec::as_slice), n);
            for further in references.iter().skip(1) {
                for (gram, count) in ngrams(further, n) {
                    let known = most.entry(gram).or_insert(0);
                    *known = count.max(*known);
                }
            }
            s.matched[n - 1] = shared(&own, &most);
            s.total[n - 1] = own.values().sum();
        }
        s
    }

    /// The BLEU of these sums, from 0 to 100. With `effective`, as for single sentences, orders that the candidate is too
    /// short for do not count.
    pub fn bleu(self, effective: bool) -> f64 {
        if self.matched.iter().all(|m| *m == 0) {
            return 0.0;
        }
        let [own, reference] = self.lengths.map(|n| n as f64);
        let brevity = if own < reference { (1.0 - reference / own).exp() } else { 1.0 };
        let (mut order, mut halvings, mut logs) = (ORDER, 1.0, 0.0);
        for n in 0..ORDER {
            let total = self.total[n] as f64;
            if self.total[n] == 0 {
                // An order without n-grams: a precision of 0, whose logarithm the reference takes for −9999999999.
                logs += if effective { 0.0 } else { -9_999_999_999.0 * (ORDER - n) as f64 };
                break;
            }
            if effective {
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
        brevity * (logs / order as f64).exp()
    }
}

impl std::ops::AddAssign for Statistics {
    fn add_assign(&mut self, other: Self) {
        let add = |sum: &mut [usize], of: &[usize]| sum.iter_mut().zip(of).for_each(|(s, x)| *s += x);
        add(&mut self.lengths, &other.lengths);
        add(&mut self.matched, &other.matched);
        add(&mut self.total, &other.total);
    }
}

/// The BLEU of one sentence, from 0 to 100.
pub fn sentence(candidate: &str, references: &[&str], tokenizer: Tokenizer) -> f64 {
    Statistics::of(candidate, references, tokenizer).bleu(true)
}

/// The BLEU of a corpus, from 0 to 100: candidates, each with its references.
pub fn corpus<'a>(pairs: impl IntoIterator<Item = (&'a str, Vec<&'a str>)>, tokenizer: Tokenizer) -> f64 {
    let mut sum = Statistics::default();
    for (candidate, references) in pairs {
        sum += Statistics::of(candidate, &references, tokenizer);
    }
    sum.bleu(false)
}
