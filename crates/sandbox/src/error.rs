//! Errors of the sandbox itself, as opposed to verdicts on the code in it.

use std::fmt::Display;

/// Why untrusted code, or one verifier or program, cannot be run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SandboxError {
    /// This machine has no confinement that works, or no interpreter.
    #[error("the sandbox refuses to run untrusted code: {0}")]
    Refused(String),
    /// The verifier's source does not load.
    #[error("the verifier does not load: {0}")]
    Load(String),
    /// A package is not allowed, or cannot be installed.
    #[error("packages for verifiers: {0}")]
    Packages(String),
    /// The trusted tests of a program do not load.
    #[error("the tests themselves do not load: {0}")]
    Tests(String),
}

/// A [`SandboxError::Refused`] with this reason.
pub(crate) fn refused(why: impl Display) -> SandboxError {
    SandboxError::Refused(why.to_string())
}
