//! Reads the Python program of a verifier from a language model's reply. The function's name, imports and a fence that
//! is not closed are put right; what the program computes is never guessed.

use std::collections::BTreeSet;

use rlar_net::llm::ChatReply;
use rlar_sandbox::building_blocks;
use serde_json::{Value, json};

use crate::agents::parse::{blocks, object, text, texts};
use crate::agents::synthesise::{SynthesisRequest, VerifierSpec};
use crate::agents::write_prompt::all_worked_examples;
use crate::tool::card::CardCase;

/// Largest length of a verifier's program, in characters.
const MAX_CODE_CHARS: usize = 20_000;

/// Largest number of test replies that a model may give with its program.
const MAX_TESTS: usize = 20;

/// Modules of the standard library that models use without importing them.
const MODULES: [&str; 11] = [
    "re",
    "math",
    "json",
    "string",
    "difflib",
    "collections",
    "itertools",
    "ast",
    "unicodedata",
    "statistics",
    "textwrap",
];

/// A verifier as the language model wrote it.
#[derive(Clone, Debug, PartialEq)]
pub struct Program {
    /// What the verifier measures.
    pub description: String,
    /// Python packages that the verifier imports besides the standard library.
    pub requires: Vec<String>,
    /// Replies of known worth that the model gave with the program; often none.
    pub tests: Vec<CardCase>,
    /// The Python code, which defines `compute_NAME`.
    pub source: String,
}

/// Reads the program in a reply: a fenced block of Python, and beside it, if the model wants, a fenced block of JSON with
/// `description`, `requires` and `tests`.
///
/// # Errors
///
/// When there is no function, the code is too long, or it declares a package that is not allowed.
pub fn parse_program(reply: &ChatReply, spec: &VerifierSpec, request: &SynthesisRequest) -> Result<Program, String> {
    let is_whole = reply.finish != "length" && reply.finish != "repetition";
    let reply = reply.text.as_str();
    let source = code(reply, is_whole).ok_or("it has no ```python block with a function")?;
    if source.chars().count() > MAX_CODE_CHARS {
        return Err(format!("the program is longer than {MAX_CODE_CHARS} characters"));
    }
    let source = with_imports(&with_name(&source, &spec.name)?);
    let found = blocks(reply);
    let metadata = found.iter().filter(|b| b.language.eq_ignore_ascii_case("json")).find_map(|b| object(b.body).ok());
    let metadata = metadata.unwrap_or_default();
    let requires = texts(Some(metadata.get("requires").unwrap_or(&json!([]))), "requires", 80).unwrap_or_default();
    if let Some(other) = requires.iter().find(|r| !request.packages.contains(r)) {
        return Err(format!("the package `{other}` is not allowed; do without it"));
    }
    let imported = request.packages.iter().filter(|p| !requires.contains(p) && imports(&source, p)).cloned();
    let requires: Vec<String> = requires.iter().cloned().chain(imported).collect();
    let tests = metadata.get("tests").and_then(Value::as_array).into_iter().flatten();
    // A test that is not understood is left out: the program is examined on the task's examples in any case.
    let tests = tests.filter_map(|test| serde_json::from_value(test.clone()).ok()).take(MAX_TESTS).collect();
    let description = text(&metadata, "description", 1200).unwrap_or_else(|_| spec.measures.clone());
    Ok(Program { description, requires, tests, source })
}

/// The Python code in a reply: its last fenced block with a function. Without one, and if the reply was not cut off
/// (`is_whole`): the text behind a fence that is not closed, or the whole reply if it is code from its first line on.
/// `None` if there is no such code.
fn code(reply: &str, is_whole: bool) -> Option<String> {
    let has_function = |code: &str| code.lines().any(|line| line.starts_with("def "));
    let found = blocks(reply);
    let is_python = |language: &str| ["", "python", "py", "python3"].contains(&language.to_ascii_lowercase().as_str());
    if let Some(block) = found.iter().rev().find(|b| is_python(b.language) && has_function(b.body)) {
        return Some(block.body.to_owned());
    }
    let opened = ["```python\n", "```py\n", "```\n"].iter().find_map(|fence| Some(reply.rsplit_once(fence)?.1));
    let rest = opened.unwrap_or(reply).trim_start_matches('\n');
    let is_code = is_whole && ["def ", "import ", "from "].iter().any(|start| rest.starts_with(start));
    (is_code && has_function(rest)).then(|| rest.trim_end_matches(['`', '\n']).to_owned() + "\n")
}

/// The source with its function under the name `compute_NAME`, where `NAME` is `name`: the last function whose name
/// begins with `compute`, else the last function, is renamed. An error if there is no function.
fn with_name(source: &str, name: &str) -> Result<String, String> {
    let wanted = format!("compute_{name}");
    let defined: Vec<&str> = source
        .lines()
        .filter_map(|line| line.strip_prefix("def "))
        .filter_map(|rest| rest.split_once('('))
        .map(|(name, _)| name.trim())
        .collect();
    if defined.contains(&wanted.as_str()) {
        return Ok(source.to_owned());
    }
    let own = defined.iter().rev().find(|n| n.starts_with("compute")).or(defined.last());
    let own = own.ok_or_else(|| format!("the ```python block does not define `{wanted}`"))?;
    Ok(replace_word(source, own, &wanted))
}

