//! Reads upright words within formulas: texts, units of measurement, degrees and names of sets.

use super::commands::{UNITS, UPRIGHT_UNITS, WORDS};
use super::lexer::{Lexer, Token, tokens_within};

/// Maximum number of bytes in an upright word, such as the content of `\mathrm{…}`.
const MAX_WORD: usize = 60;
/// Maximum number of commands such as `\text{…}` within each other whose contents are read as formulas.
const MAX_TEXTS: u8 = 3;

impl Lexer<'_> {
    /// Adds the token for the content of `\text{…}`: a conjunction, a percent sign, a symbol, a number with or without
    /// its unit, or another text.
    pub(super) fn text(&mut self, text: &str) {
        let inner = text.trim().trim_matches([',', '.', '~']).trim();
        match inner.to_lowercase().as_str() {
            "" => {}
            "and" | "or" | "y" | "et" => self.command("and", 0),
            "percent" | "%" | "\\%" | "pct" => self.mark('%', 0),
            "e" | "i" | "π" if inner.len() == 1 => {
                self.tokens.push(Token::Letter(inner.chars().next().unwrap_or('e')));
            }
            _ => match self.number_in_text(inner) {
                Some(tokens) => self.tokens.extend(tokens),
                None => self.tokens.push(Token::Text(inner.to_owned())),
            },
        }
    }

    /// The tokens of a text that is a number or numbers, such as `13`, or one number with its unit, such as
    /// `18 dollars`. `None` for other texts.
    fn number_in_text(&self, text: &str) -> Option<Vec<Token>> {
        if self.texts >= MAX_TEXTS || !text.contains(|c: char| c.is_ascii_digit()) {
            return None;
        }
        let text = text.trim_matches('$');
        let words = text.split(|c: char| !(c.is_alphabetic() || c == '\\'));
        if words.filter(|w| !w.is_empty()).all(|w| w.starts_with('\\') || matches!(w, "and" | "or")) {
            return Some(tokens_within(text, self.texts + 1));
        }
        let unit = text.find(char::is_alphabetic)?;
        let (number, unit) = text.split_at(unit);
        let word: String = unit.chars().take_while(|c| c.is_alphabetic()).collect();
        let is_apart = number.ends_with(char::is_whitespace) || UNITS.contains(&word.as_str());
        let is_number = number.contains(|c: char| c.is_ascii_digit()) && !number.contains('\\');
        let is_unit =
            is_apart && is_number && !unit.trim_end_matches(['2', '3']).contains(|c: char| c.is_ascii_digit());
        is_unit.then(|| {
            let mut tokens = tokens_within(number, self.texts + 1);
            tokens.push(Token::Text(unit.to_owned()));
            tokens
        })
    }

    /// Reads the upright word after a command such as `\mathrm`: the name of a function or a conjunction, or behind a
    /// quantity a unit. Returns false, without moving, for any other argument, such as the `e` of `\mathrm{e}^x`.
    pub(super) fn upright(&mut self, name: &str) -> bool {
        let spaces = self.text[self.at..].iter().take_while(|c| **c == ' ').count();
        let open = self.at + spaces;
        // `{\rm cm}` ends with the group around it.
        let (start, closes) = match self.text.get(open) {
            Some('{') => (open + 1, 1),
            _ if name == "rm" => (open, 0),
            _ => return false,
        };
        let mut depth = 0i32;
        let length = self.text[start..].iter().take(MAX_WORD).position(|c| {
            depth += i32::from(*c == '{') - i32::from(*c == '}');
            depth < 0
        });
        let Some(length) = length else { return false };
        let end = start + length + closes;
        let content: String = self.text[start..start + length].iter().collect();
        let mut word = content.as_str();
        while let Some(rest) = ["~", " ", "\\,", "\\;", "\\:", "\\ "].iter().find_map(|s| word.strip_prefix(s)) {
            word = rest;
        }
        let word = word.trim_end();
        if matches!(word, "and" | "or") {
            self.at = end;
            self.command("and", 0);
            return true;
        }
        if matches!(word, "%" | "\\%") {
            self.at = end;
            self.mark('%', 0);
            return true;
        }
        if let Some((_, command)) = WORDS.iter().find(|(known, _)| *known == word) {
            self.at = end;
            if *command == "%" {
                self.mark('%', 0);
            } else {
                self.command(command, 0);
            }
            return true;
        }
        let is_applied = self.text.get(end) == Some(&'(');
        if is_applied
            || !is_unit(word, self.is_spaced(name, &content))
            || !self.follows_quantity(word.len() == 1, closes == 0)
        {
            return false;
        }
        self.at = end;
        self.tokens.push(Token::Text(word.to_owned()));
        true
    }

    /// Whether a command for space stands before the command `name` or at the beginning of its argument. Behind such
    /// space, single letters are units.
    fn is_spaced(&self, name: &str, argument: &str) -> bool {
        const SPACES: [&str; 5] = ["\\,", "\\;", "\\:", "\\ ", "~"];
        let before: String = self.text[..self.at.saturating_sub(name.len() + 1)].iter().rev().take(3).collect();
        let before: String = before.trim_start().chars().rev().collect();
        SPACES.iter().any(|space| before.ends_with(space) || argument.starts_with(space))
            || self.tokens.last().is_some_and(|t| matches!(t, Token::Text(_)))
    }

    /// Whether the last token ends a quantity, behind which a unit can stand. `numbers_only` says that the quantity must
    /// not end in a letter, `in_group` that the unit stands in a group of its own.
    fn follows_quantity(&self, numbers_only: bool, in_group: bool) -> bool {
        let tokens = match &self.tokens[..] {
            [before @ .., Token::Mark('{')] if in_group => before,
            all => all,
        };
        match tokens {
            [.., Token::Number(_) | Token::Text(_) | Token::Mark(')' | '}' | '°')]
            | [.., Token::Text(_), Token::Mark('*' | '/')] => true,
            [.., Token::Text(_), Token::Command(c)] => matches!(c.as_str(), "cdot" | "times"),
            [.., Token::Command(c)] => c == "pi",
            [.., Token::Letter(_)] => !numbers_only,
            _ => false,
        }
    }

    /// Reads what follows a degree command: adds a degree sign, or a unit for degrees of temperature. The `^` before
    /// the command is removed: the one of `^\circ` or `^{\circ}`.
    pub(super) fn degrees(&mut self, name: &str) {
        let is_raised = match &self.tokens[..] {
            [.., Token::Mark('^')] => {
                self.tokens.pop();
                true
            }
            [.., Token::Mark('^'), Token::Mark('{')] if self.peek(0) == Some('}') => {
                self.tokens.truncate(self.tokens.len() - 2);
                self.at += 1;
                true
            }
            _ => false,
        };
        // In `f \circ g` the command is the sign of a composition, which is skipped.
        if name != "circ" || is_raised || matches!(self.tokens.last(), Some(Token::Number(_))) {
            self.degree_sign();
        }
    }

    /// Adds a degree sign, or a unit if the letter of a temperature scale follows.
    pub(super) fn degree_sign(&mut self) {
        let rest: String = self.text[self.at..].iter().take(16).collect();
        for before in ["", " ", "\\,", "\\ ", "\\text{", "\\text{ ", "\\mathrm{", "\\,\\text{", "\\,\\mathrm{"] {
            let Some(scale) = rest.strip_prefix(before) else { continue };
            let close = if before.contains('{') { "}" } else { "" };
            let Some(after) = scale.strip_prefix(['C', 'F']).and_then(|s| s.strip_prefix(close)) else { continue };
            if !after.starts_with(|c: char| c.is_ascii_alphanumeric()) {
                self.at += before.len() + 1 + close.len();
                self.tokens.push(Token::Text("°".into()));
                return;
            }
        }
        self.mark('°', 0);
    }

    /// Reads the letter after `\mathbb`, if it names a set of numbers: `\mathbb{R}` becomes the command `R`. Returns
    /// false, without moving, for other letters.
    pub(super) fn set_of_numbers(&mut self) -> bool {
        let rest: String = self.text[self.at..].iter().take(6).filter(|c| **c != ' ').collect();
        let (inner, close) = rest.strip_prefix('{').map_or((rest.as_str(), false), |inner| (inner, true));
        let Some(letter) = inner.chars().next().filter(|c| matches!(c, 'R' | 'Z' | 'Q' | 'N' | 'C')) else {
            return false;
        };
        if close && !inner[1..].starts_with('}') {
            return false;
        }
        while self.peek(0).is_some_and(|c| c != letter) {
            self.at += 1;
        }
        self.at += 1;
        while close && self.peek(0).is_some_and(|c| c == ' ' || c == '}') {
            self.at += 1;
            if self.text[self.at - 1] == '}' {
                break;
            }
        }
        self.command(&letter.to_string(), 0);
        true
    }
}

/// Whether an upright word is a unit of measurement, such as `cm`, `km/h` or `square meters`. `spaced` says that there is
/// space before it, so that single letters such as `V` are units too.
fn is_unit(word: &str, spaced: bool) -> bool {
    let mut parts = word.split(|c: char| !c.is_alphabetic()).filter(|p| !p.is_empty()).peekable();
    let known = |p: &str| {
        UNITS.contains(&p)
            || UPRIGHT_UNITS.contains(&p)
            || (spaced && matches!(p, "A" | "C" | "F" | "K" | "T" | "V"))
            || (p.len() > 3 && p.chars().all(|c| c.is_ascii_lowercase()))
    };
    let separates = |c: char| !c.is_alphabetic();
    parts.peek().is_some()
        && parts.all(|p| known(p) || matches!(p, "cdot" | "per" | "sq" | "cu"))
        && word.chars().filter(|c| separates(*c)).all(|c| " ~/^{}\\,;-.·*123".contains(c))
}
