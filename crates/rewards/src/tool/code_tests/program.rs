//! Puts together the Python program to run for a reply, from the code in the reply and in its prompt.

use std::collections::BTreeMap;

use crate::tool::code_tests::blocks::blocks;
use crate::tool::code_tests::builtins::is_builtin;
use crate::tool::code_tests::outline::{Names, Outline, Statement};
use crate::tool::code_tests::prompt::PromptCode;
use crate::tool::code_tests::tokens::{TokenKind, tokens};

/// How tests use the program under test: they call names that it defines, or run it as a whole.
#[derive(Clone, Copy, Debug)]
pub enum Exercise<'t> {
    /// The tests use these names of functions or classes, which the program must define.
    Names(&'t Names<'t>),
    /// The tests run the whole program and compare what it prints; `has_input` says whether they give it standard
    /// input.
    Run { has_input: bool },
}

/// The source of the program to run for a reply: the blocks of code that define what the tests use, or the last block
/// that reads the input and prints. Definitions that these need are taken from the other blocks, from the code in the
/// prompt and from `library`, a source of further definitions.
pub fn source(reply: &str, exercise: Exercise, prompt: Option<&PromptCode>, library: &str) -> String {
    let blocks = blocks(reply);
    let outlines: Vec<Outline> = blocks.iter().map(|b| Outline::new(b)).collect();
    let chosen = chosen(&outlines, exercise);
    if let (Some(prompt), Exercise::Names(names)) = (prompt, exercise) {
        // A body without its function goes on where the prompt stops.
        let is_function = |s: &Statement| s.is_definition() || s.column == 0;
        let defines = |o: &Outline| names.iter().any(|n| o.definition(n).is_some_and(is_function));
        let body = outlines.iter().zip(&blocks).rev().find(|(o, _)| o.statements.first().is_some_and(|s| s.column > 0));
        if !outlines.iter().any(defines)
            && let Some(source) = prompt.continued(body.map_or(&blocks[chosen[0]], |(_, b)| b))
        {
            return source;
        }
    }
    let preamble = prompt.map_or("", |p| &p.preamble);
    let prompt_is_code = prompt.is_some_and(|p| p.is_whole_prompt);
    let mut offered = vec![Outline::new(library), Outline::new(preamble)];
    let whole: Vec<usize> = chosen.iter().map(|i| i + offered.len()).chain(prompt_is_code.then_some(1)).collect();
    offered.extend(outlines);
    assembled(&offered, &whole)
}

/// The source of the tests, `test`, after those statements of the prompt's code that it needs; if the prompt is nothing
/// but code, after all of the prompt's preamble.
pub fn preamble_of_tests(test: &str, prompt: &PromptCode) -> String {
    if prompt.is_whole_prompt {
        return join(&[&prompt.preamble, test]);
    }
    assembled(&[Outline::new(&prompt.preamble), Outline::new(test)], &[1])
}

/// Indices of the code blocks of a reply that belong to the program as a whole, at least one. `outlines` has one
/// outline per block.
fn chosen(outlines: &[Outline], exercise: Exercise) -> Vec<usize> {
    let last = |wanted: &dyn Fn(&Outline) -> bool| outlines.iter().rposition(wanted);
    let any = || outlines.len().saturating_sub(1);
    match exercise {
        Exercise::Names(names) => {
            let defining = names.iter().filter_map(|name| {
                let full = |o: &Outline| o.definition(name).is_some_and(|s| !s.is_stub());
                last(&full).or_else(|| last(&|o| o.definition(name).is_some()))
            });
            let mut defining: Vec<usize> = defining.collect();
            defining.sort_unstable();
            defining.dedup();
            if !defining.is_empty() {
                return defining;
            }
            let defines = |o: &Outline| o.statements.iter().any(Statement::is_definition);
            vec![last(&defines).unwrap_or_else(any)]
        }
        Exercise::Run { has_input } => {
            let reads = |o: &Outline| !has_input || reads_input(o);
            let acts = |o: &Outline| o.statements.iter().any(Statement::acts);
            let with_others = |i: usize| {
                let source = assembled(outlines, &[i]);
                let outline = Outline::new(&source);
                reads(&outline) && prints(&outline)
            };
            let alone = last(&|o| acts(o) && reads(o) && prints(o));
            let together = || (0..outlines.len()).rev().find(|i| acts(&outlines[*i]) && with_others(*i));
            let silent = || last(&|o| acts(o) && reads(o)).or_else(|| last(&acts));
            vec![alone.or_else(together).or_else(silent).unwrap_or_else(any)]
        }
    }
}

