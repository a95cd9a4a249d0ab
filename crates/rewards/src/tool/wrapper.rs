//! Tells verifiers that only wrap a building block (a function of `rlar_tools`) from those that compute something.

use std::collections::BTreeSet;

use rlar_sandbox::building_blocks;

use crate::tool::code_tests::outline::{Names, Outline, Statement};
use crate::tool::code_tests::tokens::{Token, TokenKind};

/// Functions of Python that convert, round or clamp a score.
const CONVERSIONS: [&str; 7] = ["float", "int", "bool", "str", "round", "min", "max"];
/// Methods of Python strings that change the ends or the case of a text.
const TRIMS: [&str; 6] = ["strip", "lstrip", "rstrip", "lower", "upper", "casefold"];
/// Python keywords that begin a statement with a colon. Other code may follow the colon on the same line.
const HEADERS: [&str; 7] = ["def", "if", "elif", "else", "try", "except", "finally"];

/// Whether a verifier only hands its arguments to one building block: it calls one function of `rlar_tools`, once, and
/// nothing else decides its score.
///
/// Assignments, `return`, conversions (`float`, `round`, `min`, `max` …), `.strip()` and `.lower()`, `try`, constants in
/// place of a truth value, and guards against empty arguments count as nothing. Arithmetic, comparisons, other calls,
/// loops, lists and strings count as more. Only `function` and what it uses in `source` is read; nothing is run.
pub fn is_wrapper(source: &str, function: &str) -> bool {
    let outline = Outline::new(source);
    let statements = reached(&outline, function);
    let reader = Reader {
        blocks: ImportedBlocks::of(&outline),
        own: statements.iter().filter(|s| s.is_definition()).flat_map(|s| s.bound()).collect(),
    };
    let lines = statements.iter().flat_map(|s| &s.lines).filter(|line| !is_import(line) && !line[0].is("@"));
    let is_docstring = |part: &[Token]| part.iter().all(|t| t.kind == TokenKind::Text);
    let parts: Vec<&[Token]> = lines.flat_map(|line| split(line)).filter(|part| !is_docstring(part)).collect();
    let mut calls = Vec::new();
    for part in parts.iter().filter(|part| !part[0].is("def")) {
        calls.extend((0..part.len()).filter_map(|i| reader.callee(part, i)));
    }
    let blocks = calls.iter().filter(|callee| **callee == Callee::Block).count();
    // A function that is called twice could call its block twice.
    let own: Vec<&Callee> = calls.iter().filter(|callee| matches!(callee, Callee::Own(_))).collect();
    let is_repeated = own.iter().enumerate().any(|(i, callee)| own[..i].contains(callee));
    blocks == 1 && !is_repeated && parts.iter().all(|part| reader.is_plain(part))
}

/// The statements that define `function` and everything that it uses, directly or through other definitions.
fn reached<'o, 's>(outline: &'o Outline<'s>, function: &'o str) -> Vec<&'o Statement<'s>> {
    let mut statements: Vec<&Statement> = Vec::new();
    let mut known = BTreeSet::new();
    let mut waiting = vec![function];
    while let Some(name) = waiting.pop() {
        if !known.insert(name) {
            continue;
        }
        let Some(statement) = outline.definition(name) else { continue };
        if statements.iter().all(|s| s.start != statement.start) {
            waiting.extend(statement.used());
            statements.push(statement);
        }
    }
    statements
}

fn is_import(line: &[Token]) -> bool {
    line[0].is("import") || line[0].is("from")
}

/// Splits a logical line of Python into its parts: headers such as `else` or `if x`, without the colon, and the simple
/// statements after them.
fn split<'t, 's>(line: &'t [Token<'s>]) -> Vec<&'t [Token<'s>]> {
    let mut parts = Vec::new();
    let mut rest = line;
    while let Some(first) = rest.first()
        && HEADERS.iter().any(|keyword| first.is(keyword))
    {
        let colon = rest.iter().position(|t| t.depth == 0 && t.is(":")).unwrap_or(rest.len() - 1);
        // A header without a colon, which is no Python, may be a single token.
        parts.push(&rest[..colon.max(1)]);
        rest = &rest[colon + 1..];
    }
    parts.extend(rest.split(|t| t.depth == 0 && t.is(";")).filter(|part| !part.is_empty()));
    parts
}

/// The names under which a verifier's source imports the building blocks (the functions of the module `rlar_tools`).
struct ImportedBlocks<'s> {
    /// The names under which the source imports the module `rlar_tools`.
    modules: Names<'s>,
    /// The names under which the source imports functions of `rlar_tools`.
    functions: Names<'s>,
}

impl<'s> ImportedBlocks<'s> {
    /// Reads the imports of a source, also those within functions.
    fn of(outline: &Outline<'s>) -> Self {
        let mut found = Self { modules: Names::new(), functions: Names::new() };
        for line in outline.statements.iter().flat_map(|s| &s.lines).filter(|line| is_import(line)) {
            let from = line[0].is("from");
            let Some(at) = line.iter().position(|t| t.is("import")) else { continue };
            if from && !line[1].is("rlar_tools") {
                continue;
            }
            let list: Vec<Token> = line[at + 1..].iter().copied().filter(|t| !t.is("(") && !t.is(")")).collect();
            for item in list.split(|t| t.is(",")) {
                match item {
                    [all] if from && all.is("*") => {
                        found.functions.extend(building_blocks().into_iter().map(|b| b.name));
                    }
                    [module, ..] if !from && !module.is("rlar_tools") => {}
                    [.., name] if from => _ = found.functions.insert(name.text),
                    [.., name] => _ = found.modules.insert(name.text),
                    [] => {}
                }
            }
        }
        found
    }
}

