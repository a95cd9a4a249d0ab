//! Finds the numbers and arithmetic expressions that a text has outside of formulas.

use super::extract::{AnswerCandidate, CandidatePart, is_percent};
use super::measures::compound;

const CURRENCY: &str = "$€£¥₹₽₪₩₫฿₡₢₣₤₥₦₧₨₭₮₯₰₱₲₳₴₵₶₷₸₺₻₼₾₿";

/// The numbers and arithmetic expressions of a text that are written without dollars or other delimiters.
pub fn plain(text: &str) -> Vec<AnswerCandidate> {
    let mut found = Vec::new();
    let mut before = None;
    let (mut skip_to, mut expression_to) = (0, 0);
    for (at, c) in text.char_indices() {
        let opens = before.is_none_or(|b: char| b.is_whitespace() || b == '=');
        before = Some(c);
        if !opens || at < skip_to {
            continue;
        }
        let stars = if text[at..].starts_with("**") { 2 } else { 0 };
        let rest = &text[at + stars..];
        if at >= expression_to
            && let Some(len) = expression(rest).filter(|_| !ends_formula(&text[..at]))
        {
            let start = at + stars;
            expression_to = start + len;
            let part = rest[..len].replace('\n', " ");
            found.push(AnswerCandidate {
                start,
                end: start + len,
                parts: vec![CandidatePart { text: part, is_percent: false }],
            });
        }
        let currency = currency(rest);
        // Quantities like `5 hours 30 minutes` are left out with both of their numbers.
        if let Some(len) = compound(&rest[currency..]) {
            skip_to = at + stars + currency + len;
            continue;
        }
        if let Some((number, len)) =
            number(&rest[currency..]).filter(|(_, len)| !is_part(&rest[currency + len..]) && !ends_formula(&text[..at]))
        {
            let start = at + stars + currency;
            let mut end = start + len;
            skip_to = end;
            let percent = is_percent(&text[end..]);
            if percent {
                let word = text[end..].trim_start().trim_start_matches(|c: char| c == '%' || c.is_alphabetic());
                end = text.len() - word.len();
            }
            let parts = vec![CandidatePart { text: number, is_percent: percent }];
            found.push(AnswerCandidate { start: at, end, parts });
        }
    }
    found
}

/// Number of bytes in the currency sign at the start of a text, such as `$` or `US$`.
fn currency(text: &str) -> usize {
    let country = if text.starts_with("US") { 2 } else { 0 };
    let after = &text[country..];
    let sign = after.chars().next().filter(|c| CURRENCY.contains(*c)).map_or(0, char::len_utf8);
    if sign > 0 || after.starts_with(|c: char| c.is_ascii_digit()) { country + sign } else { 0 }
}

/// Whether the text after a number shows that the number is only a part of an expression, like those in `2x` and `3√2`,
/// the numerator and the whole part in `4 10/3`, and the first factor in `5 × 10^{3}`.
fn is_part(after: &str) -> bool {
    let digit = |text: &str| text.starts_with(|c: char| c.is_ascii_digit());
    let fraction = |text: &str| {
        let rest = text.trim_start_matches(|c: char| c.is_ascii_digit());
        rest.len() < text.len() && rest.strip_prefix('/').is_some_and(digit)
    };
    let factor = |text: &str| text.strip_prefix(['×', '*']).is_some_and(|rest| digit(rest.trim_start_matches(' ')));
    match after.bytes().next() {
        Some(b'x') => !after.starts_with("x "),
        Some(b'y' | b'z' | b'^' | b'\\' | b'(') => true,
        Some(b'/') => digit(&after[1..]),
        Some(b' ') => fraction(&after[1..]) || factor(&after[1..]),
        Some(b'*') => factor(after),
        Some(128..) => after.starts_with(['π', '√']) || factor(after),
        _ => false,
    }
}

