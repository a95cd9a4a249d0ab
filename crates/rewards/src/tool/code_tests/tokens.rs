//! The tokens of Python source, read without running or fully parsing it.
//!
//! A reply's program is untrusted and may be broken, so its tokens are read here, in Rust, and never by a parser that it
//! could crash or slow down.

/// The kind of a token of Python source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenKind {
    /// A name or a keyword.
    Name,
    /// A number.
    Number,
    /// A string literal, with its prefix and quotes.
    Text,
    /// An operator or a bracket.
    Operator,
    /// Something that no Python source contains, such as a string that its line does not close.
    Broken,
}

/// A token of Python source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token<'s> {
    pub kind: TokenKind,
    pub text: &'s str,
    /// Byte offset of the token in the source.
    pub start: usize,
    /// Number of brackets that are open around the token.
    pub depth: usize,
    /// Indentation of the token's line, if the token is the first of a logical line; `None` for all other tokens.
    pub column: Option<usize>,
}

impl<'s> Token<'s> {
    /// Byte offset of the token's end in the source.
    pub fn end(&self) -> usize {
        self.start + self.text.len()
    }

    /// Whether the token is this operator or keyword.
    pub fn is(&self, text: &str) -> bool {
        self.kind != TokenKind::Text && self.text == text
    }

    /// The token's name, if it is a name and no keyword.
    pub fn name(&self) -> Option<&'s str> {
        (self.kind == TokenKind::Name && !is_keyword(self.text)).then_some(self.text)
    }
}

/// Python's keywords, which are no names.
const KEYWORDS: &str = " False None True and as assert async await break class continue def del elif else except finally \
                        for from global if import in is lambda nonlocal not or pass raise return try while with yield ";

/// Whether a word is a keyword of Python.
pub fn is_keyword(word: &str) -> bool {
    KEYWORDS.contains(&format!(" {word} "))
}

/// Python source as tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tokens<'s> {
    pub all: Vec<Token<'s>>,
    /// Whether the source ends within a string of three quotes.
    pub ends_in_text: bool,
}

impl<'s> Tokens<'s> {
    /// The logical lines: each begins with a token that has a column.
    pub fn lines(&self) -> impl Iterator<Item = &[Token<'s>]> {
        self.all.chunk_by(|_, next| next.column.is_none())
    }
}

/// Reads the tokens of Python source.
pub fn tokens(source: &str) -> Tokens<'_> {
    let mut lexer = Lexer { source, at: 0, depth: 0, column: Some(0), tokens: Vec::new(), ends_in_text: false };
    while lexer.step() {}
    Tokens { all: lexer.tokens, ends_in_text: lexer.ends_in_text }
}

struct Lexer<'s> {
    source: &'s str,
    /// Byte offset of the next character to read.
    at: usize,
    /// Number of open brackets.
    depth: usize,
    /// The indentation of a logical line as far as it has been read; `None` once the line's first token has been read.
    column: Option<usize>,
    tokens: Vec<Token<'s>>,
    ends_in_text: bool,
}

impl Lexer<'_> {
    /// Reads the next token, or skips white space or a comment. Returns false at the end of the source.
    fn step(&mut self) -> bool {
        let rest = &self.source[self.at..];
        let Some(c) = rest.chars().next() else { return false };
        match c {
            '\n' => {
                self.at += 1;
                if self.depth == 0 {
                    self.column = Some(0);
                }
            }
            ' ' | '\t' | '\x0c' | '\r' => {
                self.at += 1;
                // A tab moves to the next column that is a multiple of eight.
                self.column = self.column.map(|n| if c == '\t' { n / 8 * 8 + 8 } else { n + 1 });
            }
            '#' => self.at += rest.find('\n').unwrap_or(rest.len()),
            '\\' if rest[1..].starts_with('\n') => self.at += 2,
            _ if c.is_alphabetic() || c == '_' => {
                let word = rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
                let is_prefix = word <= 2 && rest[..word].bytes().all(|b| b"rRbBuUfFtT".contains(&b));
                match rest[word..].chars().next() {
                    Some('"' | '\'') if is_prefix => self.text(word),
                    _ => self.push(TokenKind::Name, word),
                }
            }
            '"' | '\'' => self.text(0),
            _ if c.is_ascii_digit() || (c == '.' && rest[1..].starts_with(|d: char| d.is_ascii_digit())) => {
                self.push(TokenKind::Number, number_length(rest));
            }
            '(' | '[' | '{' => {
                self.push(TokenKind::Operator, 1);
                self.depth += 1;
            }
            ')' | ']' | '}' => {
                self.depth = self.depth.saturating_sub(1);
                self.push(TokenKind::Operator, 1);
            }
            '$' | '?' | '`' | '\\' => self.push(TokenKind::Broken, 1),
            '!' if !rest[1..].starts_with('=') => self.push(TokenKind::Broken, 1),
            _ if c.is_ascii() => {
                let two = rest[1..].starts_with('=') && "=<>!+-*/%&|^@:".contains(c) || rest.starts_with("->");
                self.push(TokenKind::Operator, if two { 2 } else { 1 });
            }
            _ => self.push(TokenKind::Broken, c.len_utf8()),
        }
        true
    }

    fn push(&mut self, kind: TokenKind, length: usize) {
        let text = &self.source[self.at..self.at + length];
        self.tokens.push(Token { kind, text, start: self.at, depth: self.depth, column: self.column.take() });
        self.at += length;
    }

    /// Reads a string literal whose prefix, such as `f` or `rb`, is `prefix` bytes long.
    fn text(&mut self, prefix: usize) {
        let rest = &self.source[self.at + prefix..];
        let quote = &rest[..1];
        let long = quote.repeat(3);
        let is_long = rest.starts_with(&long);
        let closing = if is_long { &long } else { quote };
        let mut at = closing.len();
        loop {
            let Some(c) = rest[at..].chars().next() else {
                self.ends_in_text = is_long;
                return self.push(if is_long { TokenKind::Text } else { TokenKind::Broken }, prefix + rest.len());
            };
            if rest[at..].starts_with(closing) {
                return self.push(TokenKind::Text, prefix + at + closing.len());
            }
            if c == '\n' && !is_long {
                return self.push(TokenKind::Broken, prefix + at);
            }
            at += c.len_utf8();
            if c == '\\' {
                at += rest[at..].chars().next().map_or(0, char::len_utf8);
            }
        }
    }
}

/// Length of the number that a text begins with.
fn number_length(text: &str) -> usize {
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let is_sign = matches!(bytes[at], b'+' | b'-')
            && matches!(bytes[at - 1], b'e' | b'E')
            && !text.starts_with("0x")
            && bytes.get(at + 1).is_some_and(u8::is_ascii_digit);
        if !(bytes[at].is_ascii_hexdigit() || b".xXoOjJ_".contains(&bytes[at]) || is_sign) {
            break;
        }
        at += 1;
    }
    at
}