/// The kind of function that a call in a verifier's source calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Callee<'s> {
    /// A building block, that is, a function of `rlar_tools`.
    Block,
    /// A function or class that the verifier's source defines, by its name.
    Own(&'s str),
    /// A conversion, or a method that trims a text.
    Harmless,
    /// Any other function or method.
    Other,
}

/// Decides which parts of a verifier's lines only pass on the result of a building block.
struct Reader<'s> {
    blocks: ImportedBlocks<'s>,
    /// Functions and classes that the source itself defines.
    own: Names<'s>,
}

impl<'s> Reader<'s> {
    /// The function that is called by the token with index `i` in `part`; `None` if this token is not a name with a `(`
    /// after it.
    fn callee(&self, part: &[Token<'s>], i: usize) -> Option<Callee<'s>> {
        let name = part[i].name().filter(|_| part.get(i + 1).is_some_and(|t| t.is("(")))?;
        Some(match &part[..i] {
            [.., module, dot] if dot.is(".") && self.blocks.modules.contains(module.text) => Callee::Block,
            [.., dot] if dot.is(".") && TRIMS.contains(&name) => Callee::Harmless,
            [.., dot] if dot.is(".") => Callee::Other,
            _ if self.own.contains(name) => Callee::Own(name),
            _ if self.blocks.functions.contains(name) => Callee::Block,
            _ if CONVERSIONS.contains(&name) => Callee::Harmless,
            _ => Callee::Other,
        })
    }

    /// Whether `part`, a header such as `if x` or a simple statement, leaves the score to the building block: it adds
    /// no computation of its own.
    fn is_plain(&self, part: &[Token<'s>]) -> bool {
        match part[0].text {
            "if" | "elif" => self.is_plain_condition(&part[1..]),
            "def" | "else" | "try" | "except" | "finally" => true,
            _ => self.is_plain_expression(part),
        }
    }

    fn is_plain_expression(&self, part: &[Token<'s>]) -> bool {
        // A conditional expression has its condition between `if` and `else`.
        let from = part.iter().position(|t| t.is("if"));
        let to = from.and_then(|from| Some(from + part[from..].iter().position(|t| t.is("else"))?));
        match from.zip(to) {
            Some((from, to)) => {
                self.has_plain_terms(&part[..from])
                    && self.is_plain_condition(&part[from + 1..to])
                    && self.is_plain_expression(&part[to + 1..])
            }
            None => self.has_plain_terms(part),
        }
    }

    /// Whether a condition is only the truth value of a building block's result, or only tests whether values are
    /// empty.
    fn is_plain_condition(&self, part: &[Token<'s>]) -> bool {
        if (0..part.len()).any(|i| self.callee(part, i) == Some(Callee::Block)) {
            let positive: Vec<Token> = part.iter().copied().filter(|t| !t.is("not")).collect();
            return self.has_plain_terms(&positive);
        }
        (0..part.len()).all(|i| is_about_emptiness(part, i))
    }

    fn has_plain_terms(&self, part: &[Token<'s>]) -> bool {
        (0..part.len()).all(|i| {
            let token = &part[i];
            let before = i.checked_sub(1).map(|before| &part[before]);
            match token.kind {
                TokenKind::Name if token.name().is_none() => {
                    ["return", "pass", "None", "True", "False", "and", "or"].contains(&token.text)
                }
                TokenKind::Name => match self.callee(part, i) {
                    Some(callee) => callee != Callee::Other,
                    None => !before.is_some_and(|b| b.is(".")),
                },
                TokenKind::Number => true,
                TokenKind::Text => is_nothing(token),
                TokenKind::Operator if token.is("-") => {
                    let is_sign = before.is_none_or(|b| ["return", "(", ",", "="].iter().any(|mark| b.is(mark)));
                    is_sign && part.get(i + 1).is_some_and(|t| t.kind == TokenKind::Number)
                }
                TokenKind::Operator => ["=", "(", ")", ",", ".", ":"].contains(&token.text),
                TokenKind::Broken => false,
            }
        })
    }
}

/// Whether a token is the empty string, 0, 1 or `None`.
fn is_nothing(token: &Token) -> bool {
    match token.kind {
        TokenKind::Text => token.text.len() == 2,
        TokenKind::Number => ["0", "1", "0.0", "1.0"].contains(&token.text),
        _ => token.is("None"),
    }
}

/// Whether the token with index `i` in `part` may occur in a condition that only tests whether values are empty, such
/// as `not a.strip() or len(b) == 0`.
fn is_about_emptiness(part: &[Token], i: usize) -> bool {
    let token = &part[i];
    let is_called = part.get(i + 1).is_some_and(|t| t.is("("));
    match token.kind {
        TokenKind::Name if token.name().is_none() => {
            ["not", "or", "and", "is", "None", "True", "False"].contains(&token.text)
        }
        TokenKind::Name => !is_called || ["len", "isinstance", "str", "bool", "strip"].contains(&token.text),
        TokenKind::Operator if ["==", "!=", "<", "<=", ">", ">="].contains(&token.text) => {
            part.get(i + 1).is_some_and(is_nothing)
        }
        TokenKind::Operator => ["(", ")", ",", "."].contains(&token.text),
        TokenKind::Number | TokenKind::Text => is_nothing(token),
        TokenKind::Broken => false,
    }
}
