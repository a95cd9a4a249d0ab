//! Texts beside a reference: the published metrics, from 0 to 1.

use rlar_data::Example;

use super::BuiltinSettings;
use rlar_metrics::overlap::chrf::Words;
use rlar_metrics::overlap::{BleuTokenizer, bleu as bleus, chrf as chrfs, rouge, ter as ters};

/// The references of an example: `references` where it has several, else its `reference`.
fn references(example: &Example) -> Option<Vec<&str>> {
    let several = example.columns.get("references").and_then(|r| r.as_array());
    let several: Vec<&str> = several.into_iter().flatten().filter_map(|r| r.as_str()).collect();
    let all = if several.is_empty() { vec![example.reference.as_deref()?] } else { several };
    all.iter().any(|r| !r.trim().is_empty()).then_some(all)
}

/// Chinese, where the reference is, is cut into characters.
fn tokenizer(references: &[&str]) -> BleuTokenizer {
    let letters = references.iter().flat_map(|r| r.chars()).filter(|c| c.is_alphabetic());
    let (mut han, mut all) = (0, 0);
    for c in letters {
        all += 1;
        han += usize::from(matches!(c, '\u{3400}'..='\u{9fff}'));
    }
    if 2 * han > all { BleuTokenizer::Chinese } else { BleuTokenizer::Mteval13a }
}

/// Sentence BLEU.
pub fn bleu(_: &BuiltinSettings, example: &Example, reply: &str) -> Option<f64> {
    let references = references(example)?;
    Some((bleus::sentence(reply, &references, tokenizer(&references)) / 100.0).clamp(0.0, 1.0))
}

/// chrF.
pub fn chrf(_: &BuiltinSettings, example: &Example, reply: &str) -> Option<f64> {
    Some((chrfs::sentence(reply, &references(example)?, Words::None) / 100.0).clamp(0.0, 1.0))
}

/// chrF++.
pub fn chrf_plus_plus(_: &BuiltinSettings, example: &Example, reply: &str) -> Option<f64> {
    Some((chrfs::sentence(reply, &references(example)?, Words::Pairs) / 100.0).clamp(0.0, 1.0))
}

/// 1 less the translation edit rate, at least 0. Of long replies the first words count, one and a half times as many as the
/// longest reference has, and each word that is left out is an edit.
pub fn ter(_: &BuiltinSettings, example: &Example, reply: &str) -> Option<f64> {
    let references = references(example)?;
    let most = references.iter().map(|r| r.split_whitespace().count()).max()? * 3 / 2 + 20;
    let words: Vec<&str> = reply.split_whitespace().collect();
    let cut = words[..words.len().min(most)].join(" ");
    let (edits, length) = ters::statistics(&cut, &references);
    let edits = edits + words.len().saturating_sub(most) as f64;
    Some((1.0 - edits / length.max(1.0)).max(0.0))
}

fn best(example: &Example, f: impl Fn(&str) -> rouge::RougeScore) -> Option<f64> {
    references(example)?.into_iter().map(|r| f(r).f1).reduce(f64::max)
}

/// Words that are compared by longest common subsequences, which take time by the product of lengths.
const MOST_WORDS: usize = 4000;

fn cut(reply: &str) -> &str {
    reply
        .split_whitespace()
        .nth(MOST_WORDS)
        .map_or(reply, |word| &reply[..word.as_ptr() as usize - reply.as_ptr() as usize])
}

/// ROUGE-1.
pub fn rouge_1(_: &BuiltinSettings, example: &Example, reply: &str) -> Option<f64> {
    best(example, |r| rouge::n(reply, r, 1))
}

/// ROUGE-2.
pub fn rouge_2(_: &BuiltinSettings, example: &Example, reply: &str) -> Option<f64> {
    best(example, |r| rouge::n(reply, r, 2))
}

/// ROUGE-L.
pub fn rouge_l(_: &BuiltinSettings, example: &Example, reply: &str) -> Option<f64> {
    best(example, |r| rouge::l(cut(reply), r))
}

/// ROUGE-Lsum.
pub fn rouge_lsum(_: &BuiltinSettings, example: &Example, reply: &str) -> Option<f64> {
    best(example, |r| rouge::lsum(cut(reply), r))
}
