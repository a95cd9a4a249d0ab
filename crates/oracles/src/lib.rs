//! Test support for files that live outside the project and are found through environment variables.
//!
//! Recorded outputs of reference implementations (oracles) are below `RLAR_ORACLES`, models below `RLAR_MODELS`; both
//! paths are relative to the workspace. A test marked `#[needs_oracles]` or `#[needs_models]` is reported as ignored,
//! with the reason, if the variable is not set when the tests are compiled. [`oracle!`] and [`model!`] return the path
//! of a file. If the variable is set, a missing file makes the test fail.
//!
//! `#[needs_env("VARIABLE", "reason")]` does the same for any variable, such as the path of a Python with a certain
//! package.
//!
//! ```
//! use rlar_oracles::{needs_oracles, oracle};
//!
//! #[needs_oracles]
//! #[test]
//! fn scores_match_the_reference() {
//!     let scores = std::fs::read_to_string(oracle!("data/scores.jsonl")).unwrap();
//!     // …
//! }
//! ```
// The example shows how a test is marked; it is compiled, not run.
#![allow(clippy::test_attr_in_doctest)]

use std::path::Path;

use proc_macro::{Delimiter, TokenStream, TokenTree};

const ORACLES: &str = "RLAR_ORACLES";
const MODELS: &str = "RLAR_MODELS";

/// Marks a test as ignored if `RLAR_ORACLES` is not set.
#[proc_macro_attribute]
pub fn needs_oracles(_: TokenStream, test: TokenStream) -> TokenStream {
    let reason = "RLAR_ORACLES is not set: see CONTRIBUTING.md, Oracles";
    needs(ORACLES, std::env::var_os(ORACLES).is_some(), &format!("{reason:?}"), test)
}

/// Marks a test as ignored if `RLAR_MODELS` is not set.
#[proc_macro_attribute]
pub fn needs_models(_: TokenStream, test: TokenStream) -> TokenStream {
    let reason = "RLAR_MODELS is not set: scripts/fetch-smollm2.sh fetches the model";
    needs(MODELS, std::env::var_os(MODELS).is_some(), &format!("{reason:?}"), test)
}

/// Marks a test as ignored if an environment variable is not set: `#[needs_env("VARIABLE", "reason")]`. The reason
/// should say how to get what the variable names.
///
/// With a third argument, `#[needs_env("VARIABLE", "reason", "path")]`, the test also runs if that path, relative to
/// the workspace, exists when the tests are compiled. Setting the variable recompiles the tests; creating the path does
/// not.
#[proc_macro_attribute]
pub fn needs_env(arguments: TokenStream, test: TokenStream) -> TokenStream {
    let literals: Option<Vec<String>> = arguments
        .into_iter()
        .filter(|token| !matches!(token, TokenTree::Punct(comma) if comma.as_char() == ','))
        .map(|token| Some(token.to_string()).filter(|text| is_plain_literal(text)))
        .collect();
    let (variable, reason, path) = match literals.as_deref() {
        Some([variable, reason]) => (unquoted(variable), reason, None),
        Some([variable, reason, path]) => (unquoted(variable), reason, Some(unquoted(path))),
        _ => {
            return code(
                "compile_error!(\"needs_env takes a variable, a reason and perhaps a path, as plain texts\");",
            );
        }
    };
    let exists = |path: &str| {
        let manifest = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default();
        Path::new(&manifest).join("../..").join(path).exists()
    };
    needs(variable, std::env::var_os(variable).is_some() || path.is_some_and(exists), reason, test)
}

/// The path of a file below `RLAR_ORACLES`, as a `PathBuf`. Panics if the file is missing.
#[proc_macro]
pub fn oracle(file: TokenStream) -> TokenStream {
    path(ORACLES, &file)
}

/// The path of a file below `RLAR_MODELS`, as a `PathBuf`. Panics if the file is missing.
#[proc_macro]
pub fn model(file: TokenStream) -> TokenStream {
    path(MODELS, &file)
}

/// Adds `#[ignore]` to a test that cannot run. `reason` is a string literal, with its quotes.
fn needs(variable: &str, can_run: bool, reason: &str, test: TokenStream) -> TokenStream {
    // Because the expansion names the variable, cargo recompiles the tests when it changes.
    let tracked = format!("const _: Option<&str> = option_env!({variable:?});");
    // Another attribute of this crate may have ignored the test already.
    let ignored = if can_run || is_ignored(&test) { String::new() } else { format!("#[ignore = {reason}]") };
    let mut out = code(&format!("{tracked} {ignored}"));
    out.extend(test);
    out
}

/// Whether a test has an `#[ignore]`.
fn is_ignored(test: &TokenStream) -> bool {
    test.clone().into_iter().any(|token| match token {
        TokenTree::Group(group) if group.delimiter() == Delimiter::Bracket => {
            group.stream().into_iter().next().is_some_and(|first| first.to_string() == "ignore")
        }
        _ => false,
    })
}

/// Whether the source text of a token is a string literal without escapes, such as `"text"`.
fn is_plain_literal(token: &str) -> bool {
    token.len() >= 2 && token.starts_with('"') && token.ends_with('"') && !token.contains('\\')
}

fn unquoted(literal: &str) -> &str {
    literal.trim_matches('"')
}

fn path(variable: &str, file: &TokenStream) -> TokenStream {
    code(&format!(
        "{{
            let file = {file};
            let folder = ::std::env::var_os({variable:?}).expect(\"{variable} is not set\");
            // Tests run in their crate's folder.
            let path = ::std::path::Path::new(env!(\"CARGO_MANIFEST_DIR\")).join(\"../..\").join(folder).join(file);
            assert!(path.exists(), \"{{}} is missing although {variable} is set\", path.display());
            path
        }}"
    ))
}

/// Parses Rust code that this crate has generated.
#[allow(clippy::unwrap_used)]
fn code(text: &str) -> TokenStream {
    text.parse().unwrap()
}
