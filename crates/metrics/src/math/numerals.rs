//! Reads the numbers of a formula: groups of three digits, decimals and repeating decimals.

use super::lexer::{Exponents, Lexer, Token};

impl Lexer<'_> {
    /// Reads a number with its decimals and its power of ten. Groups of three digits may be separated by a space of any
    /// width or by `{,}`, and outside of brackets by commas.
    pub(super) fn number(&mut self) {
        let mut digits = String::new();
        self.digits(&mut digits);
        if (1..=3).contains(&digits.len()) {
            let commas = !digits.starts_with('0') && self.peek(0) == Some(',') && self.depth() == 0;
            self.groups(&mut digits, commas);
        }
        if self.peek(0) == Some('.') && self.peek(1).is_some_and(|d| d.is_ascii_digit()) {
            digits.push('.');
            self.at += 1;
            let before = digits.len();
            self.digits(&mut digits);
            if digits.len() == before + 3 && matches!(self.peek(0), Some('\\' | '{')) {
                self.groups(&mut digits, false);
            }
        }
        if digits.starts_with('.') {
            digits.insert(0, '0');
        }
        if self.peek(0) == Some('.') && self.text[self.at + 1..].starts_with(&['\\', 'o', 'v']) {
            digits.push('.');
            self.at += 1;
        }
        if !self.repeating(&digits) && !self.power_of_ten(&digits) {
            self.tokens.push(Token::Number(digits));
        }
    }

    /// Reads groups of three digits with separators before them, and appends their digits. `commas` says whether bare
    /// commas separate groups.
    fn groups(&mut self, digits: &mut String, commas: bool) {
        const SEPARATORS: &[&str] =
            &["{,}", "\\,", "\\;", "\\:", "\\ ", "~", "{\\,}", "{ }", "\\thinspace ", "\\space ", " ", ","];
        // In `\log_2 128` and `2^3 125`, the space does not separate groups.
        let follows = self.tokens.last();
        let spaces = !matches!(follows, Some(Token::Mark('^' | '_') | Token::Command(_))) && !digits.starts_with('0');
        let starts = |at: usize, word: &str| word.chars().enumerate().all(|(i, c)| self.text.get(at + i) == Some(&c));
        let digit = |at: usize| self.text.get(at).is_some_and(char::is_ascii_digit);
        let three = |at: usize| (0..3).all(|i| digit(at + i)) && !digit(at + 3);
        let mut at = self.at;
        let mut groups = Vec::new();
        let mut used = None;
        while matches!(self.text.get(at), Some('{' | '\\' | '~' | ' ' | ',')) {
            let width = if starts(at, ",\\!") {
                3 + self.text[at + 3..].iter().take_while(|c| **c == ' ').count()
            } else {
                let Some(separator) = SEPARATORS.iter().find(|s| starts(at, s)) else { break };
                let is_allowed = match *separator {
                    "," => commas,
                    "{,}" | "\\," => true,
                    _ => spaces && used.is_none_or(|u| u == *separator),
                };
                if !is_allowed {
                    break;
                }
                used = Some(*separator);
                separator.len()
            };
            if !three(at + width) {
                break;
            }
            groups.push(at + width);
            at += width + 3;
        }
        // `2 125/200` is a mixed number.
        if matches!(used, Some(s) if !s.contains(',')) && self.text.get(at) == Some(&'/') {
            return;
        }
        for from in groups {
            digits.extend(&self.text[from..from + 3]);
            self.at = from + 3;
        }
    }

    /// Reads the power of ten after the digits of a number, as in `1.5e3`, and adds the number as a product. Returns
    /// false if no power of ten follows.
    fn power_of_ten(&mut self, digits: &str) -> bool {
        let Some(e) = self.peek(0).filter(|c| matches!(c, 'e' | 'E')) else { return false };
        let sign = self.peek(1).filter(|c| matches!(c, '+' | '-'));
        let start = self.at + 1 + usize::from(sign.is_some());
        let power: String = self.text[start..].iter().take_while(|c| c.is_ascii_digit()).take(8).collect();
        let after = self.text.get(start + power.len()).copied().unwrap_or(' ');
        if !(1..=6).contains(&power.len()) || after.is_ascii_alphanumeric() || matches!(after, '^' | '_' | '(' | '!') {
            return false;
        }
        let is_difference =
            sign.is_some() && e == 'e' && digits != "1" && !digits.contains('.') && !power.starts_with('0');
        if is_difference && self.exponents == Exponents::Euler {
            return false;
        }
        self.at = start + power.len();
        self.tokens.extend([Token::Mark('('), Token::Number(digits.to_owned()), Token::Mark('*')]);
        self.tokens.extend([Token::Number("10".into()), Token::Mark('^'), Token::Mark('{')]);
        if sign == Some('-') {
            self.tokens.push(Token::Mark('-'));
        }
        self.tokens.extend([Token::Number(power), Token::Mark('}'), Token::Mark(')')]);
        true
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
