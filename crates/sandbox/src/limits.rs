//! Resource limits of untrusted code.

use std::time::Duration;

/// Resource limits of a sandboxed process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SandboxLimits {
    /// Longest wall time for one call, test or run.
    pub wall: Duration,
    /// Longest wall time for all tests of a program together; tests that have not started by then count as timed out.
    pub total: Duration,
    /// Most CPU time of a process over all its calls.
    pub cpu: Duration,
    /// Most address space, in bytes.
    pub memory: u64,
    /// Longest reply or output, in bytes.
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
