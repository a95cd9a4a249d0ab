//! Test support: files that live outside the project, found through an environment variable.
//!
//! Recorded answers of reference implementations are under `RLAR_ORACLES`, models under `RLAR_MODELS`; both paths are
//! relative to the workspace. A test marked `#[needs_oracles]` or `#[needs_models]` is reported as ignored, with the reason,
//! where the variable is not set when the tests are compiled. [`oracle!`] and [`model!`] give the path of a file and panic
//! where it is missing: with the variable set, a missing file is a failure.

use proc_macro::TokenStream;

const ORACLES: &str = "RLAR_ORACLES";
const MODELS: &str = "RLAR_MODELS";

/// Ignores a test where `RLAR_ORACLES` is not set.
#[proc_macro_attribute]
pub fn needs_oracles(_: TokenStream, test: TokenStream) -> TokenStream {
    needs(ORACLES, "RLAR_ORACLES is not set: see CONTRIBUTING.md, Oracles", test)
}

/// Ignores a test where `RLAR_MODELS` is not set.
#[proc_macro_attribute]
pub fn needs_models(_: TokenStream, test: TokenStream) -> TokenStream {
    needs(MODELS, "RLAR_MODELS is not set: scripts/fetch-smollm2.sh fetches the model", test)
}

/// The path of a file below `RLAR_ORACLES`, as a `PathBuf`.
#[proc_macro]
pub fn oracle(file: TokenStream) -> TokenStream {
    path(ORACLES, &file)
}

/// The path of a file below `RLAR_MODELS`, as a `PathBuf`.
#[proc_macro]
pub fn model(file: TokenStream) -> TokenStream {
    path(MODELS, &file)
}

fn needs(variable: &str, reason: &str, test: TokenStream) -> TokenStream {
    // Naming the variable in the expansion makes cargo compile the tests anew when it changes.
    let tracked = format!("const _: Option<&str> = option_env!({variable:?});");
    let ignored = if std::env::var_os(variable).is_none() { format!("#[ignore = {reason:?}]") } else { String::new() };
    let mut out = code(&format!("{tracked} {ignored}"));
    out.extend(test);
    out
}

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

/// Parses code that is written in this file.
#[allow(clippy::unwrap_used)]
fn code(text: &str) -> TokenStream {
    text.parse().unwrap()
}
