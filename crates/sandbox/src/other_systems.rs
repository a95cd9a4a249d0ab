//! Systems other than Linux: opening a sandbox is refused, so no value of these types ever exists.

use std::convert::Infallible;
use std::path::PathBuf;

use crate::error::refused;
use crate::{
    Execution, FunctionForm, FunctionSource, GroupCall, GroupResult, SandboxError, SandboxLimits, ShouldStop, Tier,
    Verdict,
};

/// The arguments of one call of a verifier's function.
pub type CallArguments = Vec<String>;

/// A sandbox for untrusted code, which cannot be opened on this system.
#[derive(Clone, Debug)]
pub struct Sandbox(Infallible);

impl Sandbox {
    /// Always fails with [`SandboxError::Refused`]: a sandbox needs Linux.
    pub fn open() -> Result<Self, SandboxError> {
        Err(refused("it needs Linux (Landlock and seccomp); tools of kind builtin work here"))
    }

    /// Always fails with [`SandboxError::Refused`]: a sandbox needs Linux.
    pub fn open_tier(_: Tier) -> Result<Self, SandboxError> {
        Self::open()
    }

    /// Never called: without Linux no `Sandbox` can exist.
    pub fn describe(&self) -> String {
        match self.0 {}
    }

    /// Never called: without Linux no `Sandbox` can exist.
    pub fn has_packages(&self, _: &[String], _: &Packages) -> Result<bool, SandboxError> {
        match self.0 {}
    }

    /// Never called: without Linux no `Sandbox` can exist.
    pub fn with_packages(&self, _: &[String], _: &Packages) -> Result<Self, SandboxError> {
        match self.0 {}
    }
}

/// The Python packages that verifiers may import, and where they are installed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Packages {
    /// Requirements that verifiers may ask for, as `pip` writes them: `sympy`, or `sympy==1.13.1`.
    pub allowed: Vec<String>,
    /// Folder below which packages are installed; if `None`, rlar's cache folder.
    pub cache: Option<PathBuf>,
}

/// An untrusted scoring function, which cannot be started on this system.
#[derive(Debug)]
pub struct Verifier(Infallible);

impl Verifier {
    /// Never called: without Linux no `Sandbox` can exist.
    pub fn start(sandbox: &Sandbox, _: &str, _: &str, _: SandboxLimits) -> Result<Self, SandboxError> {
        match sandbox.0 {}
    }

    /// Never called: without Linux no `Verifier` can exist.
    pub fn score(&self, _: &[CallArguments]) -> Result<Vec<Execution<Verdict>>, SandboxError> {
        match self.0 {}
    }

    /// Never called: without Linux no `Verifier` can exist.
    pub fn score_until(&self, _: &[CallArguments], _: ShouldStop) -> Result<Vec<Execution<Verdict>>, SandboxError> {
        match self.0 {}
    }
}

/// A user's reward function in a sandbox, which cannot be started on this system.
#[derive(Debug)]
pub struct ConfinedFunction(Infallible);

impl ConfinedFunction {
    /// Never called: without Linux no `Sandbox` can exist.
    pub fn start(sandbox: &Sandbox, _: FunctionSource, _: SandboxLimits) -> Result<Self, SandboxError> {
        match sandbox.0 {}
    }

    /// Never called: on this system no such function can be started.
    pub fn form(&self) -> FunctionForm {
        match self.0 {}
    }

    /// Never called: on this system no such function can be started.
    pub fn printed(&self) -> &str {
        match self.0 {}
    }

    /// Never called: on this system no such function can be started.
    pub fn call_until(&self, _: &[GroupCall], _: ShouldStop) -> Result<Vec<GroupResult>, SandboxError> {
        match self.0 {}
    }
}

/// A trusted reward function, which cannot be started on this system.
#[derive(Debug)]
pub struct UnconfinedFunction(Infallible);

impl UnconfinedFunction {
    /// Always fails with [`SandboxError::Refused`]: process groups need Linux.
    pub fn start(_: FunctionSource, _: std::time::Duration) -> Result<Self, SandboxError> {
        Err(refused("trusted functions need Linux"))
    }

    /// Never called: on this system no such function can be started.
    pub fn form(&self) -> FunctionForm {
        match self.0 {}
    }

    /// Never called: on this system no such function can be started.
    pub fn printed(&self) -> &str {
        match self.0 {}
    }

    /// Never called: on this system no such function can be started.
    pub fn call_until(&self, _: &[GroupCall], _: ShouldStop) -> Result<Vec<GroupResult>, SandboxError> {
        match self.0 {}
    }
}