/// Whether a source reads its standard input. An assignment to `stdin` does not count as reading.
fn reads_input(outline: &Outline) -> bool {
    outline.statements.iter().flat_map(|s| &s.lines).any(|line| {
        line.iter().enumerate().any(|(i, token)| {
            let after = |n: usize, mark: &str| line.get(i + n).is_some_and(|t| t.is(mark));
            let opens_zero =
                (token.is("open") || token.is("read") || token.is("fdopen")) && after(1, "(") && after(2, "0");
            (token.is("input") && (after(1, "(") || after(1, ",") || after(1, ")")))
                || (token.is("stdin") && !after(1, "="))
                || token.is("fileinput")
                || opens_zero
                || (token.kind == TokenKind::Text && token.text.contains("/dev/stdin"))
        })
    })
}

/// Whether a source seems to print: it mentions `print`, `stdout` or `write`.
fn prints(outline: &Outline) -> bool {
    outline.any(|t| t.is("print") || t.is("stdout") || t.is("write"))
}

/// The complete source of the outlines with the indices in `whole`, and those statements of the other outlines that
/// define names which it needs. The parts stay in the order of `outlines`.
fn assembled(outlines: &[Outline], whole: &[usize]) -> String {
    let mut parts: BTreeMap<(usize, usize), String> = BTreeMap::new();
    let mut wanted: Vec<&str> = Vec::new();
    let mut known = Names::new();
    for i in whole {
        let outline = &outlines[*i];
        known.extend(outline.statements.iter().flat_map(Statement::bound));
        wanted.extend(outline.free());
        parts.insert((*i, 0), outline.dedented());
    }
    let last = whole.iter().max().copied().unwrap_or(0);
    let mut has_unknown = false;
    while let Some(name) = wanted.pop() {
        if is_builtin(name) || !known.insert(name) {
            continue;
        }
        let before = (0..last).rev();
        let mut order = before.chain(last + 1..outlines.len()).filter(|i| !whole.contains(i));
        let found = order.find_map(|i| {
            let offered = outlines[i].statements.iter().rev().filter(|s| s.only_defines() && s.bound().contains(name));
            offered.min_by_key(|s| s.is_stub()).map(|s| (i, s))
        });
        let Some((i, statement)) = found else {
            has_unknown = true;
            continue;
        };
        if parts.insert((i, 1 + statement.start), statement.text.to_owned()).is_none() {
            let bound = statement.bound_within();
            wanted.extend(statement.used().into_iter().filter(|n| !bound.contains(n)));
        }
    }
    // An import of all names may be where an unknown one comes from.
    for (i, outline) in outlines.iter().enumerate().filter(|(i, _)| has_unknown && !whole.contains(i)) {
        for statement in outline.statements.iter().filter(|s| s.is_import() && s.bound().contains("*")) {
            parts.insert((i, 1 + statement.start), statement.text.to_owned());
        }
    }
    let with_futures = parts.keys().map(|(i, _)| *i).filter(|i| !whole.contains(i)).collect::<Vec<_>>();
    for i in with_futures {
        let futures = split_futures(outlines[i].source).0;
        if !futures.is_empty() {
            parts.insert((i, 0), futures.concat());
        }
    }
    let parts: Vec<&str> = parts.values().map(String::as_str).collect();
    join(&parts)
}

/// Puts sources one behind the other. The imports from `__future__` at the head of each, which Python allows only at the
/// start of a file, come first.
pub fn join(parts: &[&str]) -> String {
    let parts: Vec<&str> = parts.iter().copied().filter(|p| !p.trim().is_empty()).collect();
    if let [only] = parts[..] {
        return only.to_owned();
    }
    let mut futures: Vec<String> = Vec::new();
    let mut rest = String::new();
    for part in parts {
        let (found, without) = split_futures(part);
        futures.extend(found);
        rest.push_str(&without);
        if !rest.ends_with('\n') {
            rest.push('\n');
        }
    }
    futures.dedup();
    futures.concat() + &rest
}

/// The imports from `__future__` at the head of a source, each as a line, and the source without them.
fn split_futures(source: &str) -> (Vec<String>, String) {
    let all = tokens(source);
    let mut futures = Vec::new();
    let mut rest = String::new();
    let mut copied = 0;
    'lines: for line in all.lines() {
        for simple in line.split_inclusive(|t| t.depth == 0 && t.is(";")) {
            let is_text = simple.iter().all(|t| t.kind == TokenKind::Text || t.is(";"));
            let is_future = simple.len() > 2 && simple[0].is("from") && simple[1].is("__future__");
            if !is_future && !is_text {
                break 'lines;
            }
            if is_future {
                let end = simple[simple.len() - 1].end();
                futures.push(source[simple[0].start..end].trim_end_matches(';').to_owned() + "\n");
                rest.push_str(&source[copied..simple[0].start]);
                copied = end + source[end..].len() - source[end..].trim_start_matches([' ', '\t']).len();
            }
        }
    }
    rest.push_str(&source[copied..]);
    (futures, rest)
}
