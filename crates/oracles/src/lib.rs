//! Test support for files that live outside the project and are found through environment variables.
//!
//! Recorded outputs of reference implementations (oracles) are below `RLAR_ORACLES`, models below `RLAR_MODELS`; both paths
//! are relative to the workspace. A test marked `#[needs_oracles]` or `#[needs_models]` is reported as ignored, with the
//! reason, if the variable is not set when the tests are compiled. [`oracle!`] and [`model!`] return the path of a file. If
//! the variable is set, a missing file makes the test fail.
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

use proc_macro::TokenStream;

const ORACLES: &str = "RLAR_ORACLES";
const MODELS: &str = "RLAR_MODELS";

/// Marks a test as ignored if `RLAR_ORACLES` is not set.
#[proc_macro_attribute]
pub fn needs_oracles(_: TokenStream, test: TokenStream) -> TokenStream {
    needs(ORACLES, "RLAR_ORACLES is not set: see CONTRIBUTING.md, Oracles", test)
}

/// Marks a test as ignored if `RLAR_MODELS` is not set.
#[proc_macro_attribute]
pub fn needs_models(_: TokenStream, test: TokenStream) -> TokenStream {
    needs(MODELS, "RLAR_MODELS is not set: scripts/fetch-smollm2.sh fetches the model", test)
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

/// Prefixes a test with `#[ignore]` if an environment variable is not set.
fn needs(variable: &str, reason: &str, test: TokenStream) -> TokenStream {
    // Because the expansion names the variable, cargo recompiles the tests when it changes.
    let tracked = format!("const _: Option<&str> = option_env!({variable:?});");
    let ignored = if std::env::var_os(variable).is_none() { format!("#[ignore = {reason:?}]") } else { String::new() };
    let mut out = code(&format!("{tracked} {ignored}"));
    out.extend(test);
    out
}

/// An expression for the path of a file below the folder that an environment variable names.
fn path(variable: &str, file: &TokenStream) -> TokenStream {
    code(&format!(
        "{{
            let folder = ::std::env::var_os({variable:?}).expect(\"{variable} is not set\");
            // Tests run in their crate's folder.
            let path = ::std::path::Path::new(env!(\"CARGO_MANIFEST_DIR\")).join(\"../..\").join(folder).join({file});
            assert!(path.exists(), \"{{}} is missing although {variable} is set\", path.display());
            path
        }}"
    ))
}

/// Parses code; panics on a syntax error, which only a mistake in this file can cause.
#[allow(clippy::unwrap_used)]
fn code(text: &str) -> TokenStream {
    text.parse().unwrap()
}
