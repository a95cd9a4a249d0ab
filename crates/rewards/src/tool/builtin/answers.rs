//! Builtins that compare the answer in a reply with the example's reference: whether they are equal, or how similar
//! they are.

use std::collections::BTreeMap;

use rlar_data::Example;
use serde_json::Value;

use super::BuiltinSettings;
use super::explained::ExplainedScore;
use super::scientific::numbers;
use crate::tool::reason::Reason;
use rlar_metrics::math;

/// Scores 1 if the last number of the reply equals the reference's number in every digit, else 0. Abstains unless the
/// reference has exactly one number.
pub fn numeric_match(_: &BuiltinSettings, example: &Example, reply: &str) -> Option<ExplainedScore> {
    let reference = only_number(example.reference.as_deref()?)?;
    let found = last_number(reply);
    Some(ExplainedScore::compared(found.as_ref() == Some(&reference), found.as_deref(), &reference))
}

/// Scores 1 if the last number of the reply differs from the reference by at most the setting `absolute`, or by at most
/// the setting `relative` times the size of the reference; else 0. Abstains unless the reference has exactly one
/// number.
pub fn numeric_tolerance(settings: &BuiltinSettings, example: &Example, reply: &str) -> Option<ExplainedScore> {
    let [reference] = numbers(example.reference.as_deref()?)[..] else { return None };
    let setting = |key: &str| settings.get(key).and_then(Value::as_f64).unwrap_or(0.0);
    let tolerance = setting("absolute").max(setting("relative") * reference.abs());
    let found = numbers(reply).last().copied();
    let is_near = found.is_some_and(|n| (n - reference).abs() <= tolerance);
    Some(ExplainedScore::compared(is_near, found.map(|n| n.to_string()).as_deref(), &reference.to_string()))
}

/// Scores 1 if the reply's answer is mathematically equivalent to the reference, else 0. A reply that only repeats the
/// prompt scores 0. Abstains when it is unclear which number of the reference is the answer.
pub fn math_equivalence(_: &BuiltinSettings, example: &Example, reply: &str) -> Option<ExplainedScore> {
    let reference = example.reference.as_deref().filter(|r| !r.trim().is_empty() && math::unclear(r).is_none())?;
    if math::is_echo(reply, example.prompt(), reference) {
        return Some(ExplainedScore { score: 0.0, reason: Reason::new("the reply repeats the prompt") });
    }
    // `x > 3` and `(3, ∞)` are the same answer.
    let rules = math::MathRules { sets_for_relations: true, ..math::MathRules::default() };
    let compared = math::compare_answers(reply, reference, rules);
    Some(ExplainedScore::compared(compared.are_equal, compared.reply.as_deref(), &compared.reference))
}

/// Why [`math_equivalence`] abstains on an example: what is unclear about the reference. `None` if the reference is
/// clear, or if there is none.
pub fn unclear_reference(example: &Example) -> Option<&'static str> {
    math::unclear(example.reference.as_deref()?)
}

/// Scores `1 - d / n`, where `d` is the edit distance between reply and reference in characters, and `n` is the length
/// of the longer of the two. Abstains when the reference is empty.
pub fn edit_similarity(_: &BuiltinSettings, example: &Example, reply: &str) -> Option<f64> {
    let reference: Vec<char> = example.reference.as_deref()?.trim().chars().take(MAX_CHARS).collect();
    let reply: Vec<char> = reply.trim().chars().take(MAX_CHARS).collect();
    if reference.is_empty() {
        return None;
    }
    let mut row: Vec<usize> = (0..=reply.len()).collect();
    for (i, r) in reference.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, c) in reply.iter().enumerate() {
            let above = row[j + 1];
            row[j + 1] = (diagonal + usize::from(r != c)).min(above + 1).min(row[j] + 1);
            diagonal = above;
        }
    }
    Some(1.0 - row[reply.len()] as f64 / reference.len().max(reply.len()) as f64)
}

/// Largest number of characters of a text that `edit_similarity` compares. There must be a limit, because the time
/// grows with the product of the lengths of reply and reference.
const MAX_CHARS: usize = 4000;

