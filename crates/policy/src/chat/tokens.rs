//! The tokens of a tag or an expression of a template.

/// The kind of a lexical token of a template's code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Space,
    Name,
    Number,
    /// A text in quotes.
    Text,
    /// An opening bracket.
    Open,
    /// A closing bracket.
    Close,
    Operator,
}

/// A lexical token of a template's code, as a range of bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Token {
    pub kind: Kind,
    pub start: usize,
    pub end: usize,
}

/// Splits the code of a tag or an expression into lexical tokens, which together cover all of it.
pub(super) fn tokens(code: &str) -> Vec<Token> {
    let (mut tokens, mut at) = (Vec::new(), 0);
    while let Some(first) = code[at..].chars().next() {
        let rest = &code[at..];
        let run = |is_part: fn(char) -> bool| rest.find(|c: char| !is_part(c)).unwrap_or(rest.len());
        let (kind, length) = match first {
            c if c.is_whitespace() => (Kind::Space, run(char::is_whitespace)),
            c if c.is_alphabetic() || c == '_' => (Kind::Name, run(|c| c.is_alphanumeric() || c == '_')),
            c if c.is_ascii_digit() => (Kind::Number, number(rest)),
            '"' | '\'' => (Kind::Text, quoted(rest, first)),
            '(' | '[' | '{' => (Kind::Open, 1),
            ')' | ']' | '}' => (Kind::Close, 1),
            c => {
                let is_double = ["**", "//", "==", "!=", "<=", ">="].iter().any(|operator| rest.starts_with(operator));
                (Kind::Operator, if is_double { 2 } else { c.len_utf8() })
            }
        };
        tokens.push(Token { kind, start: at, end: at + length });
        at += length;
    }
    tokens
}

fn number(rest: &str) -> usize {
    let end =
        |from: usize| from + rest[from..].find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len() - from);
    let whole = end(0);
    let has_fraction = rest[whole..].starts_with('.') && rest[whole + 1..].starts_with(|c: char| c.is_ascii_digit());
    let length = if has_fraction { end(whole + 1) } else { whole };
    let is_hex = rest.starts_with("0x") || rest.starts_with("0X");
    match rest[length..].chars().next() {
        Some('-' | '+') if !is_hex && rest[..length].ends_with(['e', 'E']) => end(length + 1),
        _ => length,
    }
}

fn quoted(rest: &str, quote: char) -> usize {
    let mut is_escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        if !is_escaped && c == quote {
            return at + 1;
        }
        is_escaped = !is_escaped && c == '\\';
    }
    rest.len()
}
