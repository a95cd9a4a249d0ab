//! Resource limits of untrusted code.

use std::time::Duration;

/// Resource limits of a sandboxed process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SandboxLimits {
    /// Maximum wall time of one call of a verifier, one test, or one run of a program.
    pub wall: Duration,
    /// Maximum wall time of all tests of a program together; tests that have not started by then count as timed out.
    pub total: Duration,
    /// Maximum CPU time of a process, summed over all calls that the process serves.
    pub cpu: Duration,
    /// Maximum address space of a process, in bytes.
    pub memory: u64,
    /// Maximum length of the results that a process sends in one message, or of each output stream of a program, in
    /// bytes.
    pub output: usize,
}

impl Default for SandboxLimits {
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