/// The number in a reference that contains exactly one, in the form of [`last_number`]. `None` for a reference with
/// several numbers, because it is unclear which of them is the answer, and for one without numbers.
fn only_number(reference: &str) -> Option<String> {
    let digits = |c: char| c.is_ascii_digit() || matches!(c, '.' | ',');
    let runs = reference.split(|c: char| !digits(c)).filter(|r| r.contains(|c: char| c.is_ascii_digit()));
    (runs.count() == 1).then(|| last_number(reference)).flatten()
}

/// The last number of a text in a canonical form: sign, digits without leading zeros, decimals without trailing zeros.
/// Thousands separators are removed. `None` when the text has no number.
fn last_number(text: &str) -> Option<String> {
    let all: Vec<char> = text.chars().map(|c| if c == '−' { '-' } else { c }).collect();
    let separates =
        |i: usize| all[i] == ',' && all.get(i + 1..i + 4).is_some_and(|g| g.iter().all(char::is_ascii_digit));
    let text: Vec<char> = (0..all.len()).filter(|i| !separates(*i)).map(|i| all[i]).collect();
    let digit = |i: usize| text.get(i).is_some_and(char::is_ascii_digit);
    let end = (0..text.len()).rev().find(|i| digit(*i))? + 1;
    let mut start = end - 1;
    let mut point = None;
    while start > 0 {
        if digit(start - 1) {
            start -= 1;
        } else if text[start - 1] == '.' && point.is_none() && start > 1 && digit(start - 2) {
            point = Some(start - 1);
            start -= 1;
        } else {
            break;
        }
    }
    // A number may begin with its decimal point: `.5`, `$.50`.
    if point.is_none() && start > 0 && text[start - 1] == '.' && !(start > 1 && digit(start - 2)) {
        (start, point) = (start - 1, Some(start - 1));
    }
    let whole: String = text[start..point.unwrap_or(end)].iter().collect();
    let decimals: String = point.map_or_else(String::new, |p| text[p + 1..end].iter().collect());
    let (whole, decimals) = (whole.trim_start_matches('0'), decimals.trim_end_matches('0'));
    let whole = if whole.is_empty() { "0" } else { whole };
    // A minus directly after a digit is an operator: `7-3` ends in 3.
    let negative = start > 0 && text[start - 1] == '-' && !(start > 1 && digit(start - 2));
    let sign = if negative && !(whole == "0" && decimals.is_empty()) { "-" } else { "" };
    Some(if decimals.is_empty() { format!("{sign}{whole}") } else { format!("{sign}{whole}.{decimals}") })
}

/// A text in lower case, with a single space in place of each run of white space.
fn normalised(text: &str) -> String {
    text.to_lowercase().split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Scores 1 if reply and reference are equal except for case and white space, else 0.
pub fn exact_match(_: &BuiltinSettings, example: &Example, reply: &str) -> Option<ExplainedScore> {
    let reference = example.reference.as_deref()?;
    Some(ExplainedScore::compared(normalised(reply) == normalised(reference), Some(reply), reference))
}

/// The words of a text in lower case, without punctuation and without the articles "a", "an" and "the".
fn words(text: &str) -> Vec<String> {
    let text: String = text.to_lowercase().chars().map(|c| if c.is_alphanumeric() { c } else { ' ' }).collect();
    text.split_whitespace().filter(|w| !matches!(*w, "a" | "an" | "the")).map(str::to_owned).collect()
}

/// The F1 score of the words that reply and reference share, as `SQuAD` defines it. Abstains when the reference has no
/// words.
pub fn token_f1(_: &BuiltinSettings, example: &Example, reply: &str) -> Option<f64> {
    let (reply, reference) = (words(reply), words(example.reference.as_deref()?));
    if reference.is_empty() {
        return None;
    }
    let mut unmatched: BTreeMap<&str, usize> = BTreeMap::new();
    for w in &reference {
        *unmatched.entry(w).or_default() += 1;
    }
    let mut shared = 0;
    for w in &reply {
        if let Some(n) = unmatched.get_mut(w.as_str()).filter(|n| **n > 0) {
            *n -= 1;
            shared += 1;
        }
    }
    Some(2.0 * f64::from(shared) / (reply.len() + reference.len()) as f64)
}
