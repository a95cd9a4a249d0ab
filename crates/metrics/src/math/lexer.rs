//! The lexer: splits LaTeX, or the plain text that people write instead, into tokens.

use super::commands::{LAYOUT, STYLES, TEXTS, UNITS, UPRIGHT, WORDS, is_known};

/// A token: the smallest piece of a formula.
#[derive(Clone, Debug, PartialEq)]
pub enum Token {
    /// A number without a sign: digits with at most one decimal point.
    Number(String),
    /// A single letter, which stands for a symbol.
    Letter(char),
    /// The name of a command without its backslash, such as `sqrt`. A plain word such as `sqrt` gives the same token.
    Command(String),
    /// An operator, bracket or separator of one character.
    Mark(char),
    /// The content of `\text{…}`, or a unit of measurement.
    Text(String),
    /// The start of the environment with this name (`\begin{…}`).
    Begin(String),
    /// The end of the environment with this name (`\end{…}`).
    End(String),
    /// The end of a row of an environment (`\\`).
    Row,
}

pub(super) struct Lexer<'a> {
    pub(super) text: &'a [char],
    /// The index of the next character to read.
    pub(super) at: usize,
    pub(super) tokens: Vec<Token>,
    /// Whether the text contains `\begin`, and so an environment in which `\\` ends a row.
    has_rows: bool,
    /// How deep the text is nested in commands such as `\text{…}`: 0 for a whole formula, 1 for the content of a
    /// `\text{…}` in it.
    pub(super) texts: u8,
    /// Whether `2e-3` is read as a power of ten (0.002) or with Euler's number (2e − 3).
    pub(super) exponents: Exponents,
}

/// How a whole number with `e` and a signed number behind it, such as `2e-3`, is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exponents {
    /// `2e-3` is a number with a power of ten: 0.002.
    OfTen,
    /// `2e-3` is a difference with Euler's number: 2e − 3. In the same way, `2e+3` is a sum.
    Euler,
}

/// Splits a formula into tokens.
pub fn tokens(text: &str, exponents: Exponents) -> Vec<Token> {
    split(text, 0, exponents)
}

/// Splits the content of a command such as `\text{…}` into tokens. `texts` says how many of these commands are nested
/// around the content.
pub(super) fn tokens_within(text: &str, texts: u8) -> Vec<Token> {
    split(text, texts, Exponents::OfTen)
}

fn split(text: &str, texts: u8, exponents: Exponents) -> Vec<Token> {
    let chars: Vec<char> = text.chars().collect();
    let has_rows = text.contains("\\begin");
    let mut lexer = Lexer { text: &chars, at: 0, tokens: Vec::new(), has_rows, texts, exponents };
    while lexer.at < chars.len() {
        lexer.next();
    }
    lexer.tokens
}

