//! Builtins that compare a reply with references by published metrics (BLEU, chrF, TER, ROUGE), scaled to scores from 0
//! to 1.

use rlar_data::Example;

use super::BuiltinSettings;
use rlar_metrics::overlap::chrf::Words;
use rlar_metrics::overlap::{BleuTokenizer, bleu as bleus, chrf as chrfs, rouge, ter as ters};

/// The references of an example: the texts in its column `references` if there are any, or else its `reference`. `None`
/// when there is no reference with any text.
fn references(example: &Example) -> Option<Vec<&str>> {
    let several = example.columns.get("references").and_then(|r| r.as_array());
    let several: Vec<&str> = several.into_iter().flatten().filter_map(|r| r.as_str()).collect();
    let all = if several.is_empty() { vec![example.reference.as_deref()?] } else { several };
    all.iter().any(|r| !r.trim().is_empty()).then_some(all)
}

/// The tokenizer with which BLEU compares a reply with these references: one that makes every Chinese character a token
/// when most letters of the references are Chinese, or else mteval's `13a`, the default of sacrebleu.
fn tokenizer(references: &[&str]) -> BleuTokenizer {
    let letters = references.iter().flat_map(|r| r.chars()).filter(|c| c.is_alphabetic());
    let (mut han, mut all) = (0, 0);
    for c in letters {
        all += 1;
        han += usize::from(matches!(c, '\u{3400}'..='\u{9fff}'));
    }
    if 2 * han > all { BleuTokenizer::Chinese } else { BleuTokenizer::Mteval13a }
}

/// The sentence BLEU of the reply, divided by 100, with effective order: orders of n-grams for which the reply is too
/// short do not count.
pub fn bleu(_: &BuiltinSettings, example: &Example, reply: &str) -> Option<f64> {
    let references = references(example)?;
    Some((bleus::sentence(reply, &references, tokenizer(&references)) / 100.0).clamp(0.0, 1.0))
}

/// The sentence chrF of the reply (an F-score of character n-grams), divided by 100.
pub fn chrf(_: &BuiltinSettings, example: &Example, reply: &str) -> Option<f64> {
    Some((chrfs::sentence(reply, &references(example)?, Words::None) / 100.0).clamp(0.0, 1.0))
}

/// The sentence chrF++ of the reply (an F-score of character n-grams, words and word pairs), divided by 100.
pub fn chrf_plus_plus(_: &BuiltinSettings, example: &Example, reply: &str) -> Option<f64> {
    Some((chrfs::sentence(reply, &references(example)?, Words::Pairs) / 100.0).clamp(0.0, 1.0))
}

/// One minus the translation edit rate of the reply (edits per word of the reference), at least 0. A reply with more
/// than one and a half times the words of the longest reference, plus 20, is cut to that length, and each word that is
/// cut off counts as an edit.
pub fn ter(_: &BuiltinSettings, example: &Example, reply: &str) -> Option<f64> {
    let references = references(example)?;
    let max_words = references.iter().map(|r| r.split_whitespace().count()).max()? * 3 / 2 + 20;
    let words: Vec<&str> = reply.split_whitespace().collect();
    let cut = words[..words.len().min(max_words)].join(" ");
    let (edits, length) = ters::statistics(&cut, &references);
    let edits = edits + words.len().saturating_sub(max_words) as f64;
    Some((1.0 - edits / length.max(1.0)).max(0.0))
}

/// The largest F1 that the ROUGE score `f` has with any reference of the example; `None` when there is no reference.
fn best(example: &Example, f: impl Fn(&str) -> rouge::RougeScore) -> Option<f64> {
    references(example)?.into_iter().map(|r| f(r).f1).reduce(f64::max)
}

/// Largest number of words of a reply that ROUGE-L and ROUGE-Lsum compare. There must be a limit, because the time to
/// find a longest common subsequence grows with the product of the lengths of reply and reference.
const MAX_WORDS: usize = 4000;

/// The first [`MAX_WORDS`] words of a reply.
fn cut(reply: &str) -> &str {
    reply
        .split_whitespace()
        .nth(MAX_WORDS)
        .map_or(reply, |word| &reply[..word.as_ptr() as usize - reply.as_ptr() as usize])
}

/// The F1 of ROUGE-1 (words that reply and reference share), with the best of several references.
pub fn rouge_1(_: &BuiltinSettings, example: &Example, reply: &str) -> Option<f64> {
    best(example, |r| rouge::n(reply, r, 1))
}

/// The F1 of ROUGE-2 (word pairs that reply and reference share), with the best of several references.
pub fn rouge_2(_: &BuiltinSettings, example: &Example, reply: &str) -> Option<f64> {
    best(example, |r| rouge::n(reply, r, 2))
}

/// The F1 of ROUGE-L (longest common subsequence of words), with the best of several references.
pub fn rouge_l(_: &BuiltinSettings, example: &Example, reply: &str) -> Option<f64> {
    best(example, |r| rouge::l(cut(reply), r))
}

/// The F1 of ROUGE-Lsum (ROUGE-L line by line, where each line of the reference is compared with all lines of the
/// reply), with the best of several references.
pub fn rouge_lsum(_: &BuiltinSettings, example: &Example, reply: &str) -> Option<f64> {
    best(example, |r| rouge::lsum(cut(reply), r))
}