/// Replaces `word` by `by` wherever it is a whole word of a text.
fn replace_word(text: &str, word: &str, by: &str) -> String {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    let (mut out, mut rest) = (String::new(), text);
    while let Some(at) = rest.find(word) {
        let (before, after) = (&rest[..at], &rest[at + word.len()..]);
        let is_whole = !before.ends_with(is_part) && !after.starts_with(is_part);
        out.push_str(before);
        out.push_str(if is_whole { by } else { word });
        rest = after;
    }
    out + rest
}

/// Whether a name occurs in the source as a whole word, with the character `next`, such as `(`, right behind it.
fn uses(source: &str, name: &str, next: char) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_' || c == '.';
    source
        .match_indices(name)
        .any(|(at, _)| !source[..at].ends_with(is_part) && source[at + name.len()..].starts_with(next))
}

/// Whether a line of the source imports a module or package.
fn imports(source: &str, module: &str) -> bool {
    let is_named = |rest: &str| rest.split([',', ' ', '.', ';']).any(|word| word == module);
    let imported =
        |line: &str| line.strip_prefix("import ").or_else(|| line.strip_prefix("from ")).is_some_and(is_named);
    source.lines().any(|line| imported(line.trim_start()))
}

/// A line of a program. If it imports from `rlar_tools`, names that this module does not have are left out; the line is
/// empty if no name is left.
fn known_imports(line: &str) -> String {
    let Some(names) = line.strip_prefix("from rlar_tools import ").filter(|names| !names.contains(['(', '\\', '*']))
    else {
        return line.to_owned();
    };
    let all = building_blocks();
    let is_known = |name: &&str| all.iter().any(|b| Some(b.name) == name.split_whitespace().next());
    let known: Vec<&str> = names.split(',').map(str::trim).filter(is_known).collect();
    if known.is_empty() { String::new() } else { format!("from rlar_tools import {}", known.join(", ")) }
}

/// The source with imports of the modules and building blocks that it uses and does not import, and without imports of
/// building blocks that do not exist.
fn with_imports(source: &str) -> String {
    let known: String = source.lines().flat_map(|line| [known_imports(line), "\n".to_owned()]).collect();
    let source = known.as_str();
    let modules = MODULES.iter().filter(|m| uses(source, m, '.') && !imports(source, m));
    let mut lines: Vec<String> = modules.map(|m| format!("import {m}\n")).collect();
    let imported: BTreeSet<&str> = source
        .lines()
        .filter(|line| line.contains("import"))
        .flat_map(|line| line.split(|c: char| !(c.is_alphanumeric() || c == '_')))
        .collect();
    let is_missing =
        |name: &str| uses(source, name, '(') && !imported.contains(name) && !source.contains(&format!("def {name}("));
    let missing: Vec<&str> = building_blocks().iter().map(|b| b.name).filter(|name| is_missing(name)).collect();
    if !missing.is_empty() {
        lines.push(format!("from rlar_tools import {}\n", missing.join(", ")));
    }
    // Imports from `__future__` must come first, and no verifier needs them.
    let body = source
        .lines()
        .filter(|line| !line.starts_with("from __future__"))
        .fold(String::new(), |text, line| text + line + "\n");
    if lines.is_empty() { body } else { lines.concat() + "\n" + &body }
}

/// The source with a guard around its function: an empty reply gets 0.0, and a finite score outside 0 to 1 becomes the
/// nearest one within. A result that is not a number stays an error.
pub fn guarded(source: &str, name: &str) -> String {
    format!(
        "{}\n\n_unguarded = compute_{name}\n\n\ndef compute_{name}(prompt, candidate_response, reference_response):\n    \
         \"\"\"The score of the function above, within 0.0 to 1.0; 0.0 for an empty reply.\"\"\"\n    \
         if not candidate_response.strip():\n        return 0.0\n    \
         score = float(_unguarded(prompt, candidate_response, reference_response))\n    \
         if score != score:\n        raise ValueError(\"the score is not a number\")\n    \
         return min(1.0, max(0.0, score))\n",
        source.trim_end()
    )
}

/// The programs that were written for a task so far. Small models copy what they have seen, and a copy is no new rule.
#[derive(Clone, Debug)]
pub struct KnownPrograms(BTreeSet<String>);

impl Default for KnownPrograms {
    fn default() -> Self {
        Self(all_worked_examples().map(|example| normal_form(example.source)).collect())
    }
}

impl KnownPrograms {
    /// Number of different programs, the worked examples of the prompts included.
    // Never empty, as the worked examples are known from the start.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether a program was written before, under whatever name and layout.
    pub fn contains(&self, source: &str) -> bool {
        self.0.contains(&normal_form(source))
    }

    /// Adds a program.
    pub fn insert(&mut self, source: &str) {
        self.0.insert(normal_form(source));
    }
}

/// Whether two programs are the same but for names of functions, imports, comments and layout.
pub fn is_same_program(a: &str, b: &str) -> bool {
    normal_form(a) == normal_form(b)
}

/// A program without comments, docstrings on their own line, white space, imports and the names of its functions.
fn normal_form(source: &str) -> String {
    let is_told = |line: &str| {
        let line = line.trim_start();
        !line.starts_with('#')
            && !line.starts_with("\"\"\"")
            && !line.starts_with("import ")
            && !line.starts_with("from ")
    };
    let body: String = source.lines().filter(|line| is_told(line)).flat_map(|line| [line, "\n"]).collect();
    let mut form = body.clone();
    for (_, rest) in body.match_indices("def ").map(|(at, _)| body.split_at(at + 4)) {
        if let Some((name, _)) = rest.split_once('(') {
            form = replace_word(&form, name.trim(), "f");
        }
    }
    form.split_whitespace().collect()
}
