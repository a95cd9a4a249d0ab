//! Untrusted Python in, a typed verdict out.
//!
//! [`Sandbox::open`] finds an interpreter and the best confinement that this kernel enforces (a [`Tier`]), or refuses:
//! nothing untrusted ever runs unconfined. Inside, one warm fork server per core becomes a fresh process whenever
//! one is needed. Two kinds of code run there:
//!
//! - a [`Verifier`] is a function that scores. Many calls share a process; [`Verifier::strict`] gives each its own.
//! - a [`Program`] is judged by tests that it never sees, because they run in another process.
//!
//! Every run ends in a closed set of verdicts, [`Execution`] with what it took. A run that breaks a limit costs its
//! process, not the batch. `docs/sandbox.md` says what protects what.

mod compare;
mod error;
mod limits;
mod verdict;

#[cfg(target_os = "linux")]
mod linux;
#[cfg(not(target_os = "linux"))]
mod other_systems;

pub use compare::Comparison;
pub use error::SandboxError;
pub use limits::SandboxLimits;
#[cfg(target_os = "linux")]
pub use linux::{
    CallArguments, IoTest, Packages, Program, Run, Sandbox, Termination, TestResults, Tests, Verifier, attack, run,
};
#[cfg(not(target_os = "linux"))]
pub use other_systems::{CallArguments, Packages, Sandbox, Verifier};
pub use verdict::{Execution, ShouldStop, TestVerdict, Tier, Usage, Verdict};
