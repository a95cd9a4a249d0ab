//! Answers beside a reference: the same, or how much alike.

use std::collections::BTreeMap;

use rlar_data::Example;
use serde_json::Value;

use super::{Settings, yes};
use crate::math;

/// Whether the last number of the reply is the reference's, digit by digit.
pub fn numeric_match(_: &Settings, example: &Example, reply: &str) -> Option<f64> {
    let reference = last_number(example.reference.as_deref()?)?;
    Some(yes(last_number(reply) == Some(reference)))
}

/// The same within `relative` of the reference, or within `absolute`.
pub fn numeric_tolerance(settings: &Settings, example: &Example, reply: &str) -> Option<f64> {
    let number = |text: &str| last_number(text)?.parse::<f64>().ok();
    let reference = number(example.reference.as_deref()?)?;
    let setting = |key: &str| settings.get(key).and_then(Value::as_f64).unwrap_or(0.0);
    let most = setting("absolute").max(setting("relative") * reference.abs());
    Some(yes(number(reply).is_some_and(|n| (n - reference).abs() <= most)))
}

/// Whether the answers are mathematically the same.
pub fn math_equivalence(_: &Settings, example: &Example, reply: &str) -> Option<f64> {
    let reference = example.reference.as_deref().filter(|r| !r.trim().is_empty())?;
    let echo = math::is_echo(reply, example.prompt());
    Some(yes(!echo && math::equivalent(reply, reference, math::Rules::default())))
}

/// Whether the reply chooses the letter that the reference is.
pub fn multiple_choice(_: &Settings, example: &Example, reply: &str) -> Option<f64> {
    let reference = letters(example.reference.as_deref()?);
    let [wanted] = reference[..] else { return None };
    Some(yes(chosen(reply) == Some(wanted)))
}

/// The choice of a reply: in a box, after "answer is", else the only letter that stands alone.
fn chosen(reply: &str) -> Option<char> {
    let after = |mark: &str| {
        let at = reply.to_ascii_lowercase().rfind(mark)? + mark.len();
        letters(reply.get(at..)?.lines().next().unwrap_or("")).first().copied()
    };
    let found = after("\\boxed{").or_else(|| after("answer is")).or_else(|| after("answer:"));
    found.or_else(|| match letters(reply)[..] {
        [only] => Some(only),
        _ => None,
    })
}

/// The capital letters from A to J that stand alone.
fn letters(text: &str) -> Vec<char> {
    let words = text.split(|c: char| !(c.is_alphanumeric() || c == '\''));
    words.filter_map(|w| w.chars().next().filter(|c| w.len() == 1 && ('A'..='J').contains(c))).collect()
}

/// 1 less the edits of characters from reply to reference, over the longer one's length.
pub fn edit_similarity(_: &Settings, example: &Example, reply: &str) -> Option<f64> {
    let reference: Vec<char> = example.reference.as_deref()?.trim().chars().take(LONGEST).collect();
    let reply: Vec<char> = reply.trim().chars().take(LONGEST).collect();
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

/// Most characters that are compared.
const LONGEST: usize = 4000;

/// The last number of a text in a canonical form: sign, digits without leading zeros, decimals without
/// trailing ones. Thousands separators are left out.
fn last_number(text: &str) -> Option<String> {
    let text: Vec<char> = text.chars().filter(|c| *c != ',').collect();
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
    let whole: String = text[start..point.unwrap_or(end)].iter().collect();
    let decimals: String = point.map_or_else(String::new, |p| text[p + 1..end].iter().collect());
    let (whole, decimals) = (whole.trim_start_matches('0'), decimals.trim_end_matches('0'));
    let whole = if whole.is_empty() { "0" } else { whole };
    // A minus directly after a digit is an operator: `7-3` ends in 3.
    let negative = start > 0 && text[start - 1] == '-' && !(start > 1 && digit(start - 2));
    let sign = if negative && !(whole == "0" && decimals.is_empty()) { "-" } else { "" };
    Some(if decimals.is_empty() { format!("{sign}{whole}") } else { format!("{sign}{whole}.{decimals}") })
}

fn normalised(text: &str) -> String {
    text.to_lowercase().split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Whether the texts are the same but for case and spaces.
pub fn exact_match(_: &Settings, example: &Example, reply: &str) -> Option<f64> {
    Some(yes(normalised(reply) == normalised(example.reference.as_deref()?)))
}

fn words(text: &str) -> Vec<String> {
    let text: String = text.to_lowercase().chars().map(|c| if c.is_alphanumeric() { c } else { ' ' }).collect();
    text.split_whitespace().filter(|w| !matches!(*w, "a" | "an" | "the")).map(str::to_owned).collect()
}

/// The F1 of the words that reply and reference share.
pub fn token_f1(_: &Settings, example: &Example, reply: &str) -> Option<f64> {
    let (reply, reference) = (words(reply), words(example.reference.as_deref()?));
    if reference.is_empty() {
        return None;
    }
    let mut left: BTreeMap<&str, usize> = BTreeMap::new();
    for w in &reference {
        *left.entry(w).or_default() += 1;
    }
    let mut shared = 0;
    for w in &reply {
        if let Some(n) = left.get_mut(w.as_str()).filter(|n| **n > 0) {
            *n -= 1;
            shared += 1;
        }
    }
    Some(2.0 * f64::from(shared) / (reply.len() + reference.len()) as f64)
}