/// Whether a text ends in an operator behind a symbol or a bracket, so that a number after it is only a part of a
/// formula, as in `exp(16) - 1`.
fn ends_formula(text: &str) -> bool {
    let Some(before) = text.trim_end_matches(' ').strip_suffix(['+', '-', '*', '/', '×', '^']) else { return false };
    let mut chars = before.trim_end_matches(' ').chars().rev();
    match chars.next() {
        Some(')' | ']' | '}' | 'π') => true,
        Some(c) if c.is_ascii_lowercase() => !chars.next().is_some_and(char::is_alphabetic),
        _ => false,
    }
}

/// Reads the number at the start of a text: returns its digits without separators of thousands, and the number of bytes
/// that were read. `None` if the text does not start with a number.
pub fn number(text: &str) -> Option<(String, usize)> {
    let bytes = text.as_bytes();
    let digit = |i: usize| bytes.get(i).is_some_and(u8::is_ascii_digit);
    let sign = usize::from(bytes.first() == Some(&b'-'));
    let run = |from: usize| (from..bytes.len()).take_while(|i| digit(*i)).count();
    let whole = run(sign);
    let decimals = |from: usize| if bytes.get(from) == Some(&b'.') && digit(from + 1) { 1 + run(from + 1) } else { 0 };
    if whole == 0 {
        let len = decimals(0);
        return (len > 0).then(|| (format!("0{}", &text[..len]), len));
    }
    // The number may have groups of three digits, each after a comma or a space.
    let mut end = sign + whole;
    if whole <= 3 && bytes[sign] != b'0' {
        while matches!(bytes.get(end), Some(b',' | b' ')) && run(end + 1) == 3 {
            end += 4;
        }
    }
    if end == sign + whole && bytes.get(end) == Some(&b',') && digit(end + 1) {
        let len = end + 1 + run(end + 1);
        return Some((text[..len].replace(',', "."), len));
    }
    let len = end + decimals(end);
    let len = len + power_of_ten(&bytes[len..]);
    Some((text[..len].replace([',', ' '], ""), len))
}

/// Number of bytes in the power of ten at the start of a text, such as the `e-5` of `1e-5`; 0 if there is none.
fn power_of_ten(bytes: &[u8]) -> usize {
    if !matches!(bytes.first(), Some(b'e' | b'E')) {
        return 0;
    }
    let sign = usize::from(matches!(bytes.get(1), Some(b'+' | b'-')));
    let digits = bytes[1 + sign..].iter().take_while(|b| b.is_ascii_digit()).count();
    let goes_on = bytes.get(1 + sign + digits).is_some_and(|b| b.is_ascii_alphanumeric() || matches!(b, b'^' | b'('));
    if (1..=6).contains(&digits) && !goes_on { 1 + sign + digits } else { 0 }
}

/// Number of bytes in the arithmetic expression at the start of a text. The expression must contain an operator, and
/// the text after it must not continue it. `None` if there is no such expression.
fn expression(text: &str) -> Option<usize> {
    let operator = |c: char| matches!(c, '+' | '-' | '*' | '×' | '/' | '^' | '(' | ')' | '÷');
    let rest = text.strip_prefix('-').unwrap_or(text);
    let rest = rest.strip_prefix('(').unwrap_or(rest);
    let rest = rest.strip_prefix('-').unwrap_or(rest);
    if !rest.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let start = text.len() - rest.len();
    let run = rest
        .char_indices()
        .find(|(i, c)| *i > 1000 || !(c.is_ascii_digit() || *c == '.' || c.is_whitespace() || operator(*c)));
    let end = start + run.map_or(rest.len(), |(i, _)| i);
    let suffix = |at: usize| {
        text[at..].chars().next().is_none_or(|c| matches!(c, '.' | ',' | ':' | ')' | '$') || c.is_whitespace())
    };
    // Finds the longest prefix that ends in a digit or bracket, contains an operator, and is followed by a character
    // that ends an expression.
    let (mut best, mut has_operator) = (None, false);
    for (i, c) in text[start..end].char_indices() {
        has_operator |= operator(c);
        let at = start + i + c.len_utf8();
        if has_operator && (c.is_ascii_digit() || c == ')') && suffix(at) {
            best = Some(at);
        }
    }
    best
}
