//! Programs that look alike, for the admission checks: the program of a reference with other names for its variables, which is as
//! right, and the same program with an error, which reads more like the reference. A tool that compares texts pays for the error.

use std::collections::BTreeMap;

use crate::tool::code_tests::builtins::is_builtin;
use crate::tool::code_tests::outline::{Names, Outline, Statement, is_prose};
use crate::tool::code_tests::tokens::{Token, TokenKind};

/// Two programs that are made from a reference.
#[derive(Clone, Debug, PartialEq)]
pub struct LookAlikes {
    /// The program with other names for the variables, parameters and inner functions of its functions: it does the same.
    pub renamed: String,
    /// The program with one operator, name or number changed: it does something else.
    pub faulty: String,
}

impl LookAlikes {
    /// The programs made from a reference. `None` if it is no Python program with functions, or if nothing in it can be
    /// renamed or changed for sure.
    pub fn of(reference: &str) -> Option<Self> {
        let program = Outline::new(reference);
        if !is_program(&program) {
            return None;
        }
        Some(Self { renamed: renamed(&program)?, faulty: faulty(&program)? })
    }
}

/// Whether a reference is a Python program that defines a function.
pub(crate) fn is_python(reference: &str) -> bool {
    is_program(&Outline::new(reference))
}

fn is_program(program: &Outline) -> bool {
    let lines = || program.statements.iter().flat_map(|statement| &statement.lines);
    let is_broken = program.any(|token| token.kind == TokenKind::Broken);
    functions(program).next().is_some() && !is_broken && !lines().any(|line| is_prose(line))
}

/// The functions that are defined at the top level.
fn functions<'o, 's>(program: &'o Outline<'s>) -> impl Iterator<Item = &'o Statement<'s>> {
    program.statements.iter().filter(|s| s.header().first().is_some_and(|t| t.is("def")) && body(s).next().is_some())
}

/// The tokens of a function behind its header.
fn body<'o, 's>(function: &'o Statement<'s>) -> impl Iterator<Item = &'o Token<'s>> {
    let colon = function.header().iter().find(|token| token.depth == 0 && token.is(":")).map(|token| token.start);
    function.lines.iter().flatten().filter(move |token| colon.is_some_and(|colon| token.start > colon))
}

/// Names with which a program reads or changes its variables by name, so that they cannot be renamed.
const BY_NAME: [&str; 9] = ["class", "global", "nonlocal", "locals", "globals", "vars", "dir", "eval", "exec"];

/// The program with other names for what its functions name themselves.
fn renamed(program: &Outline) -> Option<String> {
    let is_formatted = |token: &Token| {
        let prefix = token.text.split(['"', '\'']).next().unwrap_or_default();
        token.kind == TokenKind::Text && prefix.contains(['f', 'F', 't', 'T'])
    };
    if program.any(|token| is_formatted(token) || BY_NAME.iter().any(|name| token.is(name))) || passes_names(program) {
        return None;
    }
    let kept = kept_names(program);
    let stem = ["value", "item", "entry"].into_iter().find(|stem| !program.source.contains(stem))?;
    let mut replaced = BTreeMap::new();
    for function in functions(program) {
        let names: Names = function.bound_within().difference(&kept).copied().collect();
        let new_name = |name: &str| names.iter().position(|n| *n == name).map(|at| format!("{stem}_{}", at + 1));
        for line in &function.lines {
            for (i, token) in line.iter().enumerate() {
                let is_attribute = i > 0 && line[i - 1].is(".");
                if let Some(new) = token.name().filter(|_| !is_attribute).and_then(new_name) {
                    replaced.insert(token.start, Replacement { old: token.text.len(), new });
                }
            }
        }
    }
    (!replaced.is_empty()).then(|| with(program.source, &replaced))
}

/// Whether the program takes names from elsewhere that it does not say: by `from x import *`, or by `**` in a call.
fn passes_names(program: &Outline) -> bool {
    let lines = || program.statements.iter().flat_map(|statement| &statement.lines);
    let starts_argument = |token: &Token| token.is("(") || token.is(",");
    lines().any(|line| {
        line.windows(2).any(|pair| pair[0].is("import") && pair[1].is("*"))
            || line[header(line)..].windows(3).any(|t| starts_argument(&t[0]) && t[1].is("*") && t[2].is("*"))
    })
}

