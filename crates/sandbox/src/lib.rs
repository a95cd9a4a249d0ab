//! Untrusted Python in, a typed verdict out.
//!
//! [`Sandbox::open`] finds an interpreter and the best confinement that this kernel enforces (a [`Tier`]), or refuses:
//! nothing untrusted ever runs unconfined. Inside, one warm fork server per core becomes a fresh process whenever
//! one is needed. Two kinds of code run there:
//!
//! - a [`Verifier`] is a function that scores. Many calls share a process; [`Verifier::strict`] gives each its own.
//! - a [`Program`] is judged by tests that it never sees, because they run in another process.
//!
//! Every run ends in a closed set of verdicts, [`Measured`] with what it took. A run that breaks a limit costs its
//! process, not the batch. `docs/sandbox.md` says what protects what.

mod compare;
mod verdict;

#[cfg(target_os = "linux")]
pub mod attack;
#[cfg(not(target_os = "linux"))]
mod elsewhere;
#[cfg(target_os = "linux")]
mod linux {
    pub use crate::packages::Packages;
    pub use crate::pool::Sandbox;
    pub use crate::program::{Judged, Program, Stream, Tests};
    pub use crate::script::{End, Run, run};
    pub use crate::verifier::{Call, Verifier};
}
#[cfg(target_os = "linux")]
mod command;
#[cfg(target_os = "linux")]
mod functions;
#[cfg(target_os = "linux")]
mod interpreter;
#[cfg(target_os = "linux")]
mod jail;
#[cfg(target_os = "linux")]
mod meter;
#[cfg(target_os = "linux")]
mod open;
#[cfg(target_os = "linux")]
mod packages;
#[cfg(target_os = "linux")]
mod pool;
#[cfg(target_os = "linux")]
mod program;
#[cfg(target_os = "linux")]
mod role;
#[cfg(target_os = "linux")]
mod script;
#[cfg(target_os = "linux")]
mod tester;
#[cfg(target_os = "linux")]
mod verifier;
#[cfg(target_os = "linux")]
mod wire;
#[cfg(target_os = "linux")]
mod zygote;

use std::time::Duration;

pub use compare::Compare;
#[cfg(not(target_os = "linux"))]
pub use elsewhere::{Call, Packages, Sandbox, Verifier};
#[cfg(target_os = "linux")]
pub use linux::{Call, End, Judged, Packages, Program, Run, Sandbox, Stream, Tests, Verifier, run};
pub use verdict::{Measured, Over, TestVerdict, Tier, Usage, Verdict};

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

#[cfg(target_os = "linux")]
fn refused(why: impl std::fmt::Display) -> SandboxError {
    SandboxError::Refused(why.to_string())
}

/// Bounds of one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest time for one call or test.
    pub wall: Duration,
    /// Longest time for all tests of a program; those not begun by then have run out of it.
    pub total: Duration,
    /// CPU time of a process over all its calls.
    pub cpu: Duration,
    /// Address space, in bytes.
    pub memory: u64,
    /// Longest reply or output, in bytes.
    pub output: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            wall: Duration::from_secs(2),
            total: Duration::from_secs(20),
            cpu: Duration::from_mins(2),
            memory: 1 << 30,
            output: 64 << 10,
        }
    }
}
