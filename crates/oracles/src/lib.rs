//! Test support for files that live outside the project and are found through environment variables.
//!
//! Recorded outputs of reference implementations (oracles) are below `RLAR_ORACLES`, models below `RLAR_MODELS`; both
//! paths are relative to the workspace. A test marked `#[needs_oracles]` or `#[needs_models]` is reported as ignored,
//! with the reason, if the variable is not set when the tests are compiled. [`oracle!`] and [`model!`] return the path
//! of a file. If the variable is set, a missing file makes the test fail.
//!
//! `#[needs_hub_python]` and `#[needs_chat_python]` do the same for a Python with certain packages, which is named by a
//! variable or installed below `target`.
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

/// Marks a test as ignored if there is no Python with `huggingface_hub`: neither in `RLAR_HF_PYTHON` nor from
/// `just hub-python`.
#[proc_macro_attribute]
pub fn needs_hub_python(_: TokenStream, test: TokenStream) -> TokenStream {
    needs_python("RLAR_HF_PYTHON", "hub-python", "huggingface_hub", test)
}

/// Marks a test as ignored if there is no Python with `xllamacpp`, the server of llama.cpp: neither in
/// `RLAR_CHAT_PYTHON` nor from `just chat-python`.
#[proc_macro_attribute]
pub fn needs_chat_python(_: TokenStream, test: TokenStream) -> TokenStream {
    needs_python("RLAR_CHAT_PYTHON", "chat-python", "xllamacpp", test)
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

/// Adds `#[ignore]` to a test unless `can_run` is true. `variable` is the environment variable on which `can_run`
/// depends: cargo recompiles the test when it changes. `reason` is a string literal, with its quotes.
fn needs(variable: &str, can_run: bool, reason: &str, test: TokenStream) -> TokenStream {
    // Because the expansion names the variable, cargo recompiles the tests when it changes.
    let tracked = format!("const _: Option<&str> = option_env!({variable:?});");
    // Another attribute of this crate may have ignored the test already.
    let ignored = if can_run || is_ignored(&test) { String::new() } else { format!("#[ignore = {reason}]") };
    let mut out = code(&format!("{tracked} {ignored}"));
    out.extend(test);
    out
}

/// Adds `#[ignore]` to a test if a variable names no Python and the recipe of the `justfile` has not installed one when
/// the tests are compiled. Setting the variable recompiles the tests; installing a Python does not.
fn needs_python(variable: &str, recipe: &str, package: &str, test: TokenStream) -> TokenStream {
    let manifest = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default();
    let installed = Path::new(&manifest).join("../../target").join(recipe).join("bin/python");
    let reason = format!("{variable} is not set: `just {recipe}` installs a Python with {package} in target/{recipe}");
    needs(variable, std::env::var_os(variable).is_some() || installed.exists(), &format!("{reason:?}"), test)
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
