//! chrF (Popović, 2015) and chrF++ (Popović, 2017), computed as by sacrebleu 2.6: F-scores of character 1- to 6-grams
//! without spaces, with β = 2.

use std::collections::HashMap;
use std::hash::Hash;

use super::{matching, ngrams};

/// Maximum length of the character n-grams, in characters.
const CHARACTER_ORDER: usize = 6;
/// Maximum length of the word n-grams in chrF++, in words.
const WORD_ORDER: usize = 2;
/// β², the weight of recall relative to precision.
const BETA_SQUARED: f64 = 4.0;

/// The counts from which chrF is computed, one entry for each length of n-grams. The counts of a corpus are the sums of
/// the counts of its candidates (the texts that are scored).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChrfStatistics(Vec<OrderCounts>);

/// The counts of the n-grams of one length.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct OrderCounts {
    /// Number of n-grams in the candidate; 0 if the reference has no n-grams of this length.
    candidate: usize,
    reference: usize,
    /// Number of n-grams that occur in the candidate and in the reference (clipped counts).
    matched: usize,
}

/// Which word n-grams count in addition to the character n-grams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Words {
    /// No word n-grams count: the score is chrF.
    None,
    /// Single words and pairs of words count: the score is chrF++.
    Pairs,
}

/// The words of a text. A punctuation mark at one end of a word is a separate word.
fn words(text: &str) -> Vec<&str> {
    let mut out = Vec::new();
    for word in text.split_whitespace() {
        let (first, last) = (word.chars().next(), word.chars().next_back());
        let is_mark = |c: Option<char>| c.is_some_and(|c| c.is_ascii_punctuation());
        if word.chars().count() > 1 && is_mark(last) {
            let (stem, mark) = word.split_at(word.len() - 1);
            out.extend([stem, mark]);
        } else if word.chars().count() > 1 && is_mark(first) {
            let (mark, stem) = word.split_at(1);
            out.extend([mark, stem]);
        } else {
            out.push(word);
        }
    }
    out
}

fn counts<K: Eq + Hash>(candidate: &HashMap<K, usize>, reference: &HashMap<K, usize>) -> OrderCounts {
    OrderCounts {
        candidate: if reference.is_empty() { 0 } else { candidate.values().sum() },
        reference: reference.values().sum(),
        matched: matching(candidate, reference),
    }
}

impl ChrfStatistics {
    /// The counts of one candidate, compared with the reference that gives the highest score.
    pub fn new(candidate: &str, references: &[&str], word_grams: Words) -> Self {
        let characters = |text: &str| text.chars().filter(|c| !c.is_whitespace()).collect::<Vec<char>>();
        let (candidate_characters, candidate_words) = (characters(candidate), words(candidate));
        let compare = |reference: &&str| {
            let (reference_characters, reference_words) = (characters(reference), words(reference));
            let mut orders: Vec<OrderCounts> = (1..=CHARACTER_ORDER)
                .map(|n| counts(&ngrams(&candidate_characters, n), &ngrams(&reference_characters, n)))
                .collect();
            if word_grams == Words::Pairs {
                let words = |n| counts(&ngrams(&candidate_words, n), &ngrams(&reference_words, n));
                orders.extend((1..=WORD_ORDER).map(words));
            }
            Self(orders)
        };
        let mut best: Option<(f64, Self)> = None;
        for statistics in references.iter().map(compare) {
            let score = statistics.score();
            if best.as_ref().is_none_or(|(known, _)| score > *known) {
                best = Some((score, statistics));
            }
        }
        best.map(|(_, statistics)| statistics).unwrap_or_default()
    }

    /// The score chrF or chrF++, from 0 to 100.
    pub fn score(&self) -> f64 {
        let (mut precision, mut recall, mut orders) = (0.0, 0.0, 0);
        for counts in self.0.iter().filter(|counts| counts.candidate > 0 && counts.reference > 0) {
            precision += counts.matched as f64 / counts.candidate as f64;
            recall += counts.matched as f64 / counts.reference as f64;
            orders += 1;
        }
        if orders == 0 || precision + recall == 0.0 {
            return 0.0;
        }
        let (precision, recall) = (precision / f64::from(orders), recall / f64::from(orders));
        100.0 * (1.0 + BETA_SQUARED) * precision * recall / (BETA_SQUARED * precision + recall)
    }
}

impl std::ops::AddAssign<&Self> for ChrfStatistics {
    fn add_assign(&mut self, other: &Self) {
        self.0.resize(other.0.len().max(self.0.len()), OrderCounts::default());
        for (sum, counts) in self.0.iter_mut().zip(&other.0) {
            sum.candidate += counts.candidate;
            sum.reference += counts.reference;
            sum.matched += counts.matched;
        }
    }
}

/// chrF or chrF++ of one sentence, from 0 to 100.
pub fn sentence(candidate: &str, references: &[&str], word_grams: Words) -> f64 {
    ChrfStatistics::new(candidate, references, word_grams).score()
}

/// chrF or chrF++ of a corpus, from 0 to 100. `pairs` are the candidates, each with its references.
pub fn corpus<'a>(pairs: impl IntoIterator<Item = (&'a str, Vec<&'a str>)>, word_grams: Words) -> f64 {
    let mut sum = ChrfStatistics::default();
    for (candidate, references) in pairs {
        sum += &ChrfStatistics::new(candidate, &references, word_grams);
    }
    sum.score()
}
