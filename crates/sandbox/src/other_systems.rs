//! Systems without the confinement that is needed: everything refuses, and nothing can be made that would run.

use std::convert::Infallible;
use std::path::PathBuf;

use crate::error::refused;
use crate::{Limits, Measured, Over, SandboxError, Tier, Verdict};

/// Arguments of one call.
pub type Call = Vec<String>;

/// Never made here.
#[derive(Clone, Debug)]
pub struct Sandbox(Infallible);

impl Sandbox {
    /// Refuses.
    pub fn open() -> Result<Self, SandboxError> {
        Err(refused("it needs Linux (Landlock and seccomp); tools of kind builtin work here"))
    }

    /// Refuses.
    pub fn open_tier(_: Tier) -> Result<Self, SandboxError> {
        Self::open()
    }

    /// Never called.
    pub fn describe(&self) -> String {
        match self.0 {}
    }

    /// Never called.
    pub fn has_packages(&self, _: &[String], _: &Packages) -> Result<bool, SandboxError> {
        match self.0 {}
    }

    /// Never called.
    pub fn with_packages(&self, _: &[String], _: &Packages) -> Result<Self, SandboxError> {
        match self.0 {}
    }
}

/// Which packages may be used, and where they are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Packages {
    /// As `pip` writes them.
    pub allowed: Vec<String>,
    /// Where environments are installed.
    pub cache: Option<PathBuf>,
}

/// Never made here.
#[derive(Debug)]
pub struct Verifier(Infallible);

impl Verifier {
    /// Never called.
    pub fn start(sandbox: &Sandbox, _: &str, _: &str, _: Limits) -> Result<Self, SandboxError> {
        match sandbox.0 {}
    }

    /// Never called.
    pub fn score(&self, _: &[Call]) -> Result<Vec<Measured<Verdict>>, SandboxError> {
        match self.0 {}
    }

    /// Never called.
    pub fn score_until(&self, _: &[Call], _: Over) -> Result<Vec<Measured<Verdict>>, SandboxError> {
        match self.0 {}
    }
}
