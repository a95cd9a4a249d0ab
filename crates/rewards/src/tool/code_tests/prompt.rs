//! The code in a prompt that a reply completes.

use rlar_data::Example;

use crate::tool::code_tests::blocks::blocks;
use crate::tool::code_tests::outline::{Outline, has_prose};
use crate::tool::code_tests::program::join;
use crate::tool::code_tests::tokens::tokens;

/// The code in a prompt that defines the function under test, or stops before its body, as in `HumanEval`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PromptCode {
    /// The code before and after the function under test: imports, and functions and constants that it may use.
    pub preamble: String,
    /// The code up to the place where the reply must continue the function under test; `None` if the prompt already has
    /// the body of the function.
    begun: Option<String>,
    /// Whether the prompt is nothing but this code. Otherwise the code is in a fence or between prose.
    pub is_whole_prompt: bool,
}

impl PromptCode {
    /// The code in an example's prompt that defines `function`; `None` if there is none.
    pub fn find(example: &Example, function: &str) -> Option<Self> {
        let prompt = example.prompt().replace("\r\n", "\n");
        let has_tildes = prompt.lines().any(|l| l.starts_with("~~~"));
        let is_whole_prompt = !has_tildes && !has_prose(&tokens(&prompt));
        let blocks = if is_whole_prompt { vec![prompt] } else { blocks(&prompt) };
        blocks.iter().rev().find_map(|code| Self::read(code, function, is_whole_prompt))
    }

    fn read(code: &str, function: &str, is_whole_prompt: bool) -> Option<Self> {
        let outline = Outline::new(code);
        let at = outline.statements.iter().rposition(|s| s.is_definition() && s.bound().contains(function))?;
        let before = &code[..outline.statements[at].start];
        let after = outline.statements.get(at + 1).map_or("", |next| &code[next.start..]);
        // A body that raises would end the function before the reply's does anything.
        let function = &outline.statements[at];
        let raises = function.lines.iter().find(|l| l[0].is("raise"));
        let end = raises.map_or(code.len(), |l| code[..l[0].start].rfind('\n').map_or(0, |n| n + 1));
        let begun = (function.is_stub() && after.is_empty()).then(|| code[..end].to_owned());
        Some(Self { preamble: join(&[before, after]), begun, is_whole_prompt })
    }

    /// The prompt's code, continued with `body`, the body of the function under test. `None` if the prompt already has
    /// a body, or if `body` is not indented where it must be.
    pub fn continued(&self, body: &str) -> Option<String> {
        let begun = self.begun.as_ref()?;
        let is_indented = body.lines().find(|l| !l.trim().is_empty())?.starts_with([' ', '\t']);
        let kept = begun.trim_end_matches([' ', '\t']);
        let goes_on = kept.len() < begun.len() && kept.ends_with('\n');
        match (is_indented, goes_on) {
            (true, _) => Some(format!("{}\n{body}", kept.trim_end_matches('\n'))),
            (false, true) => Some(format!("{begun}{body}")),
            (false, false) => None,
        }
    }
}
