//! Errors of the sandbox itself, as opposed to verdicts on the code in it.

use std::fmt::Display;

/// Why the sandbox cannot run untrusted code at all, or cannot run one verifier or program.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SandboxError {
    /// This machine cannot run sandboxed code: no confinement works, no usable Python is installed, or jailed processes
    /// keep dying. The text says why.
    #[error("the sandbox refuses to run untrusted code: {0}")]
    Refused(String),
    /// The Python source of a verifier (an untrusted scoring function) failed to load; the text says why.
    #[error("the verifier does not load: {0}")]
    Load(String),
    /// A Python package that a verifier wants is not allowed, or cannot be installed; the text says why.
    #[error("packages for verifiers: {0}")]
    Packages(String),
    /// The trusted test code of a program failed to load; the text says why.
    #[error("the tests themselves do not load: {0}")]
    Tests(String),
}

/// Makes a [`SandboxError::Refused`] with this reason.
pub(crate) fn refused(why: impl Display) -> SandboxError {
    SandboxError::Refused(why.to_string())
}
