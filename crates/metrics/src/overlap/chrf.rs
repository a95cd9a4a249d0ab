//! chrF (Popović, 2015) and chrF++ (Popović, 2017) as sacrebleu 2.6 computes them: character 6-grams without spaces, β = 2.

use std::collections::HashMap;
use std::hash::Hash;

use super::{ngrams, shared};

const CHARACTERS: usize = 6;
const BETA_SQUARED: f64 = 4.0;

/// Counts that chrF is a function of: of the candidate's, the reference's and the shared n-grams, by order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Statistics(Vec<[usize; 3]>);

/// Which words count beside the characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Words {
    /// None: chrF.
    None,
    /// Words and pairs of words: chrF++.
    Pairs,
}

/// Words with the punctuation at one of their ends cut off.
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

/// n-grams of the candidate, of the reference, and shared; the candidate's do not count where the reference has none.
fn counts<K: Eq + Hash>(own: &HashMap<K, usize>, other: &HashMap<K, usize>) -> [usize; 3] {
    let sum = |of: &HashMap<K, usize>| of.values().sum();
    [if other.is_empty() { 0 } else { sum(own) }, sum(other), shared(own, other)]
}

impl Statistics {
    /// Those of one candidate, beside the reference that suits it best.
    pub fn of(candidate: &str, references: &[&str], with: Words) -> Self {
        let characters = |text: &str| text.chars().filter(|c| !c.is_whitespace()).collect::<Vec<char>>();
        let (own, own_words) = (characters(candidate), words(candidate));
        let beside = |reference: &&str| {
            let (other, other_words) = (characters(reference), words(reference));
            let mut rows: Vec<[usize; 3]> =
                (1..=CHARACTERS).map(|n| counts(&ngrams(&own, n), &ngrams(&other, n))).collect();
            if with == Words::Pairs {
                rows.extend((1..=2).map(|n| counts(&ngrams(&own_words, n), &ngrams(&other_words, n))));
            }
            Self(rows)
        };
        let mut best: Option<(f64, Self)> = None;
        for s in references.iter().map(beside) {
            let score = s.score();
            if best.as_ref().is_none_or(|(known, _)| score > *known) {
                best = Some((score, s));
            }
        }
        best.map(|(_, s)| s).unwrap_or_default()
    }

    /// The score of these counts, from 0 to 100.
    pub fn score(&self) -> f64 {
        let (mut precision, mut recall, mut orders) = (0.0, 0.0, 0);
        for [own, other, both] in self.0.iter().filter(|[own, other, _]| *own > 0 && *other > 0) {
            precision += *both as f64 / *own as f64;
            recall += *both as f64 / *other as f64;
            orders += 1;
        }
        if orders == 0 || precision + recall == 0.0 {
            return 0.0;
        }
        let (precision, recall) = (precision / f64::from(orders), recall / f64::from(orders));
        100.0 * (1.0 + BETA_SQUARED) * precision * recall / (BETA_SQUARED * precision + recall)
    }
}

impl std::ops::AddAssign<&Self> for Statistics {
    fn add_assign(&mut self, other: &Self) {
        self.0.resize(other.0.len().max(self.0.len()), [0; 3]);
        self.0.iter_mut().flatten().zip(other.0.iter().flatten()).for_each(|(sum, x)| *sum += x);
    }
}

/// The score of one sentence, from 0 to 100.
pub fn sentence(candidate: &str, references: &[&str], with: Words) -> f64 {
    Statistics::of(candidate, references, with).score()
}

/// The score of a corpus, from 0 to 100: candidates, each with its references.
pub fn corpus<'a>(pairs: impl IntoIterator<Item = (&'a str, Vec<&'a str>)>, with: Words) -> f64 {
    let mut sum = Statistics::default();
    for (candidate, references) in pairs {
        sum += &Statistics::of(candidate, &references, with);
    }
    sum.score()
}
