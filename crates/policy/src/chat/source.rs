//! Rewrites of a template's source, for what Jinja has and `minijinja` has not: `{% generation %}` blocks, the operator
//! `%` on texts, and the `varargs` of macros.

use super::tokens::{Kind, Token, tokens};

/// Largest number of positional arguments that a macro can get beyond those that it names.
const MOST_VARARGS: usize = 16;

/// Largest number of operators `%` in one tag or expression that may format a text; further ones compute remainders.
const MOST_OPERATORS: usize = 64;

/// A part of a template's source text.
enum Part<'s> {
    /// A part that is not rewritten: plain text, a comment, or the contents of a `{% raw %}` block.
    Text(&'s str),
    /// A tag or an expression, with its delimiters.
    Code(&'s str),
}

/// Rewrites the source of a Jinja template so that `minijinja` can render it.
pub(super) fn rewritten(source: &str) -> String {
    let parts = parts(source);
    let mut out = String::with_capacity(source.len());
    for (i, part) in parts.iter().enumerate() {
        match part {
            Part::Text(text) => out.push_str(text),
            Part::Code(code) => {
                let code = without_percent(code);
                match word(&code) {
                    "generation" => out.push_str(&code.replace("generation", "filter rlar_generation")),
                    "endgeneration" => out.push_str(&code.replace("endgeneration", "endfilter")),
                    "macro" if uses_varargs(&parts[i + 1..]) => out.push_str(&with_varargs(&code)),
                    _ => out.push_str(&code),
                }
            }
        }
    }
    out
}

/// The first word of a tag, such as `macro`; empty for expressions.
fn word(code: &str) -> &str {
    let Some(inner) = code.strip_prefix("{%") else { return "" };
    let inner = inner.trim_start_matches(['-', '+']).trim_start();
    &inner[..inner.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(inner.len())]
}

fn parts(source: &str) -> Vec<Part<'_>> {
    let (mut parts, mut rest) = (Vec::new(), source);
    while let Some(start) = rest.find("{{").into_iter().chain(rest.find("{%")).chain(rest.find("{#")).min() {
        let (text, code) = rest.split_at(start);
        parts.push(Part::Text(text));
        if code.starts_with("{#") {
            let end = code.find("#}").map_or(code.len(), |n| n + 2);
            parts.push(Part::Text(&code[..end]));
            rest = &code[end..];
            continue;
        }
        let Some(end) = code_end(code) else {
            rest = code;
            break;
        };
        parts.push(Part::Code(&code[..end]));
        rest = &code[end..];
        if word(&code[..end]) == "raw" {
            let mut at = 0;
            while let Some(n) = rest[at..].find("{%")
                && word(&rest[at + n..]) != "endraw"
            {
                at += n + 2;
            }
            let end = rest[at..].find("{%").map_or(rest.len(), |n| at + n);
            parts.push(Part::Text(&rest[..end]));
            rest = &rest[end..];
        }
    }
    parts.push(Part::Text(rest));
    parts
}

