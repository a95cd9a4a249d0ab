//! Reads the numbers of a text in the notations of science: with powers of ten and separators of thousands.

use std::sync::LazyLock;

use regex::Regex;

/// The finite numbers in a text. Thousands separators (`1,000`, `1\,000`) and powers of ten (`1e5`, `2 × 10^3`,
/// `2 \times 10^{3}`, `10^3`) are understood.
pub fn numbers(text: &str) -> Vec<f64> {
    static NUMBER: LazyLock<Option<Regex>> = LazyLock::new(|| {
        let separator = r"(?:,|\\,|\\;|\\:|\\ |\{,\}|,\\!|~)";
        let times = r"(?:[×·⋅∙xX*]|\\times|\\cdot|\\ast)";
        let space = r"(?:\s|\\[,;:! ]|~)*";
        let ten = r"10(?:\^|\*\*)\s*[{(]?\s*([-+−–]?\s*\d+)\s*[})]?";
        let mantissa = format!(r"(?:\d{{1,3}}(?:{separator}\d{{3}})+|\d+)(?:\.\d+)?|\.\d+");
        let power = format!(r"(?:[eE][-+−]?\d+|{space}{times}{space}{ten})");
        Regex::new(&format!(r"([-−]?)(?:{ten}|({mantissa}){power}?)")).ok()
    });
    let Some(pattern) = &*NUMBER else { return Vec::new() };
    let text = &raised(text);
    let number = |captures: regex::Captures| {
        let all = captures.get(0)?;
        // A minus directly after a digit is an operator: `7-3` ends in 3.
        let operator = text[..all.start()].ends_with(|c: char| c.is_ascii_digit());
        let sign = if captures[1].is_empty() || operator { "" } else { "-" };
        let plain = |part: &str| part.replace(['−', '–'], "-").replace(char::is_whitespace, "");
        let (digits, power) = match (captures.get(2), captures.get(3), captures.get(4)) {
            (Some(power), _, _) => ("1".to_owned(), format!("e{}", plain(power.as_str()))),
            (_, Some(digits), Some(power)) => (digits.as_str().to_owned(), format!("e{}", plain(power.as_str()))),
            (_, Some(digits), None) => (digits.as_str().to_owned(), plain(&text[digits.end()..all.end()])),
            _ => return None,
        };
        let digits: String = digits.chars().filter(|c| c.is_ascii_digit() || *c == '.').collect();
        let value: f64 = format!("{sign}{digits}{power}").parse().ok()?;
        value.is_finite().then_some(value)
    };
    pattern.captures_iter(text).filter_map(number).collect()
}

/// A text with `^` and digits in place of raised digits: `10⁵` becomes `10^5`.
fn raised(text: &str) -> String {
    const RAISED: [char; 12] = ['⁰', '¹', '²', '³', '⁴', '⁵', '⁶', '⁷', '⁸', '⁹', '⁻', '⁺'];
    const PLAIN: [char; 12] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', '-', '+'];
    let mut out = String::with_capacity(text.len());
    let mut is_raised = false;
    for c in text.chars() {
        let plain = RAISED.iter().position(|r| *r == c).map(|i| PLAIN[i]);
        if plain.is_some() && !is_raised {
            out.push('^');
        }
        // A digit on the line after raised ones begins another number.
        if plain.is_none() && is_raised && c.is_ascii_digit() {
            out.push(' ');
        }
        is_raised = plain.is_some();
        out.push(plain.unwrap_or(c));
    }
    out
}
