//! How much a jailed process may use.

use std::time::Duration;

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