/// The byte after the closing delimiter of the tag or expression with which `code` begins; `None` where it is not
/// closed.
fn code_end(code: &str) -> Option<usize> {
    let close = if code.starts_with("{%") { "%}" } else { "}}" };
    let mut depth = 0usize;
    for token in tokens(&code[2..]) {
        let at = 2 + token.start;
        if depth == 0 && code[at..].starts_with(close) {
            return Some(at + close.len());
        }
        match (token.kind, &code[at..2 + token.end]) {
            (Kind::Open, _) => depth += 1,
            (Kind::Close, _) => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    None
}

/// Whether the body of a macro uses the variable `varargs`. `parts` begins directly after the tag that opens the macro.
fn uses_varargs(parts: &[Part]) -> bool {
    for part in parts {
        let Part::Code(code) = part else { continue };
        if word(code) == "endmacro" {
            return false;
        }
        if tokens(code).iter().any(|token| token.kind == Kind::Name && &code[token.start..token.end] == "varargs") {
            return true;
        }
    }
    false
}

/// Rewrites the tag that opens a macro: adds parameters for arguments beyond those that the macro names, and a second
/// tag that collects the arguments that were given in the list `varargs`.
fn with_varargs(code: &str) -> String {
    let Some(close) = code.rfind(')') else { return code.to_owned() };
    let names: Vec<String> = (0..MOST_VARARGS).map(|i| format!("rlar_vararg_{i}")).collect();
    let has_parameters = code[..close].rfind('(').is_some_and(|open| !code[open + 1..close].trim().is_empty())
        || code[..close].matches('(').count() > 1;
    let between = if has_parameters { ", " } else { "" };
    let parameters = names.iter().map(|name| format!("{name}=rlar_not_given")).collect::<Vec<_>>().join(", ");
    let end = &code[close + 1..];
    let list = names.join(", ");
    format!("{}{between}{parameters}){end}{{% set varargs = [{list}]|select('defined')|list{end}", &code[..close])
}

/// Rewrites a tag or an expression: replaces the operator `%` by the filter `rlar_percent`, as in `a|rlar_percent(b)`.
fn without_percent(code: &str) -> String {
    let (open, rest) = code.split_at(2);
    let (inner, close) = rest.split_at(rest.len() - 2);
    let mut inner = inner.to_owned();
    // Each pass removes one operator.
    for _ in 0..inner.matches('%').count().min(MOST_OPERATORS) {
        let tokens: Vec<Token> = tokens(&inner).into_iter().filter(|token| token.kind != Kind::Space).collect();
        let operator = |i: &usize| &inner[tokens[*i].start..tokens[*i].end] == "%" && is_free(&inner, &tokens, *i);
        let Some(at) = (0..tokens.len()).find(operator) else { break };
        let Some(end) = operand_end(&inner, &tokens, at + 1) else { break };
        let (left, right) = (&inner[..tokens[at].start], &inner[tokens[at + 1].start..end]);
        inner = format!("{left}|rlar_percent({right}){}", &inner[end..]);
    }
    format!("{open}{inner}{close}")
}

/// Whether the operator `%` (the token with the index `at`) can be replaced by a filter. A filter binds more tightly,
/// so that the left operand must not be part of another product or power, nor have a sign of its own.
fn is_free(code: &str, tokens: &[Token], at: usize) -> bool {
    let text = |i: usize| &code[tokens[i].start..tokens[i].end];
    let mut i = at;
    // Walks back over the operand: names, texts, brackets, and the points and bars that join them.
    loop {
        let Some(last) = i.checked_sub(1) else { return false };
        i = last;
        if tokens[i].kind == Kind::Close {
            let mut depth = 1;
            while depth > 0 {
                let Some(before) = i.checked_sub(1) else { return false };
                i = before;
                match tokens[i].kind {
                    Kind::Close => depth += 1,
                    Kind::Open => depth -= 1,
                    _ => {}
                }
            }
            let is_postfix = i > 0
                && (matches!(tokens[i - 1].kind, Kind::Close | Kind::Text)
                    || is_operand_name(text(i - 1), tokens[i - 1].kind));
            if is_postfix {
                continue;
            }
        } else if !matches!(tokens[i].kind, Kind::Name | Kind::Number | Kind::Text) {
            return false;
        }
        match i.checked_sub(1).map(text) {
            Some("." | "|") => i -= 1,
            Some(before) if tokens[i].kind == Kind::Text && tokens[i - 1].kind == Kind::Text && !before.is_empty() => {}
            Some("*" | "/" | "//" | "%" | "**") => return false,
            Some("-" | "+") => return i >= 2 && ends_operand(text(i - 2), tokens[i - 2].kind),
            _ => return true,
        }
    }
}

/// Words that are operators although they look like names.
const WORDS: [&str; 12] = ["and", "or", "not", "in", "is", "if", "else", "elif", "set", "print", "for", "call"];

fn is_operand_name(text: &str, kind: Kind) -> bool {
    kind == Kind::Name && !WORDS.contains(&text)
}

fn ends_operand(text: &str, kind: Kind) -> bool {
    matches!(kind, Kind::Close | Kind::Text | Kind::Number) || is_operand_name(text, kind)
}

/// The byte at which an operand ends that begins with the token of index `at`; `None` where no operand begins there, or
/// where the operand is a power (`a ** b`).
fn operand_end(code: &str, tokens: &[Token], at: usize) -> Option<usize> {
    let text = |i: usize| tokens.get(i).map_or("", |token| &code[token.start..token.end]);
    let closing = |open: usize| {
        let mut depth = 0;
        (open..tokens.len()).find(|i| {
            match tokens[*i].kind {
                Kind::Open => depth += 1,
                Kind::Close => depth -= 1,
                _ => {}
            }
            depth == 0
        })
    };
    let mut i = at;
    while matches!(text(i), "-" | "+") {
        i += 1;
    }
    match tokens.get(i)?.kind {
        Kind::Open => i = closing(i)?,
        Kind::Text => {
            while tokens.get(i + 1).is_some_and(|next| next.kind == Kind::Text) {
                i += 1;
            }
        }
        Kind::Name | Kind::Number => {}
        _ => return None,
    }
    loop {
        let next = i + 1;
        match text(next) {
            "." | "|" => i = next + 1,
            "(" | "[" => i = closing(next)?,
            "**" => return None,
            _ => return tokens.get(i).map(|token| token.end),
        }
    }
}
