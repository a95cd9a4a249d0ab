//! What can go wrong outside of the verdicts.

use std::fmt::Display;

/// Why untrusted code cannot run, or one piece of it cannot.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SandboxError {
    /// This machine offers no confinement, or no interpreter.
    #[error("the sandbox refuses to run untrusted code: {0}")]
    Refused(String),
    /// The verifier's source does not load.
    #[error("the verifier does not load: {0}")]
    Load(String),
    /// Packages are not allowed, or cannot be installed.
    #[error("packages for verifiers: {0}")]
    Packages(String),
    /// The tests, which are trusted, do not load.
    #[error("the tests themselves do not load: {0}")]
    Tests(String),
}

/// The error of a machine on which nothing untrusted may run, with its reason.
pub(crate) fn refused(why: impl Display) -> SandboxError {
    SandboxError::Refused(why.to_string())
}
