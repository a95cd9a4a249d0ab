//! Reads the numbers of a formula: groups of three digits, decimals and repeating decimals.

use super::lexer::{Lexer, Token};

impl Lexer<'_> {
    /// Reads a number with its decimals. Groups of three digits may be separated by `{,}`, `\,` or `,\!`, and outside
    /// of brackets by commas.
    pub(super) fn number(&mut self) {
        let mut digits = String::new();
        self.digits(&mut digits);
        let in_brackets = self.depth() > 0;
        let three = |from: usize| {
            (0..3).all(|i| self.text.get(from + i).is_some_and(char::is_ascii_digit))
                && !self.text.get(from + 3).is_some_and(char::is_ascii_digit)
        };
        let mut groups = Vec::new();
        let mut at = self.at;
        if (1..=3).contains(&digits.len()) {
            loop {
                let rest: String = self.text[at..].iter().take(5).collect();
                let width = if rest.starts_with("{,}") {
                    3
                } else if rest.starts_with("\\,") {
                    2
                } else if rest.starts_with(",\\!") {
                    3 + rest.chars().skip(3).take_while(|c| *c == ' ').count()
                } else if rest.starts_with(',') && !in_brackets && !digits.starts_with('0') {
                    1
                } else {
                    break;
                };
                if !three(at + width) {
                    break;
                }
                groups.push(at + width);
                at += width + 3;
            }
        }
        for from in groups {
            digits.extend(&self.text[from..from + 3]);
            self.at = from + 3;
        }
        if self.peek(0) == Some('.') && self.peek(1).is_some_and(|d| d.is_ascii_digit()) {
            digits.push('.');
            self.at += 1;
            self.digits(&mut digits);
        }
        if digits.starts_with('.') {
            digits.insert(0, '0');
        }
        if self.peek(0) == Some('.') && self.text[self.at + 1..].starts_with(&['\\', 'o', 'v']) {
            digits.push('.');
            self.at += 1;
        }
        if !self.repeating(&digits) {
            self.tokens.push(Token::Number(digits));
        }
    }

    /// Reads the rest of a repeating decimal whose first digits are `digits`, such as `0.1\overline{6}`, and adds it as
    /// a fraction. Returns false if no `\overline` follows.
    fn repeating(&mut self, digits: &str) -> bool {
        let rest: String = self.text[self.at..].iter().take(30).collect();
        let Some(period) = rest.strip_prefix("\\overline{").and_then(|r| r.split_once('}')).map(|(p, _)| p) else {
            return false;
        };
        let Some((whole, decimals)) = digits.split_once('.') else { return false };
        let number = |text: &str| text.parse::<u64>().ok();
        if period.len() + digits.len() > 16 || !period.chars().all(|c| c.is_ascii_digit()) {
            return false;
        }
        let short = number(&format!("{whole}{decimals}"));
        let long = number(&format!("{whole}{decimals}{period}"));
        let below = format!("{}{}", "9".repeat(period.len()), "0".repeat(decimals.len()));
        let (Some(short), Some(long)) = (short, long) else { return false };
        self.at += "\\overline{}".len() + period.len();
        let parts =
            [Token::Mark('('), Token::Number((long - short).to_string()), Token::Mark('/'), Token::Number(below)];
        self.tokens.extend(parts);
        self.tokens.push(Token::Mark(')'));
        true
    }

    /// Appends the digits that follow in the text to `into`, and moves past them.
    fn digits(&mut self, into: &mut String) {
        while let Some(d) = self.peek(0).filter(char::is_ascii_digit) {
            into.push(d);
            self.at += 1;
        }
    }
}
