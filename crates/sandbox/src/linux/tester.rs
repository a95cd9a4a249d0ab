//! The trusted half of a function test: a process that runs tests, of one program after the other.

use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use crate::SandboxError;
use crate::error::refused;
use crate::linux::meter::Meter;
use crate::linux::wire::Wire;
use crate::linux::zygote::Process;

/// Programs after which a tester is replaced.
const PROGRAMS: usize = 1000;

/// A process that runs tests.
#[derive(Debug)]
pub struct Tester {
    pub process: Process,
    pub wire: Wire,
    pub meter: Meter,
    programs: usize,
}

impl Tester {
    /// One more, from a process that gets this descriptor.
    pub fn start(fork: impl FnOnce(BorrowedFd) -> Result<Process, SandboxError>) -> Result<Self, SandboxError> {
        let (mine, theirs) = UnixStream::pair().map_err(refused)?;
        let process = fork(theirs.as_fd())?;
        let meter = Meter::of(&process);
        Ok(Self { process, wire: Wire::new(mine), meter, programs: 0 })
    }

    /// Counts a program that it has served in good order. `None` when it has served enough.
    pub fn served(mut self) -> Option<Self> {
        self.programs += 1;
        (self.programs < PROGRAMS).then_some(self)
    }
}