impl Lexer<'_> {
    /// The character `ahead` positions after the next character to read, without moving; `None` after the end.
    pub(super) fn peek(&self, ahead: usize) -> Option<char> {
        self.text.get(self.at + ahead).copied()
    }

    /// Whether the text that remains starts with `word`.
    fn starts(&self, word: &str) -> bool {
        word.chars().enumerate().all(|(i, c)| self.peek(i) == Some(c))
    }

    /// Adds the mark `c` as a token, which stands for the next `width` characters of the text, and moves past them.
    pub(super) fn mark(&mut self, c: char, width: usize) {
        self.tokens.push(Token::Mark(c));
        self.at += width;
    }

    /// Adds the command `name` as a token, which stands for the next `width` characters of the text, and moves past
    /// them.
    pub(super) fn command(&mut self, name: &str, width: usize) {
        self.tokens.push(Token::Command(name.to_owned()));
        self.at += width;
    }

    /// Reads the next token, or skips a character that has no meaning.
    fn next(&mut self) {
        let Some(c) = self.peek(0) else { return };
        match c {
            '\\' => self.backslash(),
            _ if c.is_ascii_digit() => self.number(),
            '.' if self.peek(1).is_some_and(|d| d.is_ascii_digit()) => self.number(),
            '<' | '>' | '!' if self.peek(1) == Some('=') => {
                let name = match c {
                    '<' => "le",
                    '>' => "ge",
                    _ => "ne",
                };
                self.command(name, 2);
            }
            '*' if self.peek(1) == Some('*') => self.mark('^', 2),
            '+' if self.peek(1) == Some('-') => self.command("pm", 2),
            '≤' | '⩽' => self.command("le", 1),
            '≥' | '⩾' => self.command("ge", 1),
            '≠' => self.command("ne", 1),
            '≈' => self.command("approx", 1),
            '∈' => self.command("in", 1),
            '∪' => self.command("cup", 1),
            '∩' => self.command("cap", 1),
            '∞' => self.command("infty", 1),
            '±' => self.command("pm", 1),
            '∓' => self.command("mp", 1),
            '√' => self.command("sqrt", 1),
            'π' => self.command("pi", 1),
            '×' | '·' | '∙' | '⋅' => self.mark('*', 1),
            '÷' => self.mark('/', 1),
            '−' | '–' => self.mark('-', 1),
            '°' => {
                self.at += 1;
                self.degree_sign();
            }
            '\u{ac}'.. if c.is_alphabetic() => {
                self.tokens.push(Token::Letter(c));
                self.at += 1;
            }
            _ if c.is_ascii_alphabetic() => self.letters(),
            '+' | '-' | '*' | '/' | '^' | '_' | '(' | ')' | '[' | ']' | '{' | '}' | '|' | '=' | '<' | '>' | ','
            | ';' | ':' | '!' | '%' | '&' | '\'' => self.mark(c, 1),
            // Spaces, currency signs, full stops and all other characters have no meaning here.
            _ => self.at += 1,
        }
    }

    /// The number of brackets that are open after the tokens so far.
    pub(super) fn depth(&self) -> usize {
        let open = self.tokens.iter().filter(|t| matches!(t, Token::Mark('(' | '[' | '{')) || is(t, "{")).count();
        let closed = self.tokens.iter().filter(|t| matches!(t, Token::Mark(')' | ']' | '}')) || is(t, "}")).count();
        open.saturating_sub(closed)
    }

    /// Reads what begins with a letter: a known word, a unit, or else a single letter as a symbol.
    fn letters(&mut self) {
        for (word, command) in WORDS {
            // Known words are recognised only as whole words; `and` and `or` without spaces are recognised below.
            let ends = |l: &Self| !l.peek(word.len()).is_some_and(|c| c.is_ascii_alphabetic());
            let begins = |l: &Self| l.at == 0 || !l.text[l.at - 1].is_ascii_alphabetic();
            if self.starts(word) && ends(self) && begins(self) {
                match *command {
                    "%" => self.mark('%', word.len()),
                    name => self.command(name, word.len()),
                }
                return;
            }
        }
        let run: String = self.text[self.at..].iter().take_while(|c| c.is_ascii_alphabetic()).collect();
        // After a number, a word is a unit or the name of what is counted, such as `apples`.
        let after_number = matches!(self.tokens.last(), Some(Token::Number(_)));
        if after_number && (run.len() > 3 || UNITS.contains(&run.as_str())) {
            self.at += run.len();
            self.tokens.push(Token::Text(run));
            return;
        }
        // `11or7` and `)or(` contain two answers.
        if run == "or" || run == "and" {
            self.command(&run.clone(), run.len());
            return;
        }
        // `1.5 x 10^3` is a number with a power of ten.
        if matches!(run.as_str(), "x" | "X") && after_number {
            let rest: String = self.text[self.at + 1..].iter().take(6).collect();
            if rest.trim_start().starts_with("10^") {
                self.mark('*', 1);
                return;
            }
        }
        if let Some(c) = self.peek(0) {
            self.tokens.push(Token::Letter(c));
            self.at += 1;
        }
    }

    /// Reads what begins with a backslash: a command or an escaped character.
    fn backslash(&mut self) {
        let Some(next) = self.peek(1) else {
            self.at += 1;
            return;
        };
        if next == '\\' {
            let name: String = self.text[self.at + 2..].iter().take_while(|c| c.is_ascii_alphabetic()).collect();
            if !self.has_rows && is_known(&name) {
                // The backslash is doubled by mistake: skip the first one.
                self.at += 1;
                return;
            }
            self.tokens.push(Token::Row);
            self.at += 2;
            return;
        }
        if !next.is_ascii_alphabetic() {
            match next {
                '{' | '}' | '|' => self.command(&next.to_string(), 2),
                '%' => self.mark('%', 2),
                // Escaped spaces, currency signs and brackets are skipped.
                _ => self.at += 2,
            }
            return;
        }
        let name: String = self.text[self.at + 1..].iter().take_while(|c| c.is_ascii_alphabetic()).collect();
        self.at += 1 + name.len();
        let name = name.as_str();
        if matches!(name, "circ" | "degree" | "degrees") {
            self.degrees(name);
        } else if name == "colon" {
            self.mark(':', 0);
        } else if LAYOUT.contains(&name)
            || (UPRIGHT.contains(&name) && self.upright(name))
            || (matches!(name, "mathbb" | "Bbb") && self.set_of_numbers())
        {
            // Layout has no meaning; the others are read.
        } else if TEXTS.contains(&name) {
            let text = self.braced();
            self.text(&text);
        } else if STYLES.contains(&name) {
            // Only the command is skipped. Its argument is read next, as a group in braces.
        } else if name == "begin" || name == "end" {
            let environment = self.braced();
            if environment == "array" && name == "begin" {
                self.braced();
            }
            self.tokens.push(if name == "begin" { Token::Begin(environment) } else { Token::End(environment) });
        } else {
            self.command(name, 0);
        }
    }

    /// Reads the content of the braces that follow, or a single character if no brace follows.
    pub(super) fn braced(&mut self) -> String {
        while self.peek(0) == Some(' ') {
            self.at += 1;
        }
        if self.peek(0) != Some('{') {
            let Some(c) = self.peek(0) else { return String::new() };
            self.at += 1;
            return c.to_string();
        }
        let (mut depth, start) = (0, self.at + 1);
        while let Some(c) = self.peek(0) {
            self.at += 1;
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                return self.text[start..self.at - 1].iter().collect();
            }
        }
        self.text[start.min(self.text.len())..].iter().collect()
    }
}

/// Whether a token is the command with this name, given without its backslash.
pub fn is(token: &Token, name: &str) -> bool {
    matches!(token, Token::Command(n) if n == name)
}