/// Number of tokens of a line before the colon of its `def`; 0 for another line.
fn header(line: &[Token]) -> usize {
    let colon = line.iter().position(|token| token.depth == 0 && token.is(":"));
    if line[0].is("def") { colon.unwrap_or(line.len()) } else { 0 }
}

/// Names that keep their meaning only as they are: those of top-level functions, imports and builtins, those of keyword
/// arguments, and `_`.
fn kept_names<'s>(program: &Outline<'s>) -> Names<'s> {
    let mut kept: Names = program.statements.iter().flat_map(Statement::bound).collect();
    for line in program.statements.iter().flat_map(|statement| &statement.lines) {
        if line.iter().any(|token| token.is("import")) {
            kept.extend(line.iter().filter_map(Token::name));
        }
        kept.extend(line.iter().filter_map(Token::name).filter(|name| *name == "_" || is_builtin(name)));
        // A header has parameters, and deeper in brackets keyword arguments.
        let header = header(line);
        let assigned = line.windows(2).enumerate().filter(|(_, pair)| pair[1].is("="));
        let arguments = assigned.filter(|(at, pair)| pair[0].depth > usize::from(*at < header));
        kept.extend(arguments.filter_map(|(_, pair)| pair[0].name()));
    }
    kept
}

/// Operators and names whose exchange makes another program, those that decide most first. Numbers come last.
const EXCHANGES: [&[(&str, &str)]; 3] = [
    &[("==", "!="), ("!=", "=="), ("<", ">="), (">", "<="), ("<=", ">"), (">=", "<")],
    &[("+", "-"), ("-", "+"), ("*", "+"), ("/", "*"), ("%", "*")],
    &[
        ("True", "False"),
        ("False", "True"),
        ("min", "max"),
        ("max", "min"),
        ("any", "all"),
        ("all", "any"),
        ("and", "or"),
        ("or", "and"),
    ],
];

/// The program with one error.
fn faulty(program: &Outline) -> Option<String> {
    let tokens: Vec<&Token> = functions(program).flat_map(body).collect();
    let exchanged = EXCHANGES.iter().find_map(|exchanges| {
        (0..tokens.len()).filter(|at| is_alone(&tokens, *at)).find_map(|at| {
            let (_, new) = exchanges.iter().find(|(old, _)| tokens[at].is(old))?;
            Some((tokens[at], (*new).to_owned()))
        })
    });
    let increased = || {
        tokens.iter().find_map(|token| {
            let number = Some(token.text).filter(|_| token.kind == TokenKind::Number)?.parse::<u32>().ok()?;
            Some((*token, (u64::from(number) + 1).to_string()))
        })
    };
    let (token, new) = exchanged.or_else(increased)?;
    Some(with(program.source, &BTreeMap::from([(token.start, Replacement { old: token.text.len(), new })])))
}

/// Whether a token can be exchanged alone: an operator between two operands that is no part of `**`, `//`, `<<` or `>>`, or a
/// name that is neither an attribute nor that of an argument.
fn is_alone(tokens: &[&Token], at: usize) -> bool {
    let (token, before, after) = (tokens[at], at.checked_sub(1).map(|b| tokens[b]), tokens.get(at + 1));
    if token.kind != TokenKind::Operator {
        return !before.is_some_and(|b| b.is(".")) && !after.is_some_and(|a| a.is("="));
    }
    let first = &token.text[..1];
    let is_doubled = before.is_some_and(|b| b.end() == token.start && b.text.starts_with(first))
        || after.is_some_and(|a| token.end() == a.start && a.text.starts_with(first));
    let is_value = |t: &Token| t.name().is_some() || matches!(t.kind, TokenKind::Number | TokenKind::Text);
    let is_operand = |t: &Token| is_value(t) || t.is(")") || t.is("]");
    !is_doubled && token.column.is_none() && before.is_some_and(|b| is_operand(b) && !b.is("case"))
}

/// A new text for a token of this many bytes.
struct Replacement {
    old: usize,
    new: String,
}

/// A source with texts replaced at these byte offsets.
fn with(source: &str, replaced: &BTreeMap<usize, Replacement>) -> String {
    let (mut text, mut at) = (String::new(), 0);
    for (start, Replacement { old, new }) in replaced {
        text.push_str(&source[at..*start]);
        text.push_str(new);
        at = start + old;
    }
    text + &source[at..]
}
