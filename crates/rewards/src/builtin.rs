//! Tools in Rust: `(prompt, reply, reference) → score`.

// One signature for all tools, those included that judge everything.
#![allow(clippy::unnecessary_wraps)]

use std::collections::BTreeMap;

/// A builtin's function. The reference is empty where the card needs none.
/// Nothing when the reference is not of the kind that the tool judges.
pub type Builtin = fn(&str, &str, &str) -> Option<f64>;

/// The builtin of a name.
pub fn builtin(name: &str) -> Option<Builtin> {
    match name {
        "numeric_match" => Some(numeric_match),
        "exact_match" => Some(exact_match),
        "token_f1" => Some(token_f1),
        "brevity" => Some(brevity),
        _ => None,
    }
}

fn numeric_match(_: &str, reply: &str, reference: &str) -> Option<f64> {
    let reference = last_number(reference)?;
    Some(f64::from(u8::from(last_number(reply) == Some(reference))))
}

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

fn exact_match(_: &str, reply: &str, reference: &str) -> Option<f64> {
    Some(f64::from(u8::from(normalised(reply) == normalised(reference))))
}

fn words(text: &str) -> Vec<String> {
    let text: String = text.to_lowercase().chars().map(|c| if c.is_alphanumeric() { c } else { ' ' }).collect();
    text.split_whitespace().filter(|w| !matches!(*w, "a" | "an" | "the")).map(str::to_owned).collect()
}

fn token_f1(_: &str, reply: &str, reference: &str) -> Option<f64> {
    let (reply, reference) = (words(reply), words(reference));
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

fn brevity(_: &str, reply: &str, _: &str) -> Option<f64> {
    Some(1.0 / (1.0 + reply.split_whitespace().count() as f64 / 100.0))
}
